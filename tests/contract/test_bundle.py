import json
import shutil
from dataclasses import replace

import pytest

from bundles import MODEL, tiny_artefact, tiny_spec, write_tiny_bundle, write_tiny_graph
from parckit.contract import (
    CONTRACT_FILE,
    Artefact,
    Calibration,
    Check,
    Contract,
    DecoderSpec,
    InputError,
    InputSpec,
    OutputSpec,
    add_artefact,
    read_contract,
    sha256_of,
    write_contract,
)


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def edit(bundle, change):
    path = bundle / CONTRACT_FILE
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def test_reading_gives_what_was_written(bundle, tmp_path):
    contract = read_contract(bundle)
    shutil.copytree(bundle, tmp_path / "copy")
    write_contract(contract, tmp_path / "copy")
    assert read_contract(tmp_path / "copy") == contract


def first(plain):
    return plain["artefacts"][0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda plain: plain.update(schema=99), "schema 99"),
        (lambda plain: plain.pop("artefacts"), "no 'artefacts'"),
        (lambda plain: plain["artefacts"].clear(), "need one or more"),
        (lambda plain: plain["artefacts"].append(first(plain)), "a name of its own"),
        (lambda plain: first(plain)["files"].clear(), "no files"),
        (lambda plain: first(plain)["files"].update({"../x": "0"}), "outside the bundle"),
        (lambda plain: first(plain).update(precision="fp64"), "artefacts.0..precision"),
        (lambda plain: plain["spec"]["labels"].pop(), "4 outputs for 3 labels"),
        (lambda plain: plain["spec"].update(task="paint"), "spec.task"),
        (lambda plain: plain["spec"]["preprocessing"].pop("std"), "no 'std'"),
        (lambda plain: plain["spec"]["preprocessing"].update(size=[1, "2"]), r"size\[1\]"),
        (lambda plain: plain.update(extra=1), "'extra' is unknown"),
        (lambda plain: plain.update(spec=None), "not an object"),
        (lambda plain: plain.update(params=True), "not int"),
        (lambda plain: first(plain).update(outputs=[]), "no outputs"),
        (lambda plain: first(plain)["outputs"][0].update(shape=[1]), "one output"),
        (lambda plain: first(plain)["input"].update(shape=[1, 4, 4, 6]), "3 channels"),
        (lambda plain: first(plain)["checks"][0].update(passed=None), "reason"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(bundle, change, named):
    edit(bundle, change)
    with pytest.raises(InputError, match=named) as caught:
        read_contract(bundle)
    assert str(bundle / CONTRACT_FILE) in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "{", "", "null"])
def test_other_json_is_refused(bundle, text):
    (bundle / CONTRACT_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{CONTRACT_FILE}: not a contract"):
        read_contract(bundle)


def test_a_changed_or_missing_model_is_refused(bundle):
    model = bundle / MODEL
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(InputError, match="sha256 differs"):
        read_contract(bundle)
    model.unlink()
    with pytest.raises(InputError, match="missing"):
        read_contract(bundle)


def test_an_artefact_is_added_and_replaced(bundle, tmp_path):
    made = tmp_path / "made"
    for batch in (2, 3):
        made.mkdir(exist_ok=True)
        write_tiny_graph(made / "model.onnx", batch=batch)
        artefact = tiny_artefact(made / "model.onnx", batch=batch, name="onnx-two")
        artefact = replace(artefact, files={"model.onnx": sha256_of(made / "model.onnx")})
        changed = add_artefact(bundle, artefact, made_in=made)
        assert read_contract(bundle) == changed
        assert [entry.name for entry in changed.artefacts] == ["onnx-fp32", "onnx-two"]
        assert changed.artefact("onnx-two").input.batch_size == batch
    # What was replaced is gone, and the first artefact was not touched.
    assert sorted(path.parent.name for path in bundle.rglob("*.onnx")) == ["onnx-fp32", "onnx-two-2"]
    with pytest.raises(InputError, match="missing"):
        add_artefact(bundle, replace(artefact, files={"absent.onnx": ""}), made_in=made)
    with pytest.raises(InputError, match="onnx-fp32, onnx-two"):
        changed.artefact("onnx-four")


def test_a_detector_fits_into_the_schema(tmp_path):
    """Two ONNX files of one invented detector: raw maps, and boxes with the suppression inside; one was not run."""
    spec = replace(tiny_spec(), task="detect", head="invented", head_kwargs={"strides": [8, 16]})
    for name in ("raw", "nms"):
        (tmp_path / name).mkdir()
        write_tiny_graph(tmp_path / name / "model.onnx")
    raw = Artefact(
        name="raw",
        format="onnx",
        precision="int8",
        files={"raw/model.onnx": sha256_of(tmp_path / "raw" / "model.onnx")},
        input=InputSpec(dtype="uint8", layout="NHWC", shape=(None, 4, 6, 3), normalised_inside=True),
        outputs=(
            OutputSpec(name="scores", dtype="float32", layout="NAC", shape=(None, 30, 4)),
            OutputSpec(name="boxes", dtype="float32", layout="NAX", shape=(None, 30, 4)),
        ),
        decoder=DecoderSpec(name="invented", parameters={"strides": [8, 16]}, defaults={"score": 0.3, "iou": 0.5}),
        calibration=Calibration(method="percentile", count=1, sha256=("0" * 64,)),
        checks=(Check(engine="onnxruntime", passed=None, reason="no engine with this operator here"),),
    )
    nms = replace(
        raw,
        name="nms",
        precision="fp32",
        files={"nms/model.onnx": sha256_of(tmp_path / "nms" / "model.onnx")},
        input=InputSpec(shape=(1, 3, 4, 6)),
        outputs=(OutputSpec(name="detections", dtype="float32", layout="DX", shape=(None, 6)),),
        calibration=None,
        checks=(Check(engine="onnxruntime", version="1.0", passed=True, figures={"max_abs": 0.0}),),
    )
    contract = Contract(spec=spec, artefacts=(raw, nms), params=1, madds=1, versions={})
    write_contract(contract, tmp_path)
    assert read_contract(tmp_path) == contract
    assert (raw.runs_in_chunks, nms.runs_in_chunks) == (True, False)
    assert (raw.input.size, raw.input.batch_size) == ((4, 6), None)
