// What turns an artefact's outputs into an answer, by the name of its decoder in the contract.

import { decodeClasses, decodeLabels } from "./classify.mjs";
import { decodeDetections, decodeSsd, decodeTinyDet } from "./detect.mjs";
import { decodeClassMap, decodeMaps } from "./segment.mjs";

export const DECODERS = {
  classify: decodeClasses,
  multilabel: decodeLabels,
  ssd: decodeSsd,
  tinydet: decodeTinyDet,
  detections: decodeDetections,
  segment: decodeMaps,
  class_map: decodeClassMap,
};

/**
 * Return the answer for one image.
 *
 * @param outputs {dims, data} of every output, in the artefact's order.
 * @param decoder the contract's description of the artefact's decoder.
 * @param overrides values in place of some of its defaults.
 */
export function decode(outputs, { decoder, labels, geometry, overrides = {} }) {
  const settings = { ...decoder.parameters, ...decoder.defaults, ...overrides, labels };
  return DECODERS[decoder.name](outputs, settings, geometry);
}
