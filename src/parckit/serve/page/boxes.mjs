// Which of many overlapping boxes become an answer: parckit.processing.boxes and BoxSelection.

import { rank } from "./classify.mjs";

/**
 * Suppress the boxes of every class by themselves, and bring the best ones to the picture.
 *
 * @param candidates {boxes, scores}: each box [left, top, right, bottom] in pixels of the input, and its score for
 *   every class.
 * @param limits threshold, overlap, per_class and most, as in the contract.
 */
export function selectBoxes({ boxes, scores }, { threshold, overlap, per_class: perClass, most, labels }, geometry) {
  const least = Math.fround(threshold);
  const kept = labels.flatMap((_, label) => {
    const ofClass = boxes.map((_, index) => index).filter((index) => scores[index][label] > least);
    const order = rank(ofClass.map((index) => scores[index][label])).map((place) => ofClass[place]);
    return suppress(boxes, order, overlap)
      .slice(0, perClass)
      .map((index) => ({ box: boxes[index], score: scores[index][label], label }));
  });
  const objects = kept.map((object) => ({ ...object, box: geometry.boxToPicture(object.box) }));
  return answer(objects, { most, labels });
}

/** Return the `most` best objects as an answer, the best first. */
export function answer(objects, { most, labels }) {
  const best = rank(objects.map(({ score }) => score)).slice(0, most);
  return { kind: "boxes", objects: best.map((index) => ({ ...objects[index], name: labels[objects[index].label] })) };
}

/** Return those of the boxes, the best first, that overlap no better one too much. */
function suppress(boxes, order, overlap) {
  const kept = [];
  for (const index of order) {
    if (kept.every((better) => boxIou(boxes[better], boxes[index]) <= overlap)) kept.push(index);
  }
  return kept;
}

function boxIou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  const union = area(one) + area(other) - shared;
  return union > 0 ? shared / union : 0;
}

function area([left, top, right, bottom]) {
  return (right - left) * (bottom - top);
}
