// Pillow's resizing of 8-bit pictures, to the last bit: the network must see the same pixels as in Python.
//
// A picture is {height, width, step, data}: RGB bytes, row by row, `step` bytes from one pixel to the next (4 if the
// browser added an alpha value, which is never read). Sizes are [height, width], as everywhere in parckit.

// Pillow multiplies bytes by weights with 22 bits behind the point: with 8 bits of the byte and 2 for the sum, 32.
const WEIGHT_BITS = 22;
const BICUBIC = -0.5; // Pillow's parameter of the cubic curve

// Name of a filter -> how far it reaches, in pixels of the smaller picture, and its weight at a distance.
const FILTERS = {
  bilinear: { reach: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weigh: weighBicubic },
};

function weighBicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return ((BICUBIC + 2) * x - (BICUBIC + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * BICUBIC : 0;
}

/** Return a picture resized to [height, width]: "nearest", or antialiased "bilinear" or "bicubic". */
export function resize(picture, [height, width], interpolation) {
  if (height === picture.height && width === picture.width) return picture;
  if (interpolation === "nearest") return resizeNearest(picture, [height, width]);
  // The result of the first axis is rounded to bytes, so the order counts. Pillow 13 takes the height first if it loses
  // more than twice as many pixels as the width; Pillow 12 and older always take the width first.
  const heightFirst = height < picture.height && picture.height - height > 2 * (picture.width - width);
  const axes = heightFirst ? ["height", "width"] : ["width", "height"];
  return axes.reduce((resized, axis) => resizeAlong(resized, axis, { height, width }[axis], interpolation), picture);
}

/** Return the part of [height, width] pixels whose first pixel lies at [top, left]. */
export function crop(picture, [top, left], [height, width]) {
  const data = new Uint8Array(height * width * 3);
  for (let y = 0, to = 0; y < height; y++) {
    let from = ((top + y) * picture.width + left) * picture.step;
    for (let x = 0; x < width; x++, from += picture.step) {
      for (let channel = 0; channel < 3; channel++) data[to++] = picture.data[from + channel];
    }
  }
  return { height, width, step: 3, data };
}

function resizeNearest(picture, [height, width]) {
  const data = new Uint8Array(height * width * 3);
  const rows = nearestPixels(picture.height, height);
  const columns = nearestPixels(picture.width, width);
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * picture.width + column) * picture.step;
      for (let channel = 0; channel < 3; channel++) data[to++] = picture.data[from + channel];
    }
  }
  return { height, width, step: 3, data };
}

/** Return the pixels under the middles of `wanted` pixels. Like Pillow, add step by step, with the same rounding. */
function nearestPixels(length, wanted) {
  const step = length / wanted;
  const pixels = new Int32Array(wanted);
  for (let index = 0, place = step / 2; index < wanted; index++, place += step) {
    pixels[index] = Math.min(Math.floor(place), length - 1);
  }
  return pixels;
}

function resizeAlong(picture, axis, wanted, interpolation) {
  if (picture[axis] === wanted) return picture;
  const along = axis === "width";
  const { firsts, counts, weights, most } = weigh(picture[axis], wanted, FILTERS[interpolation]);
  const [height, width] = along ? [picture.height, wanted] : [wanted, picture.width];
  // From one pixel to the next that is weighed, in bytes.
  const stride = along ? picture.step : picture.width * picture.step;
  const { data: source } = picture;
  const data = new Uint8ClampedArray(height * width * 3);
  const half = 1 << (WEIGHT_BITS - 1);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const place = along ? x : y;
      const [row, column] = along ? [y, firsts[x]] : [firsts[y], x];
      let from = (row * picture.width + column) * picture.step;
      let [red, green, blue] = [half, half, half];
      for (let index = place * most, end = index + counts[place]; index < end; index++, from += stride) {
        red = (red + source[from] * weights[index]) | 0;
        green = (green + source[from + 1] * weights[index]) | 0;
        blue = (blue + source[from + 2] * weights[index]) | 0;
      }
      // The array clips at 0 and 255.
      data[to] = red >> WEIGHT_BITS;
      data[to + 1] = green >> WEIGHT_BITS;
      data[to + 2] = blue >> WEIGHT_BITS;
    }
  }
  return { height, width, step: 3, data };
}

/** Return, for each of `wanted` pixels, the first pixel that it sees, how many it sees, and their weights. */
function weigh(length, wanted, filter) {
  const scale = length / wanted;
  const spread = Math.max(scale, 1); // a smaller picture sees more pixels at once: antialiasing
  const reach = filter.reach * spread;
  const most = Math.ceil(reach) * 2 + 1;
  const [firsts, counts] = [new Int32Array(wanted), new Int32Array(wanted)];
  const weights = new Int32Array(wanted * most);
  for (let index = 0; index < wanted; index++) {
    const middle = (index + 0.5) * scale;
    firsts[index] = Math.max(0, Math.trunc(middle - reach + 0.5));
    counts[index] = Math.min(length, Math.trunc(middle + reach + 0.5)) - firsts[index];
    const shares = Array.from({ length: counts[index] }, (_, pixel) =>
      filter.weigh((pixel + firsts[index] - middle + 0.5) * (1 / spread)),
    );
    let sum = 0;
    for (const share of shares) sum += share;
    shares.forEach((share, pixel) => {
      const exact = (sum === 0 ? share : share / sum) * (1 << WEIGHT_BITS);
      weights[index * most + pixel] = Math.trunc(exact + (exact < 0 ? -0.5 : 0.5));
    });
  }
  return { firsts, counts, weights, most };
}
