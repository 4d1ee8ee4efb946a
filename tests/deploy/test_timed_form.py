"""The engine decides the form of convolutions along an axis, and its decision is remembered. No test times anything."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
from torch import nn

from backbones import as_if_trained
from bundles import tiny_spec
from parckit.contract import ParckitError
from parckit.deploy import ExportSettings, OnnxSettings, timed_form
from parckit.deploy.convert import CONVERTERS, Source, source_of
from parckit.deploy.convert.axis_forms import PROGRAM_AUTO
from parckit.deploy.planning import Conversion, plan_conversions
from parckit.deploy.timed_form import FormChoice, choose_form
from parckit.layers import CircularConv2d
from parckit.models import fuse

SIZE = (25, 10)
"""One axis above and one below the length from which the table takes products."""
TIMED = ExportSettings(form="timed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path) -> Source:
    layers = (CircularConv2d(4, 25, axis="height"), CircularConv2d(4, 10, axis="width"))
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 4, 1), *layers, nn.Flatten(), nn.Linear(1000, 4))).eval()
    return source_of(fuse(model, size=SIZE), tiny_spec(SIZE), work=tmp_path)


@pytest.fixture
def timings(monkeypatch) -> Callable[..., None]:
    """Return a function that says what every form takes in every round; without it, timing is an error."""

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("nothing may be timed")

    def pretend(**seconds: list[float]) -> None:
        def interleave(runs: Mapping[str, Callable[[], object]], **options: object) -> dict[str, list[float]]:
            for run in runs.values():
                run()
            assert list(runs) == list(seconds)
            return seconds

        monkeypatch.setattr(timed_form, "interleave", interleave)

    monkeypatch.setattr(timed_form, "interleave", fail)
    monkeypatch.setattr(timed_form, "peak_memory", lambda *args, **options: 0)
    return pretend


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Open no engine, which takes seconds for every form. Return the forms that are opened; "conv" does not run."""
    forms: list[str] = []

    class Opened:
        engine = "onnxruntime 1"

        def __call__(self, images: object) -> object:
            return images

    def open_form(source: Source, conversion: Conversion, settings: ExportSettings, *, folder: Path) -> Opened:
        if settings.form == "conv":
            raise ParckitError("no such operator")
        forms.append(settings.form)
        return Opened()

    monkeypatch.setattr(timed_form, "_open", open_form)
    monkeypatch.setattr(timed_form, "one_batch", lambda session: session)
    return forms


def conversion_of(source: Source, settings: ExportSettings = TIMED) -> Conversion:
    (conversion,) = plan_conversions(source.spec, settings)
    return conversion


def test_the_fastest_form_is_taken_and_remembered(source, timings, monkeypatch):
    timings(auto=[1.0] * 8, conv=[1.25] * 8, matmul=[0.8] * 8)
    choice = choose_form(source, conversion_of(source), TIMED)
    assert (choice.form, dict(choice.speedups)) == ("matmul", {"conv": 0.8, "matmul": 1.25})
    assert choice.options["form_timed_in"].startswith("onnxruntime ")
    # Every form has a graph of its own.
    graphs = {form: onnx.load(source.work / f"shared-{form}.onnx").graph for form in ("auto", "conv", "matmul")}
    products = {form: [node.op_type for node in graph.node].count("MatMul") for form, graph in graphs.items()}
    assert products == {"auto": 1, "conv": 0, "matmul": 2}
    # The second export does not time: another network's timings would be an error.
    timings(none=[])
    assert choose_form(source, conversion_of(source), TIMED) == choice
    with pytest.raises(AssertionError):
        choose_form(source, conversion_of(source), replace(TIMED, batch_size=2))
    (timed_form.cache_folder() / "forms.json").write_text("{damaged", encoding="utf-8")
    with pytest.raises(AssertionError):
        choose_form(source, conversion_of(source), TIMED)


def test_within_noise_the_form_of_the_table_stays(source, timings, opened, caplog):
    """A form that the engine does not run is passed over."""
    timings(auto=[1.0] * 8, matmul=[0.9, 1.1] * 4)
    choice = choose_form(source, conversion_of(source), TIMED)
    assert (choice.form, choice.speedups.keys(), opened) == ("auto", {"matmul"}, ["auto", "matmul"])
    assert "onnxruntime cannot run the form conv: no such operator" in caplog.text


def test_a_choice_holds_for_the_limits_of_one_board(source):
    boards = (None, "rdk-x5", "rk3588")
    settings = [replace(TIMED, target=board) for board in boards]
    assert len({timed_form._key(source, conversion_of(source), one) for one in settings}) == len(boards)


def test_forms_that_give_the_same_graph_are_one_candidate(source):
    """Where a network becomes a torch program, auto is conv."""
    for engine, forms in (("onnxruntime", {"auto", "conv", "matmul"}), ("litert", {"auto", "matmul"})):
        conversion = replace(conversion_of(source), engines=(engine,))
        assert {*timed_form._candidates(source, conversion, TIMED)} == forms


def test_nothing_is_timed_where_there_is_nothing_to_choose(source, timings, caplog):
    plain = replace(source, network=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))
    nothing = FormChoice(form="auto", speedups={})
    assert choose_form(plain, conversion_of(plain), TIMED) == nothing
    assert choose_form(source, conversion_of(source), replace(TIMED, onnx=OnnxSettings(opset=13))) == nothing
    as_asked = FormChoice(form="matmul", speedups={})
    assert choose_form(source, conversion_of(source), ExportSettings(form="matmul")) == as_asked
    with caplog.at_level(logging.WARNING):
        absent = replace(conversion_of(source), engines=("coreml",))
        assert choose_form(source, absent, TIMED) == nothing
    assert "coreml cannot run here (the package coremltools is missing)" in caplog.text
    assert nothing.options == {}


@pytest.mark.parametrize("engine", CONVERTERS)
def test_the_table_knows_what_auto_means_to_a_converter(engine):
    """The modules are read, not imported, because their packages need not be installed."""
    entry = CONVERTERS[engine]
    module = find_spec(entry.module)
    assert module is not None
    writes_program = "write_program(" in Path(str(module.origin)).read_text(encoding="utf-8")
    assert entry.auto_form == (PROGRAM_AUTO if writes_program else "auto")
