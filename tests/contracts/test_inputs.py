"""An artefact that takes raw pixels in another layout works in every room: check, memory, evaluation, speed, page."""

import warnings

import pytest
import torch
from torch import nn

from bundles import LABELS, WEIGHT, add_raw_pixels, tiny_spec, write_tiny_bundle
from parckit.contract import read_contract
from parckit.deploy.verify import Reference, check_artefact
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.latency import benchmark
from parckit.report.content import write_page
from parckit.report.gather import gather
from parckit.runtimes import load
from pictures import write_noise


@pytest.fixture
def bundle(tmp_path):
    return add_raw_pixels(write_tiny_bundle(tmp_path / "bundle"), made_in=tmp_path / "made")


@pytest.fixture
def animals(tmp_path):
    return write_noise(tmp_path / "animals" / "test", labels=LABELS, count=2).parent


def test_it_is_checked_against_torch(bundle):
    linear = nn.Linear(3, len(LABELS), bias=False)
    linear.weight.data = torch.from_numpy(WEIGHT.T.copy())
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    artefact = read_contract(bundle).artefact("raw-pixels")
    check = check_artefact(Reference(network, tiny_spec()), artefact, folder=bundle, engine="onnxruntime")
    assert check.passed
    linear.weight.data *= 1.01
    assert not check_artefact(Reference(network, tiny_spec()), artefact, folder=bundle, engine="onnxruntime").passed


def test_it_answers_and_scores_as_the_other_artefact_does(bundle, animals):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw, plain = (evaluate(bundle, animals, artefact=name) for name in ("raw-pixels", "onnx-fp32"))
    assert raw.score.scalars == plain.score.scalars
    picture = next(animals.rglob("*.png"))
    raw, plain = (load(bundle, artefact=name)(picture) for name in ("raw-pixels", "onnx-fp32"))
    # float32 in another order
    assert raw.label == plain.label
    assert raw.probability == pytest.approx(plain.probability, rel=1e-5)


def test_it_is_timed_and_reported(bundle, animals, tmp_path):
    assert benchmark(bundle, artefact="raw-pixels", warmup=0, seconds=0.01).timings[0].batch_size == 1
    write_page(tmp_path / "page.html", gather(bundle, data=EvaluationData(source=str(animals))))
    assert "bundle/raw-pixels" in (tmp_path / "page.html").read_text()
