// A bundle's network in ONNX Runtime Web: a picture in, an answer out.

import { decode } from "./decoders.mjs";
import { preprocess } from "./inputs.mjs";

const WARM_UPS = 2; // the first run allocates memory, and on a GPU compiles its programs

/** Return the JSON file of a name in the page's folder. */
export async function readJson(name) {
  return (await download(name)).json();
}

async function download(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name}: the server answers ${response.status} ${response.statusText}`);
  return response;
}

/** Load ONNX Runtime Web and the page's network; `engine` is "wasm" or "webgpu". */
export async function openNetwork(engine) {
  const contract = await readJson("contract.json");
  const [artefact] = contract.artefacts;
  const [file] = Object.keys(artefact.files);
  const ort = await import(`./ort/ort.${engine}.bundle.min.mjs`);
  const graph = new Uint8Array(await (await download(file)).arrayBuffer());
  const session = await ort.InferenceSession.create(graph, { executionProviders: [engine] });
  const network = new Network(ort, session, contract);
  for (let run = 0; run < WARM_UPS; run++) await network.warmUp();
  return network;
}

class Network {
  constructor(ort, session, { spec, artefacts: [artefact] }) {
    Object.assign(this, { ort, session, spec, artefact });
  }

  /** Threads of the WASM engine: a page whose server sends no isolation headers gets one. */
  get threads() {
    return this.ort.env.wasm.numThreads;
  }

  /**
   * Answer one picture.
   *
   * @param number of the picture; `decodeAgain` asks for it.
   * @param picture upright: {height, width, step, data}, see resizing.mjs.
   * @param overrides values in place of some of the decoder's defaults.
   * @returns {{answer, outputs, times}} the outputs are {dims, data}; times in milliseconds.
   */
  async answer(number, picture, overrides) {
    const start = performance.now();
    const { data, geometry } = preprocess(picture, this.spec.preprocessing, this.artefact.input);
    const preprocessed = performance.now();
    const outputs = await this.run(data);
    const ran = performance.now();
    this.latest = { number, outputs, geometry };
    const answer = this.decodeAgain(number, overrides);
    const times = { preprocessing: preprocessed - start, network: ran - preprocessed, decoding: performance.now() - ran };
    return { answer, outputs, times };
  }

  /** Decode the outputs of the latest picture with other settings; return null if it has another number. */
  decodeAgain(number, overrides) {
    if (this.latest?.number !== number) return null;
    const { outputs, geometry } = this.latest;
    return decode(outputs, { decoder: this.artefact.decoder, labels: this.spec.labels, geometry, overrides });
  }

  async run(data) {
    const { name, dtype, layout } = this.artefact.input;
    const [height, width] = this.spec.preprocessing.size;
    const channels = data.length / (height * width);
    const shape = layout === "NCHW" ? [1, channels, height, width] : [1, height, width, channels];
    const results = await this.session.run({ [name]: new this.ort.Tensor(dtype, data, shape) });
    return this.artefact.outputs.map((output) => {
      const { dims, data: values } = results[output.name];
      return { dims, data: values };
    });
  }

  async warmUp() {
    const { preprocessing } = this.spec;
    const [height, width] = preprocessing.size;
    const grey = { height, width, step: 3, data: new Uint8Array(height * width * 3).fill(128) };
    await this.run(preprocess(grey, preprocessing, this.artefact.input).data);
  }
}
