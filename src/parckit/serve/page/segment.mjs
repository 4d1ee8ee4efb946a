// From maps to the class of every pixel of a picture: parckit.processing.segment.

import { checkShapes } from "./classify.mjs";

const IGNORED = 255; // in place of a class: a pixel that the network did not see

/** Interpolate logits at the pixels of the picture; the class with the largest one wins, of equal ones the first. */
export function decodeMaps([logits], { labels }, geometry) {
  const [, , height, width] = logits.dims;
  checkShapes([logits], [[1, labels.length, height, width]]);
  const [rows, columns] = [neighbours(geometry, 0, height), neighbours(geometry, 1, width)];
  const { mask, pictureWidth } = emptyMask(geometry);
  const line = new Float32Array(labels.length * width);
  for (let y = 0; y < rows.count; y++) {
    const [before, after, share] = [rows.before[y], rows.after[y], rows.share[y]];
    for (let label = 0, to = 0; label < labels.length; label++) {
      let [above, below] = [before, after].map((row) => (label * height + row) * width);
      for (let x = 0; x < width; x++) line[to++] = logits.data[above++] * (1 - share) + logits.data[below++] * share;
    }
    const first = (rows.start + y) * pictureWidth + columns.start;
    bestClasses(line, columns, { width, out: mask.subarray(first, first + columns.count) });
  }
  return countPixels(mask, labels, geometry);
}

/** Write the class with the largest logit at every place of a line that holds a row of each map. */
function bestClasses(line, { before, after, share }, { width, out }) {
  const best = new Float32Array(out.length).fill(-Infinity);
  for (let label = 0, start = 0; start < line.length; label++, start += width) {
    for (let x = 0; x < out.length; x++) {
      const value = line[start + before[x]] * (1 - share[x]) + line[start + after[x]] * share[x];
      if (value > best[x]) {
        best[x] = value;
        out[x] = label;
      }
    }
  }
}

/** Bring class numbers of the input's pixels to the picture: each pixel takes the nearest one. */
export function decodeClassMap([classes], { labels }, geometry) {
  const [height, width] = geometry.inputSize;
  checkShapes([classes], [[1, height, width]]);
  const { mask, pictureWidth } = emptyMask(geometry);
  const [rows, columns] = [0, 1].map((axis) => geometry.placesInInput(axis).map(Math.floor));
  rows.forEach((row, y) => {
    if (row < 0 || row >= height) return;
    columns.forEach((column, x) => {
      if (column >= 0 && column < width) mask[y * pictureWidth + x] = classes.data[row * width + column];
    });
  });
  return countPixels(mask, labels, geometry);
}

function emptyMask({ pictureSize: [height, width] }) {
  return { mask: new Uint8Array(height * width).fill(IGNORED), pictureWidth: width };
}

/** Return which rows or columns of the picture the input shows, and the two places of each in the maps. */
function neighbours(geometry, axis, length) {
  const inputLength = geometry.inputSize[axis];
  const inInput = geometry.placesInInput(axis);
  const visible = inInput.filter((place) => place >= 0 && place < inputLength);
  const middles = visible.map((place) => Math.min(Math.max(place * (length / inputLength) - 0.5, 0), length - 1));
  const before = Int32Array.from(middles);
  return {
    start: inInput.findIndex((place) => place >= 0),
    count: visible.length,
    before,
    after: before.map((pixel) => Math.min(pixel + 1, length - 1)),
    share: Float32Array.from(middles, (middle, index) => middle - before[index]),
  };
}

/** Return the mask and the pixels of every class that occurs, the largest first, with its share of all of them. */
function countPixels(mask, labels, geometry) {
  const counts = new Array(IGNORED + 1).fill(0);
  for (const label of mask) counts[label]++;
  const [height, width] = geometry.pictureSize;
  const total = mask.length - counts[IGNORED];
  const areas = labels
    .map((name, label) => ({ label, name, pixels: counts[label], share: counts[label] / total }))
    .filter(({ pixels }) => pixels > 0)
    .sort((one, other) => other.pixels - one.pixels);
  return { kind: "mask", mask, height, width, areas };
}
