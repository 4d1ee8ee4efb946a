"""The page in headless Chromium gives the answers of Python: all three tasks, the real engine.

It needs Chromium, and onnxruntime-web in the cache, where `parckit web` puts it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from backbones import SHALLOW, as_if_trained
from browser import Browser, needs_chromium, open_browser, served
from parckit.contract import NetworkSpec, Preprocessing, Task
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.networks import build_network
from parckit.processing import BoxPrediction, MaskPrediction, open_picture, preprocess
from parckit.runtimes import Predictor, load
from parckit.serve.page_engine import cached_package, unpack_package
from parckit.serve.page_files import write_page
from processes import measure_no_memory
from tools import needs_tool

pytestmark = [
    pytest.mark.engines,  # ONNX Runtime Web is one
    pytest.mark.xdist_group("page"),
    needs_chromium,
    needs_tool(
        cached_package().exists(), reason="needs onnxruntime-web, which `parckit web BUNDLE --out DIR` fetches once"
    ),
]

LOGITS = 1e-3
"""Two builds of one engine add float32 numbers in another order; the outputs are of the size of 1."""
OLD = OnnxSettings(opset=13)  # the older exporter is quicker
HEADS: dict[Task, str] = {"classify": "classifier", "detect": "tinydet", "segment": "lraspp"}
RAW = [("classify", "onnx-fp32"), ("detect", "onnx-fp32"), ("segment", "onnx-fp32")]
DECODED = [("detect", "onnx-fp32-nms"), ("segment", "onnx-fp32-argmax")]


class Opened(NamedTuple):
    """A page in the browser, and the same network in Python."""

    browser: Browser
    predictor: Predictor
    picture: Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[Task, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        measure_no_memory(patch)
        for task, head in HEADS.items():
            export(task, head, folder)
    return {task: folder / task for task in HEADS}


def export(task: Task, head: str, folder: Path) -> None:
    """Write a bundle of random weights, with what can stand behind its outputs."""
    size = (64, 64) if task == "classify" else (64, 96)
    spec = NetworkSpec(
        task=task,
        backbone="test_parcnet" if task == "classify" else "test_resnet",
        backbone_kwargs=SHALLOW["test_parcnet"] if task == "classify" else {},
        head=head,
        labels=("background", "road", "car", "tree"),
        preprocessing=Preprocessing(size=size, crop_pct=0.875, interpolation="bicubic", mean=(0.5, 0.4, 0.3)),
    )
    torch.manual_seed(0)
    settings = ExportSettings(onnx=OLD, nms=task == "detect", argmax=task == "segment")
    export_bundle(as_if_trained(build_network(spec)).eval(), spec, out=folder / task, settings=settings)


@pytest.fixture(scope="module", autouse=True)
def unpack_once(tmp_path_factory) -> Iterator[None]:
    """Unpack ONNX Runtime Web for the first page alone; the others get links to its files."""
    kept = tmp_path_factory.mktemp("unpacked") / "ort"

    def link(package: Path, folder: Path) -> None:
        if not kept.exists():
            unpack_package(package, kept)
        shutil.copytree(kept, folder, copy_function=os.link)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parckit.serve.page_files.unpack_package", link)
        yield


@pytest.fixture(scope="module", params=[*RAW, *DECODED], ids="-".join)
def page(request, browser, bundles, tmp_path_factory) -> Iterator[Opened]:
    task, artefact = request.param
    folder = tmp_path_factory.mktemp("page")
    picture = folder / "picture.png"
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    coarse.resize((300, 211), Image.Resampling.BICUBIC).save(picture)
    write_page(bundles[task], folder / "page", package=cached_package(), artefact=artefact, examples=[picture])
    with served(folder / "page") as address:
        browser.open(address)
        browser.wait("document.getElementById('headline').textContent === 'Ready'")
        yield Opened(browser, load(folder / "page", artefact=artefact, threads=1), picture)


ASK = """
const { openNetwork } = await import("./network.mjs");
const { decodeFile, readPixels } = await import("./picture.mjs");
window.network ??= await openNetwork("wasm");
const file = await (await fetch("examples/1.png")).blob();
const { answer, outputs } = await window.network.answer(1, readPixels(await decodeFile(file)), {});
if (answer.mask) answer.mask = [...answer.mask];
if (window.network.decodeAgain(2, {})) throw new Error("these are outputs of another picture");
return { answer, outputs: outputs.map(({ dims, data }) => ({ dims, data: Array.from(data, Number) })) };
"""


def test_outputs_and_answers_are_those_of_python(page):
    told = page.browser.run(ASK)
    session = page.predictor.session
    image, _ = preprocess(open_picture(page.picture), session.spec.preprocessing, wanted=session.input)
    for expected, actual in zip(session(image[None]), told["outputs"], strict=True):
        array = np.reshape(actual["data"], actual["dims"])
        assert array.shape == expected.shape
        if expected.dtype == np.uint8:  # classes of pixels: rounding decides where two logits are nearly equal
            assert (array != expected).mean() <= LOGITS
        else:
            np.testing.assert_allclose(array, expected, atol=LOGITS)
    assert_same_answer(told["answer"], page.predictor(page.picture))


def assert_same_answer(answer: dict[str, Any], expected: Any) -> None:
    if isinstance(expected, BoxPrediction):
        assert len(expected) > 0
        assert [one["name"] for one in answer["objects"]] == [expected.names[label] for label in expected.labels]
        np.testing.assert_allclose([one["box"] for one in answer["objects"]], expected.boxes, atol=0.1)
    elif isinstance(expected, MaskPrediction):
        assert len(np.unique(expected.mask)) > 1
        assert (np.reshape(answer["mask"], expected.mask.shape) != expected.mask).mean() <= LOGITS
    else:
        shares = [one["probability"] for one in answer["ranking"]]
        assert [one["label"] for one in answer["ranking"]] == [score.label for score in expected.ranking]
        np.testing.assert_allclose(shares, [score.probability for score in expected.ranking], atol=LOGITS)


CLICK_EXAMPLE = "document.querySelector('#examples button').click(); document.getElementById('repeat').disabled = true;"


def test_a_chosen_file_and_an_example_are_answered(page):
    page.browser.choose_file("#file", page.picture)
    first = shown(page.browser)
    expected = page.predictor(page.picture).rows()
    assert first["rows"][0].startswith(expected[0][0])
    assert len(first["rows"]) == min(len(expected), 9) or page.predictor.session.spec.task == "classify"
    # Every part of the time is a number of milliseconds.
    assert all(time.endswith(" ms") and float(time[:-3]) >= 0 for time in first["times"])
    page.browser.run(CLICK_EXAMPLE)
    assert shown(page.browser)["rows"] == first["rows"]


def shown(browser: Browser) -> dict[str, Any]:
    browser.wait("!document.getElementById('repeat').disabled")
    return browser.run("""
        const texts = (selector) => [...document.querySelectorAll(selector)].map((node) => node.innerText);
        return { rows: texts("#rows li"), times: texts(".times dd") };
    """)


def test_the_camera_is_answered_until_it_is_stopped(page):
    click = "document.getElementById('camera').click()"
    page.browser.run(f"{click};")
    page.browser.wait("document.getElementById('time-note').textContent.includes('frames')")
    assert page.browser.run("return document.getElementById('camera').textContent") == "Stop the camera"
    page.browser.run(f"{click};")
    assert page.browser.run("return document.getElementById('camera').textContent") == "Camera"
    assert page.browser.run("return document.getElementById('message').hidden")


STUBBED = """
window.asked = 0;
window.stopped = 0;
const track = { stop: () => { window.stopped += 1; } };
const stream = { getTracks: () => [track] };
navigator.mediaDevices.getUserMedia = () => new Promise((resolve) => {
    window.asked += 1;
    window.allow = () => resolve(stream);
});
document.getElementById("camera").click();
document.getElementById("camera").click();
"""


def test_a_camera_that_starts_too_late_is_stopped(page):
    page.browser.run(STUBBED)
    page.browser.run(CLICK_EXAMPLE)
    shown(page.browser)
    page.browser.run("window.allow(); delete navigator.mediaDevices.getUserMedia;")
    page.browser.wait("window.stopped === 1")
    assert page.browser.run("return [window.asked, document.getElementById('camera').disabled]") == [1, False]
    assert page.browser.run("return document.getElementById('camera').textContent") == "Camera"


FAILING = """
const send = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, transfer) {
    Worker.prototype.postMessage = send;
    send.call(this, { ...message, picture: null });
};
"""
DISABLED = "return ['threshold', 'repeat'].map((id) => document.getElementById(id).disabled)"


def test_after_a_failure_the_slider_waits_for_the_next_answer(page):
    page.browser.run(FAILING)
    page.browser.run(CLICK_EXAMPLE)
    page.browser.wait("document.getElementById('headline').textContent === 'No answer'")
    assert page.browser.run(DISABLED) == [True, True]
    page.browser.run(CLICK_EXAMPLE)
    shown(page.browser)
    assert page.browser.run(DISABLED) == [False, False]


def test_a_file_that_is_no_picture_is_named(page):
    page.browser.choose_file("#file", Path(__file__))
    page.browser.wait("!document.getElementById('message').hidden")
    told = page.browser.run("return document.getElementById('message').textContent")
    assert told == f"{Path(__file__).name}: this browser cannot read it as a picture"


PIXELS = """
const { decodeFile, readPixels } = await import("./picture.mjs");
const file = await (await fetch(NAME)).blob();
const { height, width, data } = readPixels(await decodeFile(file));
return { height, width, data: Array.from(data.filter((_, index) => index % 4 < 3)) };
"""


@pytest.mark.parametrize("kind", ["rgb.png", "grey.png", "palette.png", "turned.png", "lossless.webp"])
def test_the_browser_reads_the_pixels_that_python_reads(browser, tmp_path, kind):
    """Only formats without loss: JPEG's decoders may round differently. A turned picture is turned by the browser."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    mode = {"grey.png": "L", "palette.png": "P"}.get(kind, "RGB")
    exif = Image.Exif()
    exif[0x0112] = 6 if kind == "turned.png" else 1  # orientation: 6 means turned by a quarter
    image.convert(mode).save(tmp_path / kind, exif=exif, **({"lossless": True} if kind.endswith("webp") else {}))
    for module in ("picture.mjs", "index.html"):
        source = Path(__file__).parents[2] / "src" / "parckit" / "serve" / "page" / module
        (tmp_path / module).write_text("" if module == "index.html" else source.read_text())
    with served(tmp_path) as address:
        browser.open(address)
        told = browser.run(PIXELS.replace("NAME", f"'{kind}'"))
    expected = np.asarray(open_picture(tmp_path / kind))
    assert (told["height"], told["width"]) == expected.shape[:2]
    np.testing.assert_array_equal(np.reshape(told["data"], expected.shape), expected)


def test_a_page_opened_as_a_file_says_what_to_type(browser, bundles, tmp_path):
    write_page(bundles["classify"], tmp_path / "page", package=cached_package())
    note = "document.getElementById('server-note')"
    browser.open((tmp_path / "page" / "index.html").as_uri())
    browser.wait(f"getComputedStyle({note}).visibility === 'visible'")
    assert "http.server" in browser.run(f"return {note}.textContent")
    with served(tmp_path / "page") as address:
        browser.open(address)
        browser.wait("document.getElementById('headline').textContent === 'Ready'")
        assert browser.run(f"return {note} === null")
