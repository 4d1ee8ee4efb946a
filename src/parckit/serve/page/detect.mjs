// From a detector's outputs to boxes: parckit.processing.ssd, priors, tinydet and detections.

import { answer, selectBoxes } from "./boxes.mjs";
import { checkShapes, softmax } from "./classify.mjs";
import { maskPart } from "./masks.mjs";

const [CENTRE_VARIANCE, SIZE_VARIANCE, LARGEST_OFFSET] = [0.1, 0.2, 100]; // those of parckit.processing.priors
const ROUNDING = 1e-6; // far more than the rounding of a probability in float32

/** Decode SSD: logits with the background first, and offsets from the priors. */
export function decodeSsd([logits, offsets], settings, geometry) {
  const [height, width] = geometry.inputSize;
  const priors = priorBoxes(settings, geometry.inputSize);
  const classes = settings.labels.length + 1;
  checkShapes([logits, offsets], [[1, priors.length, classes], [1, priors.length, 4]]);
  const least = Math.fround(settings.threshold);
  const [boxes, scores] = [[], []];
  priors.forEach((prior, index) => {
    const row = logits.data.subarray(index * classes, (index + 1) * classes);
    if (!mayReach(row, settings.threshold)) return;
    const shares = softmax(row).slice(1).map(Math.fround);
    if (!shares.some((share) => share > least)) return;
    scores.push(shares);
    const box = decodeOffsets(offsets.data.subarray(index * 4, (index + 1) * 4), prior);
    boxes.push(box.map((side, number) => side * (number % 2 ? height : width)));
  });
  return selectBoxes({ boxes, scores }, settings, geometry);
}

/** Return whether a class may reach a probability. It is at most exp(its logit - the largest logit). */
function mayReach(row, threshold) {
  let best = -Infinity;
  for (let index = 1; index < row.length; index++) best = Math.max(best, row[index]);
  return Math.exp(Math.min(best - row[0], 0)) >= threshold - ROUNDING;
}

/** Return all priors [centre x, centre y, width, height] as shares of the input's sides: map, row, column, prior. */
function priorBoxes({ strides, scales, ratios }, [height, width]) {
  return strides.flatMap((stride, map) => {
    const [rows, columns] = stride ? [Math.ceil(height / stride), Math.ceil(width / stride)] : [1, 1];
    const middle = Math.sqrt(scales[map] * scales[map + 1]);
    const shapes = [[scales[map], scales[map]], [middle, middle]];
    for (const ratio of ratios[map]) {
      const root = Math.sqrt(ratio);
      shapes.push([scales[map] * root, scales[map] / root], [scales[map] / root, scales[map] * root]);
    }
    return Array.from({ length: rows * columns }, (_, place) => [
      ((place % columns) + 0.5) / columns,
      (Math.floor(place / columns) + 0.5) / rows,
    ]).flatMap((centre) => shapes.map((shape) => [...centre, ...shape].map((share) => Math.min(share, 1))));
  });
}

function decodeOffsets(offsets, [centreX, centreY, width, height]) {
  const [moveX, moveY, growX, growY] = Array.from(offsets, (offset) =>
    Math.min(Math.max(offset, -LARGEST_OFFSET), LARGEST_OFFSET),
  );
  const [x, y] = [moveX * CENTRE_VARIANCE * width + centreX, moveY * CENTRE_VARIANCE * height + centreY];
  const halfWidth = (Math.exp(growX * SIZE_VARIANCE) * width) / 2;
  const halfHeight = (Math.exp(growY * SIZE_VARIANCE) * height) / 2;
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}

/** Decode the small detector: logits of every map, then distances of every map, in units of its stride. */
export function decodeTinyDet(outputs, settings, geometry) {
  const maps = settings.strides.length;
  const sizes = outputs.slice(0, maps).map(({ dims }) => dims.slice(2));
  const wanted = [settings.labels.length, 4].flatMap((channels) => sizes.map((size) => [1, channels, ...size]));
  checkShapes(outputs, wanted);
  const least = Math.fround(settings.threshold);
  const [boxes, scores] = [[], []];
  settings.strides.forEach((stride, map) => {
    const [logits, distances] = [outputs[map].data, outputs[maps + map].data];
    const [rows, columns] = sizes[map];
    const places = rows * columns;
    for (let place = 0; place < places; place++) {
      const shares = settings.labels.map((_, label) => sigmoid(logits[label * places + place]));
      if (!shares.some((share) => share > least)) continue;
      const [x, y] = [((place % columns) + 0.5) * stride, (Math.floor(place / columns) + 0.5) * stride];
      const [left, top, right, bottom] = [0, 1, 2, 3].map((side) => softplus(distances[side * places + place]) * stride);
      scores.push(shares);
      boxes.push([x - left, y - top, x + right, y + bottom]);
    }
  });
  return selectBoxes({ boxes, scores }, settings, geometry);
}

function sigmoid(logit) {
  return Math.fround(1 / (1 + Math.exp(-logit)));
}

function softplus(number) {
  return Math.max(number, 0) + Math.log1p(Math.exp(-Math.abs(number)));
}

/** Bring detections to the picture: boxes, scores, class indices, and from some networks masks over the boxes. */
export function decodeDetections(outputs, settings, geometry) {
  const [boxes, scores, labels, masks] = outputs.map(({ dims, data }) => ({ dims, data: Array.from(data, Number) }));
  const [count, side] = [boxes.dims[0], masks?.dims[1]];
  const shapes = [[count, 4], [count], [count], [count, side, side]];
  checkShapes([boxes, scores, labels, ...(masks ? [masks] : [])], shapes.slice(0, outputs.length));
  const least = Math.fround(settings.threshold);
  const objects = [];
  for (let index = 0; index < count; index++) {
    const [score, label] = [scores.data[index], labels.data[index]];
    if (!(label in settings.labels)) throw new Error(`class ${label}: there are ${settings.labels.length} classes`);
    if (score <= least) continue;
    const box = boxes.data.slice(index * 4, (index + 1) * 4);
    const object = { box: geometry.boxToPicture(box), score, label };
    if (masks) {
      const shares = masks.data.slice(index * side * side, (index + 1) * side * side);
      object.mask = maskPart(shares, side, geometry.boxToPicture(box, { cut: false }), geometry.pictureSize);
    }
    objects.push(object);
  }
  return answer(objects, settings);
}
