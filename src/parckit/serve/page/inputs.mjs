// From a picture to a network's input: what parckit.processing.preprocess does in Python, with the same numbers.

import { Geometry } from "./geometry.mjs";
import { crop, resize } from "./resizing.mjs";

// Largest aspect ratio of a picture, relative to that of the size it must cover, before its ends are cut off.
const MOST_ASPECT = 16;

/**
 * Turn an upright picture into one image of a network's input.
 *
 * @param picture see resizing.mjs.
 * @param preprocessing the contract's `spec.preprocessing`.
 * @param input the contract's description of the artefact's input.
 * @returns {{data, geometry}} the numbers, in the input's type and layout, and where its pixels lie in the picture.
 */
export function preprocess(picture, preprocessing, input) {
  const { data, geometry } = fit(picture, preprocessing);
  return { data: toArray(data, preprocessing, input), geometry };
}

/** Bring a picture to `preprocessing.size`; return its RGB bytes and its geometry. */
export function fit(picture, preprocessing) {
  const pictureSize = [picture.height, picture.width];
  const inputSize = preprocessing.size;
  const { part, resized, corner } = PLACEMENTS[preprocessing.fit](pictureSize, preprocessing);
  const before = pictureSize.map((whole, axis) => Math.floor((whole - part[axis]) / 2));
  const isWhole = part.every((side, axis) => side === pictureSize[axis]);
  const seen = isWhole ? picture : crop(picture, before, part);
  const data = paste(resize(seen, resized, preprocessing.interpolation), corner, preprocessing);
  const scale = resized.map((side, axis) => side / part[axis]);
  const offset = corner.map((side, axis) => side + before[axis] * scale[axis]);
  return { data, geometry: new Geometry({ pictureSize, inputSize, scale, offset }) };
}

/** Lay a resized picture so that the input begins at its [top, left] corner; fill what it does not cover. */
function paste(picture, [top, left], { size: [height, width], fill }) {
  const data = new Uint8Array(height * width * 3);
  for (let index = 0; index < data.length; index++) data[index] = fill[index % 3];
  const columns = Math.min(width, picture.width - left);
  for (let y = Math.max(0, -top); y < Math.min(height, picture.height - top); y++) {
    for (let x = Math.max(0, -left); x < columns; x++) {
      const from = ((y + top) * picture.width + x + left) * picture.step;
      const to = (y * width + x) * 3;
      for (let channel = 0; channel < 3; channel++) data[to + channel] = picture.data[from + channel];
    }
  }
  return data;
}

/** Order the channels of RGB bytes or make them grey, and normalise them unless the network does. */
function toArray(pixels, preprocessing, input) {
  const levels = channelsOf(preprocessing.channel_order);
  const tables = levels.map((_, channel) => levelTable(preprocessing, channel, input));
  const [channels, places] = [levels.length, pixels.length / 3];
  const data = input.dtype === "uint8" ? new Uint8Array(channels * places) : new Float32Array(channels * places);
  const [pixelStep, channelStep] = input.layout === "NCHW" ? [1, places] : [channels, 1];
  levels.forEach((level, channel) => {
    const table = tables[channel];
    for (let place = 0; place < places; place++) {
      data[place * pixelStep + channel * channelStep] = table[level(pixels, place * 3)];
    }
  });
  return data;
}

/** Return a function for each channel that takes bytes and the index of a pixel, and returns the channel's level. */
function channelsOf(order) {
  const red = (pixels, index) => pixels[index];
  const green = (pixels, index) => pixels[index + 1];
  const blue = (pixels, index) => pixels[index + 2];
  // Pillow's grey: 299 R + 587 G + 114 B, divided by 1000, in 16 bits behind the point.
  const grey = (pixels, index) =>
    (19595 * pixels[index] + 38470 * pixels[index + 1] + 7471 * pixels[index + 2] + 0x8000) >> 16;
  return { rgb: [red, green, blue], bgr: [blue, green, red], grey: [grey] }[order];
}

/** Return what each level from 0 to 255 becomes. Two float32 operations in this order, as in Python. */
function levelTable({ mean, std }, channel, input) {
  const levels = Float32Array.from({ length: 256 }, (_, level) => level);
  if (input.normalised_inside) return levels;
  const scale = Math.fround(1 / (255 * std[channel]));
  const shift = Math.fround(-mean[channel] / std[channel]);
  return levels.map((level) => Math.fround(level * scale) + shift);
}

// How a picture of [height, width] is brought to the input: the [height, width] of the part in its middle that is
// resized, to which it is resized, and the [top, left] corner of the input in it, negative where padding is added.
const PLACEMENTS = { cover: placeCover, stretch: placeStretch, contain: placeContain };

function placeCover(size, { size: inputSize, crop_pct: share }) {
  const [height, width] = inputSize.map((side) => roundHalfToEven(side / share));
  const part = [
    Math.min(size[0], Math.max(1, Math.floor((MOST_ASPECT * height * size[1]) / width))),
    Math.min(size[1], Math.max(1, Math.floor((MOST_ASPECT * width * size[0]) / height))),
  ];
  const resized =
    height * part[1] >= width * part[0]
      ? [height, Math.floor((height * part[1]) / part[0])]
      : [Math.floor((width * part[0]) / part[1]), width];
  return { part, resized, corner: resized.map((whole, axis) => roundHalfToEven((whole - inputSize[axis]) / 2)) };
}

function placeStretch(size, { size: inputSize }) {
  return { part: size, resized: inputSize, corner: [0, 0] };
}

function placeContain(size, { size: [height, width] }) {
  const resized =
    height * size[1] <= width * size[0]
      ? [height, Math.max(1, Math.floor((height * size[1]) / size[0]))]
      : [Math.max(1, Math.floor((width * size[0]) / size[1])), width];
  const corner = [-Math.floor((height - resized[0]) / 2), -Math.floor((width - resized[1]) / 2)];
  return { part: size, resized, corner };
}

/** Round as Python does: a half goes to the even neighbour. */
function roundHalfToEven(number) {
  const below = Math.floor(number);
  if (number - below !== 0.5) return Math.round(number);
  return below % 2 ? below + 1 : below;
}
