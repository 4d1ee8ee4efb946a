// Runs the network beside the page, so that the page answers while the network computes.
//
// A message is {id, kind, ...}; its answer is {id, ...} with what was asked for, or {id, error}.

import { openNetwork } from "./network.mjs";

let network;
let queue = Promise.resolve(); // messages are answered one after the other

const ANSWERS = {
  async open({ engine }) {
    const start = performance.now();
    const former = network;
    network = await openNetwork(engine);
    await former?.session.release();
    return { seconds: (performance.now() - start) / 1000, threads: network.threads };
  },
  async answer({ number, picture, overrides }) {
    const { answer, times } = await network.answer(number, picture, overrides);
    return { answer, times };
  },
  async decode({ number, overrides }) {
    return { answer: network.decodeAgain(number, overrides) };
  },
};

self.onmessage = ({ data: { id, kind, ...request } }) => {
  queue = queue.then(async () => {
    try {
      self.postMessage({ id, ...(await ANSWERS[kind](request)) });
    } catch (error) {
      self.postMessage({ id, error: error.message });
    }
  });
};
