import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from conv_bundle import conv_graph, spoil, write_colours, write_conv_bundle
from parckit.contract import read_contract
from parckit.deploy.quantize.speedup import Speedup
from parckit.measure.interleaved import Ratio
from pictures import write_pictures

FEW = ("--samples=12", "--calibrator=minmax")
QUICK = ("--seconds=0.01", "--least_agreement=0.5", "--accepted_drop=100", *FEW)


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def floats(tmp_path_factory) -> Path:
    return write_conv_bundle(tmp_path_factory.mktemp("floats") / "bundle")


def test_an_int8_artefact_is_added_and_shown(floats, colours, tmp_path, parckit):
    folder = shutil.copytree(floats, tmp_path / "bundle")
    printed = parckit("quantize", folder, "--data", colours, *QUICK)
    assert "onnx-int8 (onnx, int8)" in printed
    assert "comparison with float32, onnxruntime" in printed
    assert "squeeze-excite" in printed
    assert "% in float32" in printed
    assert read_contract(folder).artefact("onnx-int8").checks[0].passed
    evaluated = parckit("eval", folder, "--data", colours, "--precision=int8", "--data.split=test")
    assert "onnx-int8" in evaluated
    picture = next(colours.rglob("*.png"))
    assert "onnx-int8" in parckit("bench", folder, "--precision=int8", "--warmup=0", "--seconds=0.01")
    assert json.loads(parckit("predict", folder, picture, "--precision=int8", "--format=json"))


def test_sensitivity_writes_a_table_a_file_and_a_picture(floats, colours, tmp_path, parckit):
    out = tmp_path / "nodes.json"
    printed = parckit("quantize", floats, "--data", colours, *FEW, "--sensitivity", "--out", out)
    for name in ("first", "depthwise", "pointwise", "head", "(all nodes)"):
        assert name in printed
    # Those with weights, and those between them.
    assert len(json.loads(out.read_text())["nodes"]) == 12
    with Image.open(tmp_path / "nodes.png") as chart:
        assert chart.width > 100
    assert [artefact.name for artefact in read_contract(floats).artefacts] == ["onnx-fp32"]


def test_raised_nodes_are_told(colours, tmp_path, parckit, monkeypatch):
    monkeypatch.setattr("parckit.deploy.quantize.mixing._SECONDS", 0.05)
    folder = write_conv_bundle(tmp_path / "bundle", spoil(conv_graph()))
    others = write_pictures(tmp_path / "others", count=20, colours=["red"], seed=2) / "red"
    options = (*QUICK, "--between=false", "--equalize=false", "--max_drop=0", "--eval_data", others)
    printed = parckit("quantize", folder, "--data", colours, *options)
    (row,) = (line for line in printed.splitlines() if "pointwise" in line)
    assert "float32" in row
    assert re.search(r"all nodes in 8 bits lose \d+\.\d\d points on 20 pictures, this mix 0\.00", row)
    assert "times as fast" in row


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--samples=0"], "samples=0"),
        (["--calibrator=best"], "--calibrator"),
        (["--engines=opencv"], "engines=opencv"),
        (["--max_drop=1"], "max_drop and eval_data: give both"),
        (["--percentile=0.99"], "percentile=0.99"),
        (["--out=new"], "--out new: has no effect without --sensitivity"),
        (["--raise_to=int16"], "--raise_to int16: has no effect without --max_drop"),
        (["--eval_split=train"], "--eval_split train: has no effect without --eval_data"),
        (["--calibrator=mse", "--percentile=99"], "--percentile 99.0: has no effect with --calibrator mse"),
        (["--sensitivity", "--engines=mnn"], "--engines mnn: has no effect with --sensitivity"),
        (["--sensitivity", "--max_drop=0.1"], "--max_drop 0.1: has no effect with --sensitivity"),
        (["--sensitivity", "--eval_data=x"], "--eval_data x: has no effect with --sensitivity"),
        (["--sensitivity", "--keep_if_faster=true"], "--keep_if_faster True: has no effect with --sensitivity"),
        (["--sensitivity", "--out=x.png"], "--out x.png: must end in .json"),
    ],
)
def test_mistakes_are_one_line(floats, colours, mistake, options, named):
    assert named in mistake("quantize", floats, "--data", colours, *options)


def test_missing_data_and_bundles_are_named(floats, tmp_path, mistake):
    assert "nowhere" in mistake("quantize", floats, "--data", tmp_path / "nowhere")
    assert "no_bundle" in mistake("quantize", tmp_path / "no_bundle", "--data=digits")


def test_a_file_of_something_else_is_no_sensitivity_file(floats, colours, tmp_path, mistake):
    (tmp_path / "other.json").write_text("[1]")
    line = mistake("quantize", floats, "--data", colours, *FEW, "--sensitivity", "--out", tmp_path / "other.json")
    assert "other.json" in line


def test_the_report_shows_the_check(floats, colours, tmp_path, parckit):
    folder = shutil.copytree(floats, tmp_path / "bundle")
    parckit("quantize", folder, "--data", colours, *QUICK)
    parckit("report", folder, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "onnx-int8" in page
    assert "close enough" in page


def test_an_int8_network_that_is_not_faster_is_not_kept(floats, colours, tmp_path, parckit, monkeypatch, caplog):
    folder = shutil.copytree(floats, tmp_path / "bundle")
    ratio = Ratio(speedup=0.8, low=0.7, high=0.9)
    slower = Speedup(engine="onnxruntime 1", artefact="onnx-int8", float_ms=8.0, int8_ms=10.0, ratio=ratio)
    monkeypatch.setattr("parckit.deploy.quantize.speedup.compare_speed", lambda *sessions, seconds: slower)
    parckit("quantize", folder, "--data", colours, *QUICK, "--keep_if_faster=true")
    assert "onnx-int8 was not added: it is not clearly faster" in caplog.text
    assert [artefact.name for artefact in read_contract(folder).artefacts] == ["onnx-fp32"]
    # Without the option it is kept, and the table says that it is slower.
    printed = parckit("quantize", folder, "--data", colours, *QUICK)
    assert "SLOWER: 10.00 ms, float32 8.00 ms, ratio 0.80" in " ".join(printed.split())
