// From logits to classes: parckit.processing.classify and multilabel.

/** Return the `top` most probable classes, and whether the best one reaches the threshold. */
export function decodeClasses([logits], { labels, top, threshold }) {
  checkShapes([logits], [[1, labels.length]]);
  const shares = softmax(logits.data);
  const ranking = rank(logits.data).slice(0, top);
  return {
    kind: "classes",
    ranking: ranking.map((index) => ({ index, label: labels[index], probability: shares[index] })),
    isKnown: shares[ranking[0]] >= threshold,
  };
}

/** Return every label that reaches its threshold, and the `top` most probable ones in any case. */
export function decodeLabels([logits], { labels, top, threshold }) {
  checkShapes([logits], [[1, labels.length]]);
  const scores = rank(logits.data).map((index) => {
    const probability = 1 / (1 + Math.exp(-logits.data[index]));
    const least = Array.isArray(threshold) ? threshold[index] : threshold;
    return { index, label: labels[index], probability, threshold: least, isPresent: probability >= least };
  });
  return { kind: "labels", ranking: scores.filter((score, place) => score.isPresent || place < top) };
}

/** Return probabilities that add up to 1. */
export function softmax(logits) {
  const largest = logits.reduce((best, logit) => Math.max(best, logit), -Infinity);
  const odds = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = odds.reduce((total, share) => total + share, 0);
  return odds.map((share) => share / sum);
}

/** Return the indices of numbers, the largest number first; equal ones keep their order. */
export function rank(numbers) {
  return Array.from(numbers, (_, index) => index).sort((one, other) => numbers[other] - numbers[one]);
}

/** Refuse outputs of other shapes (null: any size), and numbers that are not finite. */
export function checkShapes(outputs, wanted) {
  const fits =
    outputs.length === wanted.length &&
    outputs.every(
      ({ dims }, index) =>
        dims.length === wanted[index].length && dims.every((side, axis) => [side, null].includes(wanted[index][axis])),
    );
  if (!fits) {
    const [shapes, needed] = [outputs.map(({ dims }) => dims), wanted].map((list) => JSON.stringify(list));
    throw new Error(`the network's outputs have the shapes ${shapes}; the contract says ${needed}`);
  }
  if (!outputs.every(({ data }) => data.every(Number.isFinite))) {
    throw new Error("the network's outputs are not finite numbers (nan or inf)");
  }
}
