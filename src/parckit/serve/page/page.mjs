// The page: takes pictures, asks the worker, shows answers and times.

import { show } from "./answers.mjs";
import { draw } from "./drawing.mjs";
import { decodeFile, isTransparent, readPixels } from "./picture.mjs";
import { readJson } from "./network.mjs";
import { NetworkWorker } from "./worker_client.mjs";

const TOP = 5; // classes to show
const RUNS = 20; // of "Time 20 runs"
const CAMERA_FRAMES = 15; // latest frames whose median time is shown
const PARTS = ["preprocessing", "network", "decoding"];

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const worker = new NetworkWorker();
let [contract, page] = [null, null];
let bitmap = null; // the picture that is shown
let camera = null; // its video while it is on
let opened = "wasm"; // the engine that the worker has
let latest = 0; // number of the newest picture or frame; answers for older ones are ignored

async function start() {
  element["server-note"].remove(); // opened as a file, the page would not come to here
  [contract, page] = await Promise.all(["contract.json", "page.json"].map(readJson));
  describeNetwork();
  page.examples.forEach(addExample);
  element.examples.hidden = !page.examples.length;
  listen();
  await openEngine();
}

function describeNetwork() {
  const { spec, params, artefacts: [artefact] } = contract;
  const task = { classify: "one class a picture", multilabel: "labels", detect: "boxes", segment: "classes of pixels" };
  const [height, width] = spec.preprocessing.size;
  const name = [spec.backbone, spec.head === "classifier" ? "" : spec.head].filter(Boolean).join(" + ");
  document.title = element.title.textContent = name;
  const count = spec.labels.length === 1 ? "1 class" : `${spec.labels.length} classes`;
  const facts = [task[spec.task], count, `input ${height} × ${width}`, `${(params / 1e6).toFixed(2)} M parameters`];
  element.summary.textContent = [...facts, artefact.name].join(" · ");
  const { threshold } = artefact.decoder.defaults;
  element["threshold-setting"].hidden = spec.task !== "detect" || typeof threshold !== "number";
  element.threshold.value = threshold;
  element["threshold-value"].textContent = element.threshold.value;
}

function addExample({ file, name }) {
  const image = Object.assign(new Image(), { src: file, alt: name, loading: "lazy" });
  const button = Object.assign(document.createElement("button"), { type: "button", title: name });
  button.append(image);
  button.onclick = guarded(async () => useFile(await (await fetch(file)).blob()));
  element.examples.append(document.createElement("li"));
  element.examples.lastChild.append(button);
}

function listen() {
  element.file.onchange = guarded(async ({ target: { files } }) => files.length && useFile(files[0]));
  element.camera.onclick = guarded(() => (camera ? stopCamera() : useCamera()));
  element.engine.onchange = guarded(openEngine);
  element.repeat.onclick = guarded(timeRuns);
  element.threshold.oninput = guarded(decodeAgain);
  if (!navigator.gpu) element.engine.querySelector("[value=webgpu]").disabled = true;
  document.ondragover = (event) => {
    event.preventDefault();
    element.drop.classList.add("over");
  };
  document.ondragleave = () => element.drop.classList.remove("over");
  document.ondrop = guarded(async (event) => {
    event.preventDefault();
    element.drop.classList.remove("over");
    await usePictureOf(event.dataTransfer);
  });
  document.onpaste = guarded(async ({ clipboardData }) => clipboardData.files.length && usePictureOf(clipboardData));
}

/** Return a function that does the same, and shows its error in the page. */
function guarded(action) {
  return async (event) => {
    showMessage("");
    try {
      await action(event);
    } catch (error) {
      showMessage(error.message);
    }
  };
}

function showMessage(text) {
  element.message.textContent = text;
  element.message.hidden = !text;
}

/** Enable or disable what needs the answer for the picture that is shown. */
function setAnswered(isAnswered) {
  element.repeat.disabled = !isAnswered;
  element.threshold.disabled = !isAnswered;
}

async function openEngine() {
  const engine = element.engine.value;
  const wasAnswered = !element.threshold.disabled;
  if (!camera) setAnswered(false);
  const { seconds, threads } = await worker.ask("open", { engine }).catch((error) => {
    // The worker keeps the engine that it had.
    element.engine.value = opened;
    if (!camera) setAnswered(wasAnswered);
    throw error;
  });
  opened = engine;
  const how = engine === "wasm" ? `SIMD, ${threads} thread${threads === 1 ? "" : "s"}` : "GPU";
  element["engine-note"].textContent = `ONNX Runtime Web ${page.onnxruntime_web}, ${how}; ready after ${seconds.toFixed(1)} s.`;
  if (!bitmap) element.headline.textContent = "Ready";
  if (bitmap && !camera) await answerPicture();
}

async function usePictureOf({ files }) {
  if (!files.length) throw new Error("that is no picture file");
  await useFile(files[0]);
}

async function useFile(file) {
  const picture = await decodeFile(file);
  stopCamera();
  bitmap = picture;
  draw(element.canvas, bitmap, {});
  showCanvas();
  await answerPicture();
}

function showCanvas() {
  element.canvas.hidden = false;
  element.invitation.hidden = true;
  element.drop.classList.add("filled");
}

function overrides() {
  if (contract.spec.task === "classify") return { top: TOP };
  return element["threshold-setting"].hidden ? {} : { threshold: Number(element.threshold.value) };
}

async function answerPicture() {
  const number = ++latest;
  setAnswered(false);
  element.headline.textContent = "Computing…";
  element.rows.replaceChildren();
  const pixels = readPixels(bitmap);
  if (isTransparent(pixels)) {
    showMessage("Colours of transparent pixels are not exact: this answer may differ from Python's.");
  }
  const { answer, times } = await worker.answer(number, pixels, overrides()).catch((error) => {
    if (number !== latest) return {};
    element.headline.textContent = "No answer";
    throw error;
  });
  if (number !== latest) return; // another picture came meanwhile
  showAnswer(answer);
  showTimes([times], "One run. Reading the picture's file is not counted.");
  setAnswered(true);
}

function showAnswer(answer) {
  show(answer, { headline: element.headline, rows: element.rows, colours: page.colours });
  draw(element.canvas, bitmap, { answer, colours: page.colours });
}

function showTimes(runs, note) {
  for (const part of PARTS) {
    const sorted = runs.map((times) => times[part]).sort((one, other) => one - other);
    const median = sorted[Math.floor(sorted.length / 2)];
    element[`time-${part}`].textContent = `${median.toFixed(median < 10 ? 1 : 0)} ms`;
  }
  element["time-note"].textContent = note;
}

async function timeRuns() {
  const number = latest;
  element.repeat.disabled = true;
  const runs = [];
  try {
    while (number === latest && runs.length < RUNS) {
      runs.push((await worker.answer(number, readPixels(bitmap), overrides())).times);
    }
    if (number === latest) showTimes(runs, `Median of ${RUNS} runs. Reading the picture's file is not counted.`);
  } finally {
    if (number === latest) element.repeat.disabled = false;
  }
}

async function decodeAgain() {
  element["threshold-value"].textContent = element.threshold.value;
  if (camera) return; // the next frame takes the new value
  const number = latest;
  const { answer } = await worker.decode(number, overrides());
  if (number !== latest) return;
  if (answer) showAnswer(answer);
  else await answerPicture(); // the worker has other outputs by now, or another engine
}

async function useCamera() {
  if (!navigator.mediaDevices) throw new Error("The browser gives the camera only to pages from https or localhost.");
  const number = latest;
  const stream = await askForCamera();
  if (number !== latest) {
    stream.getTracks().forEach((track) => track.stop()); // a picture came while the browser asked the user
    return;
  }
  camera = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  element.camera.textContent = "Stop the camera";
  element.camera.ariaPressed = "true";
  element.repeat.disabled = true;
  element.threshold.disabled = false;
  await camera.play();
  showCanvas();
  await answerFrames(camera);
}

/** Return the camera's stream. A second click while the browser asks the user would open a second one. */
async function askForCamera() {
  element.camera.disabled = true;
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } finally {
    element.camera.disabled = false;
  }
}

async function answerFrames(video) {
  const runs = [];
  while (video === camera) {
    const frame = await createImageBitmap(video);
    const number = ++latest;
    const { answer, times } = await worker.answer(number, readPixels(frame), overrides());
    if (video !== camera) return;
    bitmap = frame;
    showAnswer(answer);
    runs.push(times);
    showTimes(runs.slice(-CAMERA_FRAMES), `Median of the latest ${Math.min(runs.length, CAMERA_FRAMES)} frames.`);
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  latest++; // an answer that is under way is of a frame that is not shown
  camera?.srcObject.getTracks().forEach((track) => track.stop());
  camera = null;
  element.camera.textContent = "Camera";
  element.camera.ariaPressed = "false";
  setAnswered(Boolean(bitmap));
}

guarded(start)();
