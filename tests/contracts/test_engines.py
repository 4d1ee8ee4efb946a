"""What every engine promises: the network's numbers, and an extra that installs it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from backbones import images, make
from bundles import tiny_spec
from parckit.contract import place_artefact
from parckit.deploy import ExportSettings
from parckit.deploy.convert import CONVERTERS, load_converter, refusal, source_of
from parckit.measure.parity import RTOL
from parckit.models import fuse
from parckit.networks import head_of
from parckit.runtimes import CHECKPOINT, ENGINES, find_engine
from parckit.runtimes.engines import load_engine
from parckit.runtimes.torch import TorchSession
from repository import ROOT

every_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


def test_every_engine_has_a_converter_but_torch_which_opens_checkpoints():
    assert {engine.name for engine in ENGINES if engine.formats != (CHECKPOINT,)} == CONVERTERS.keys()
    assert find_engine("torch").formats == (CHECKPOINT,)
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)


@pytest.mark.parametrize("name", CONVERTERS)
@torch.no_grad()
def test_what_its_converter_writes_the_engine_runs_with_torchs_numbers(name, tmp_path):
    """From the converter's folder into a bundle, through the table of engines, and alone by its own description."""
    network, spec, converter = make("test_parcnet", num_classes=4), tiny_spec((32, 48)), load_converter(name)
    settings = ExportSettings(engines=(name,))
    assert converter.refuses(spec, head_of(spec).outputs(spec), settings=settings, precision="fp32") is None
    (tmp_path / "made").mkdir()
    source = source_of(fuse(network, size=(32, 48)), spec, work=tmp_path)
    artefact = converter.convert(source, folder=tmp_path / "made", settings=settings, precision="fp32")
    placed = place_artefact(artefact, made_in=tmp_path / "made", bundle=tmp_path)
    engine = load_engine(find_engine(name), what=name)
    x = images(32, 48, batch=3)
    (expected,) = TorchSession(network, spec)(x.numpy())
    for session in (
        engine.open_artefact(tmp_path, placed, spec, threads=1),
        engine.open_file(tmp_path / placed.main_file, threads=1),
    ):
        (logits,) = session(x.numpy())
        # Norms are folded and sums have another order, in float32.
        assert np.abs(logits - expected).max() <= RTOL["fp32"] * np.abs(expected).max()
        assert session.spec == spec


def test_two_stage_detectors_are_refused_by_engines_that_do_not_promise_them():
    spec = replace(tiny_spec((32, 48)), task="detect", backbone="test_resnet", head="mask_rcnn")
    outputs = head_of(spec).outputs(spec)
    settings = ExportSettings()
    assert refusal("onnxruntime", spec, outputs, settings=settings, precision="fp32") is None
    assert "head mask_rcnn needs sizes that depend on the image; it runs on onnxruntime" in refusal(
        "new", spec, outputs, settings=settings, precision="fp32"
    )


@every_engine
def test_its_extra_is_one_of_the_packages(engine):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (requirements,) = re.findall(rf"^{engine.extra} = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    assert f'"{engine.package}>=' in requirements
