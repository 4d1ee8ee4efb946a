// From a file or a camera's frame to an upright picture: to its pixels, and to what can be drawn.

/** Return an upright picture of a file. Like Pillow, ignore its colour profile. */
export async function decodeFile(file) {
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(`${file.name ?? "the file"}: this browser cannot read it as a picture`);
  }
}

/** Return the pixels of a picture, as resizing.mjs takes them, and whether some are transparent. */
export function readPixels(bitmap) {
  const { height, width } = bitmap;
  const canvas = Object.assign(document.createElement("canvas"), { height, width });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { height, width, step: 4, data };
}

/** Return whether a picture has transparent pixels. A canvas stores their colours only roughly. */
export function isTransparent({ data }) {
  for (let index = 3; index < data.length; index += 4) if (data[index] < 255) return true;
  return false;
}
