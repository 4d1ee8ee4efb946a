"""What every engine promises: the network's numbers, an extra that installs it, and a reason where it cannot.

`make test-engines` converts networks and runs them. tests/deploy and tests/runtimes try ONNX Runtime in `make test`.
"""

import functools
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch

from backbones import as_if_trained, images
from bundles import tiny_spec
from engine_networks import NETWORKS, ONE_A_TASK, SIZE, UNRUN, spec_of
from parckit.contract import (
    Artefact,
    InputError,
    MissingExtraError,
    ParckitError,
    place_artefact,
)
from parckit.deploy import ExportError, ExportSettings, OnnxSettings, export_bundle
from parckit.deploy.convert import CONVERTERS, Source, load_converter, refusal, source_of
from parckit.deploy.convert.onnx import shared_graph
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.profiling import PROFILERS, profile
from parckit.measure.tolerance import TOLERANCES
from parckit.models import fuse
from parckit.networks import build_network, head_of
from parckit.runtimes import CHECKPOINT, ENGINES, Session, find_engine, load
from parckit.runtimes.engines import load_engine
from processes import measure_no_memory
from repository import ROOT

FEW = ("onnxruntime", "executorch", "aotinductor")
"""Engines that get one network of every task. ONNX Runtime has all others in `make test`; the converters of the rest
take long."""
PACKAGES = {"cv2": "opencv-python-headless", "MNN": "mnn", "ai_edge_litert": "ai-edge-litert"}
"""Module of an engine -> name of its package, where they differ."""
UNSUPPORTED = {
    ("ncnn", "edgevit"): r"ncnn has no layer for .*Tensor\.slice",
    ("ncnn", "mobilevit"): r"ncnn has no layer for .*torch\.unbind",
}
"""(engine, network) -> the operator that the engine does not have."""


Converted = Callable[[str, str], tuple[Path, Artefact]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network, what to convert, and what it gives for some images.

    Attributes:
        source: the fused network.
        images: some images.
        expected: what the unfused network gives for them in float64.
    """

    source: Source
    images: np.ndarray
    expected: tuple[np.ndarray, ...]


@pytest.fixture(scope="module")
def subject(request, tmp_path_factory):
    """Return a function from a network's name to its Subject. The ONNX file is written once for all engines.

    Tests of one network are a group, so that only one of several test processes writes it.
    """
    subjects: dict[str, Subject] = {}

    def make_subject(name: str) -> Subject:
        if name not in subjects:
            spec = spec_of(name)
            network = as_if_trained(build_network(spec)).eval()
            work = tmp_path_factory.mktemp(name)
            source = source_of(fuse(network, size=SIZE), spec, work=work)
            shared_graph(source_of(fuse(network, size=SIZE), spec, work=work), settings=ExportSettings())
            x = images(*SIZE, batch=2)
            with torch.no_grad():
                outputs = network.double()(x.double())
            outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
            subjects[name] = Subject(
                source=source, images=x.numpy(), expected=tuple(output.numpy() for output in outputs)
            )
        return subjects[name]

    return make_subject


@pytest.fixture(scope="module")
def converted(subject, tmp_path_factory) -> Converted:
    """Return a function that converts a network for an engine into a bundle's folder, once for all tests."""

    @functools.cache
    def convert(engine: str, network: str) -> tuple[Path, Artefact]:
        folder, settings = tmp_path_factory.mktemp(f"{engine}-{network}"), ExportSettings(engines=(engine,))
        made = folder / "made"
        made.mkdir()
        source = subject(network).source
        artefact = load_converter(engine).convert(source, folder=made, settings=settings, precision="fp32")
        return folder, place_artefact(artefact, made_in=made, bundle=folder)

    return convert


def opened(engine: str, artefact: Artefact, *, folder: Path, network: str) -> Session:
    """Open a bundle's artefact with one thread."""
    module = load_engine(find_engine(engine), what=engine)
    return module.open_artefact(folder, artefact, spec_of(network), threads=1)


def test_every_engine_has_a_converter_but_torch_which_opens_checkpoints():
    assert {engine.name for engine in ENGINES if engine.formats != (CHECKPOINT,)} == CONVERTERS.keys()
    assert find_engine("torch").formats == (CHECKPOINT,)
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)


def mark_of(engine: str) -> pytest.MarkDecorator:
    """The converter of LiteRT cannot be installed beside ExecuTorch: they need other versions of typing-extensions."""
    return pytest.mark.litert if engine == "litert" else pytest.mark.engines


CRASHES = {("opencv", "parcnetv2")}
"""OpenCV 5.0.0 crashes when it loads a product of a convolution and a GELU."""

PAIRS = [
    pytest.param(engine, network, marks=[mark_of(engine), pytest.mark.xdist_group(network)])
    for network in NETWORKS
    for engine in CONVERTERS
    if engine not in UNRUN and (engine, network) not in CRASHES and (network in ONE_A_TASK or engine not in FEW)
]


@pytest.mark.engines
@pytest.mark.parametrize(("engine", "network"), sorted(CRASHES))
def test_an_engine_that_crashes_ends_an_export_with_one_line(engine, network, tmp_path):
    spec, settings = spec_of(network), ExportSettings(engines=(engine,))
    with pytest.raises(ParckitError, match=rf"{engine} crashed \(SIGSEGV\)"):
        export_bundle(as_if_trained(build_network(spec)).eval(), spec, out=tmp_path / "b", settings=settings)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("name", "network"), PAIRS)
def test_what_its_converter_writes_the_engine_runs_with_torchs_numbers(name, network, subject, converted):
    """From the converter's folder into a bundle, and through the table of engines."""
    case, settings = subject(network), ExportSettings(engines=(name,))
    assert refusal(name, case.source.spec, case.source.outputs, settings=settings, precision="fp32") is None
    if (name, network) in UNSUPPORTED:
        with pytest.raises(ExportError, match=UNSUPPORTED[name, network]):
            converted(name, network)
        return
    folder, artefact = converted(name, network)
    session = opened(name, artefact, folder=folder, network=network)
    outputs = session(case.images)
    assert session.engine.startswith(f"{name} ")
    assert len(outputs) == len(case.expected)
    for actual, expected in zip(outputs, case.expected, strict=True):
        assert actual.shape == expected.shape
        # Norms are folded and sums have another order, in float32.
        assert np.abs(actual - expected).max() <= TOLERANCES["fp32"].numbers * np.abs(expected).max()
    # An answer that was given stays as it is when the engine runs again.
    kept = [output.copy() for output in outputs]
    session(np.zeros_like(case.images))
    assert all(np.array_equal(one, other) for one, other in zip(outputs, kept, strict=True))


CLASSIFIERS = [
    pytest.param(engine, marks=[mark_of(engine), pytest.mark.xdist_group("parcnet")])
    for engine in CONVERTERS
    if engine not in UNRUN
]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the threads' times where Linux keeps them")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_thread_is_one_thread(name, converted):
    """Otherwise a latency with one thread would be that of several."""
    folder, artefact = converted(name, "parcnet")
    session = opened(name, artefact, folder=folder, network="parcnet")
    batch = np.zeros((1, 3, *SIZE), np.float32)
    before, end = busy_ticks(), perf_counter() + 0.5  # 50 ticks
    while perf_counter() < end:
        session(batch)
    spent = sorted(ticks - before.get(thread, 0) for thread, ticks in busy_ticks().items())
    # Threads that wait for work take some time.
    assert spent[-1] >= 0.8 * sum(spent)


def busy_ticks() -> dict[str, int]:
    """Return the time that every thread of this process has computed, in ticks of the system."""
    ticks: dict[str, int] = {}
    for stat in Path("/proc/self/task").glob("*/stat"):
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks[stat.parent.name] = int(fields[11]) + int(fields[12])
    return ticks


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_damaged_file_is_refused_with_one_line(name, converted, tmp_path):
    folder, artefact = converted(name, "parcnet")
    shutil.copytree(folder, tmp_path / "bundle")
    path = tmp_path / "bundle" / artefact.main_file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        opened(name, artefact, folder=tmp_path / "bundle", network="parcnet")
    assert "\n" not in str(caught.value)


@pytest.mark.engines
@pytest.mark.xdist_group("parcnet")
@torch.no_grad()
def test_a_file_that_says_what_it_is_opens_alone(subject, converted):
    case = subject("parcnet")
    for engine in ENGINES:
        if engine.suffixes and engine.formats != (CHECKPOINT,):
            folder, artefact = converted(engine.name, "parcnet")
            module = load_engine(engine, what=engine.name)
            session = module.open_file(folder / artefact.main_file, threads=1)
            (logits,) = session(case.images)
            accepted = TOLERANCES["fp32"].numbers * np.abs(case.expected[0]).max()
            assert np.abs(logits - case.expected[0]).max() <= accepted
            assert session.spec.to_dict() == case.source.spec.to_dict()


def test_two_stage_detectors_are_refused_by_engines_that_do_not_promise_them():
    spec = replace(tiny_spec((32, 48)), task="detect", backbone="test_resnet", head="mask_rcnn")
    outputs = head_of(spec).outputs(spec)
    settings = ExportSettings()
    assert refusal("onnxruntime", spec, outputs, settings=settings, precision="fp32") is None
    assert "head mask_rcnn needs sizes that depend on the image; it runs on onnxruntime" in refusal(
        "new", spec, outputs, settings=settings, precision="fp32"
    )


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine.extra], ids=lambda engine: engine.name)
def test_its_extra_is_one_of_the_packages(engine):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (requirements,) = re.findall(rf"^{engine.extra} = \[(.*?)\](?:  #.*)?$", project, re.MULTILINE | re.DOTALL)
    assert f'"{PACKAGES.get(engine.package, engine.package)}>=' in requirements


@pytest.mark.parametrize("name", ["hbm_runtime", "hobot_dnn", "rknn"])
def test_an_engine_that_pip_does_not_install_says_where_it_comes_from(name):
    engine = find_engine(name)
    with pytest.raises(MissingExtraError, match=rf"bundle: needs the package {engine.package}; .*(boards|RDK X5)"):
        load_engine(engine, what="bundle")
    assert "parckit kit" in refusal(
        name, spec_of("parcnet"), (), settings=ExportSettings(engines=(name,)), precision="int8"
    )


@pytest.mark.parametrize("name", CONVERTERS)
def test_what_converts_for_it_can_be_installed(name):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in CONVERTERS[name].extra.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)


@pytest.mark.engines
def test_one_bundle_serves_several_engines(subject, tmp_path):
    """An ONNX file for three of them, in both precisions, with a check for every engine; each gives an answer."""
    spec = spec_of("parcnet")
    engines = ("onnxruntime", "openvino", "opencv", "mnn", "ncnn")
    network = as_if_trained(build_network(spec)).eval()
    settings = ExportSettings(engines=engines, precision=("fp32", "fp16"))
    contract = export_bundle(network, spec, out=tmp_path / "b", settings=settings)
    assert {entry.name: [check.engine for check in entry.checks] for entry in contract.artefacts} == {
        "onnx-fp32": ["onnxruntime", "openvino", "opencv"],
        "mnn-fp32": ["mnn"],
        "ncnn-fp32": ["ncnn"],
        "onnx-fp16": ["onnxruntime", "openvino"],
        "mnn-fp16": ["mnn"],
        "ncnn-fp16": ["ncnn"],
    }
    for check in (check for entry in contract.artefacts for check in entry.checks):
        assert check.passed
        assert check.figures["peak_memory_bytes"] > 0
        assert check.figures["agreement"] == 1
    # MNN's file and ncnn's file say of themselves what they are, too.
    assert b'"channel_order": "rgb"' in (tmp_path / "b" / contract.artefact("mnn-fp32").main_file).read_bytes()
    layers = (tmp_path / "b" / contract.artefact("ncnn-fp32").main_file).read_text(encoding="utf-8")
    assert json.loads(json.loads(layers.splitlines()[-1].removeprefix("# "))["labels"]) == list(spec.labels)
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    answers = [load(tmp_path / "b", runtime=engine, precision="fp32", threads=1)(picture) for engine in engines]
    assert len({answer.label for answer in answers}) == 1
    check_profiles(tmp_path / "b")


def check_profiles(bundle: Path) -> None:
    """Check that all engines that tell the time of layers count the same multiply-adds for the same file."""
    engines = tuple(name for name in PROFILERS if name != "torch")
    candidates = find_candidates([bundle], Wanted(engines=engines, artefact="onnx-fp32"))
    assert [candidate.engine.name for candidate in candidates] == [*engines]
    first, *others = (profile(candidate, threads=1, seconds=0.05) for candidate in candidates)
    for result in others:
        assert all(layer.milliseconds >= 0 for layer in result.layers)
        assert 0 < result.run_ms < 1000
        assert result.ceiling_gflops > 0
        # ONNX Runtime fills up the channels of some convolutions, and counts them.
        assert result.madds == pytest.approx(first.madds, rel=0.1)


@pytest.mark.engines
@pytest.mark.parametrize("network", ONE_A_TASK[1:])
def test_boxes_and_masks_agree_in_half_precision(network, tmp_path, monkeypatch):
    """As the classes of the test before do. The older exporter is quicker."""
    measure_no_memory(monkeypatch)
    spec = spec_of(network)
    engines = ("onnxruntime", "openvino", "mnn", "ncnn")
    settings = ExportSettings(engines=engines, precision=("fp16",), onnx=OnnxSettings(opset=17))
    contract = export_bundle(as_if_trained(build_network(spec)).eval(), spec, out=tmp_path / "b", settings=settings)
    checks = [check for entry in contract.artefacts for check in entry.checks]
    assert {check.engine for check in checks} == {*engines}
    assert all(check.passed and check.figures["agreement"] >= 0.98 for check in checks)
    # An engine that cut off digits of the weights would be ten times as far off as the others.
    errors = [check.figures["relative"] for check in checks]
    assert max(errors) < 4 * min(errors)


@pytest.mark.engines
def test_only_half_precision_computes_in_half_precision_in_mnn(converted, monkeypatch):
    from MNN import nn as mnn  # only this test needs it

    folder, artefact = converted("mnn", "parcnet")
    opened("mnn", artefact, folder=folder, network="parcnet")
    create, asked = mnn.create_runtime_manager, []
    monkeypatch.setattr(mnn, "create_runtime_manager", lambda settings: asked.append(settings[0]) or create(settings))
    for precision in ("fp32", "fp16", "int8"):
        opened("mnn", replace(artefact, precision=precision), folder=folder, network="parcnet")
    assert [settings["precision"] for settings in asked] == ["high", "low", "high"]


@pytest.mark.litert
def test_half_precision_of_litert_stores_half_the_weights(tmp_path):
    spec, settings = spec_of("mobilenetv2"), ExportSettings(engines=("litert",), precision=("fp32", "fp16"))
    network = as_if_trained(build_network(spec)).eval()
    artefacts = export_bundle(network, spec, out=tmp_path / "b", settings=settings).artefacts
    whole, half = ((tmp_path / "b" / one.main_file).stat().st_size for one in artefacts)
    # What is no weight of a convolution or a linear layer stays whole.
    assert half < 0.6 * whole
    assert [check.figures["agreement"] for one in artefacts for check in one.checks] == [1, 1]
