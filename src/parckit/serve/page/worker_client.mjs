// Asks the worker, and waits for its answers.

export class NetworkWorker {
  #worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
  #waiting = new Map();
  #count = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, error, ...answer } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    };
    this.#worker.onerror = ({ message }) => {
      const error = new Error(message ?? "the worker cannot be started");
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  /** Send a message of a kind; return its answer, or throw its error. */
  ask(kind, request, transfer = []) {
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, kind, ...request }, transfer);
    });
  }

  /** Answer a picture of a number. Its pixels move to the worker, and are gone here. */
  answer(number, picture, overrides) {
    return this.ask("answer", { number, picture, overrides }, [picture.data.buffer]);
  }

  /** Decode the outputs of a picture again; the answer is null if the worker has answered another one since. */
  decode(number, overrides) {
    return this.ask("decode", { number, overrides });
  }
}
