// Draws a picture with its answer: frames of boxes, masks of objects, colours of classes.

const [SMALLEST, LARGEST] = [640, 1600]; // pixels of the longer side of the drawing
const REFERENCE_SIDE = 640; // lines and letters have their usual size in a drawing whose shorter side is this long
const [PIXEL_OPACITY, OBJECT_OPACITY] = [128, 110]; // as in parckit's own drawings, from 0 to 255

/** Return whether pixels of a class get no colour. */
export function isClear({ name }) {
  return name.toLowerCase() === "background";
}

/** Draw a picture and its answer; `colours` are [red, green, blue] by class number. */
export function draw(canvas, bitmap, { answer, colours }) {
  const longer = Math.max(bitmap.width, bitmap.height);
  const scale = Math.min(Math.max(longer, SMALLEST), LARGEST) / longer;
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = scale < 2; // enlarged pixels stay squares
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (answer?.kind === "mask") drawClasses(pen, answer, colours);
  if (answer?.kind === "boxes") drawObjects(pen, answer.objects, { scale, colours });
}

/** Colour every pixel by its class. */
function drawClasses(pen, { mask, height, width, areas }, colours) {
  const { canvas } = pen;
  const shown = new Set(areas.filter((area) => !isClear(area)).map(({ label }) => label));
  const cover = new ImageData(canvas.width, canvas.height);
  for (let y = 0, to = 0; y < canvas.height; y++) {
    const row = Math.floor(((y + 0.5) * height) / canvas.height) * width;
    for (let x = 0; x < canvas.width; x++, to += 4) {
      const label = mask[row + Math.floor(((x + 0.5) * width) / canvas.width)];
      if (shown.has(label)) cover.data.set([...colours[label], PIXEL_OPACITY], to);
    }
  }
  pen.drawImage(toCanvas(cover), 0, 0);
}

/** Draw frames, names and masks; the best object comes last, on top. */
function drawObjects(pen, objects, { scale, colours }) {
  for (const { mask, label } of objects.toReversed()) {
    if (mask?.data.length) drawMask(pen, mask, { scale, colour: colours[label] });
  }
  const unit = Math.max(1, Math.min(pen.canvas.width, pen.canvas.height) / REFERENCE_SIDE);
  for (const { box, label, name, score } of objects.toReversed()) {
    const [left, top, right, bottom] = box.map((side) => side * scale);
    pen.strokeStyle = pen.fillStyle = `rgb(${colours[label]})`;
    pen.lineWidth = 2.5 * unit;
    pen.strokeRect(left, top, right - left, bottom - top);
    drawName(pen, `${name} ${Math.round(100 * score)} %`, { left, top, unit, colour: colours[label] });
  }
}

/** Write above a frame, or inside it where there is no room above. */
function drawName(pen, text, { left, top, unit, colour: [red, green, blue] }) {
  const size = 15 * unit;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const [width, height] = [pen.measureText(text).width + 10 * unit, size * 1.4];
  const x = Math.max(0, Math.min(left - pen.lineWidth / 2, pen.canvas.width - width));
  const y = top >= height ? top - height : top;
  pen.fillRect(x, y, width, height);
  pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#1c2530" : "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, x + 5 * unit, y + height / 2);
}

function drawMask(pen, { left, top, height, width, data }, { scale, colour }) {
  const cover = new ImageData(width, height);
  data.forEach((isInside, index) => isInside && cover.data.set([...colour, OBJECT_OPACITY], index * 4));
  pen.drawImage(toCanvas(cover), left * scale, top * scale, width * scale, height * scale);
}

function toCanvas(pixels) {
  const canvas = Object.assign(document.createElement("canvas"), { width: pixels.width, height: pixels.height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}
