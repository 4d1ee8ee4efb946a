import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundles import (
    LABELS,
    MODEL,
    SIZE,
    expected_logits,
    tiny_artefact,
    tiny_spec,
    write_detector_bundle,
    write_tiny_bundle,
    write_tiny_graph,
)
from parckit.contract import CONTRACT_FILE, InputError, write_artefact_metadata
from parckit.contract.metadata import _digest_of
from parckit.runtimes import load, open_session
from parckit.runtimes.onnxruntime import load_graph


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_any_number_of_images_goes_through_a_static_batch(tmp_path, batch, count):
    images = np.random.default_rng(count).standard_normal((count, 3, *SIZE), np.float32)
    session = open_session(write_tiny_bundle(tmp_path / "b", batch=batch))
    (logits,) = session(images)
    assert logits.shape == (count, len(LABELS))
    # Means and products of 24 and 3 float32 numbers of order 1.
    np.testing.assert_allclose(logits, expected_logits(images), atol=1e-6)


def test_a_session_knows_what_it_is(tmp_path):
    session = open_session(write_tiny_bundle(tmp_path / "b"))
    assert session.spec == tiny_spec()
    assert session.engine.startswith("onnxruntime 1.")
    assert session.artefact == "onnx-fp32"


@pytest.mark.parametrize(
    "wrong", [np.ones((1, 3, 6, 4), np.float32), np.ones((1, 3, *SIZE)), np.ones((3, *SIZE), "f4")]
)
def test_images_of_another_size_or_type_are_refused(tmp_path, wrong):
    session = open_session(write_tiny_bundle(tmp_path / "b"))
    with pytest.raises(InputError, match=r"must be \(B, 3, 4, 6\) float32"):
        session(wrong)


def test_a_changed_model_is_refused(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b")
    content = bytearray((bundle / MODEL).read_bytes())
    content[-1] ^= 1
    (bundle / MODEL).write_bytes(content)
    with pytest.raises(InputError, match=rf"{MODEL}: .*sha256"):
        open_session(bundle)


@pytest.mark.parametrize("lost", [MODEL, CONTRACT_FILE])
def test_an_incomplete_bundle_is_refused(tmp_path, lost):
    bundle = write_tiny_bundle(tmp_path / "b")
    (bundle / lost).unlink()
    with pytest.raises(InputError, match=lost):
        open_session(bundle)


def test_threads_are_those_of_one_operator(tmp_path):
    graph = load_graph(write_tiny_bundle(tmp_path / "b") / MODEL, threads=2)
    options = graph.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


def test_a_file_of_others_is_refused(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b")
    with pytest.raises(InputError, match="not written by parckit"):
        open_session(bundle / MODEL)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "garbage.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"garbage\.onnx: ONNX Runtime .* cannot load it"):
        open_session(tmp_path / "garbage.onnx")


@pytest.fixture
def describe(tmp_path):
    """Return a function that writes a graph whose metadata differ from the right ones."""

    def write(**changes: object) -> Path:
        file = tmp_path / "alone.onnx"
        write_tiny_graph(file)
        artefact = replace(tiny_artefact(file), checks=())
        metadata = write_artefact_metadata(tiny_spec(), artefact)
        for key, change in changes.items():
            metadata[key] = change(json.loads(metadata[key])) if callable(change) else change
        # A faulty program would write the digest of its faulty description.
        metadata["parckit_sha256"] = _digest_of(metadata)
        model = onnx.load(file)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, file)
        return file

    return write


def test_a_described_file_opens_alone(describe):
    session = open_session(describe())
    assert (session.artefact, session.spec, session.batch_size) == ("alone.onnx", tiny_spec(), 1)


def test_an_edited_description_is_refused(describe):
    file = describe()
    file.write_bytes(file.read_bytes().replace(b'"ant"', b'"eel"'))
    with pytest.raises(InputError, match="its description was changed after parckit wrote it"):
        open_session(file)


def edited(**values: object) -> Callable[[dict[str, object]], str]:
    return lambda plain: json.dumps({**plain, **values})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"parckit": "not JSON"}, "its metadata is damaged"),
        ({"parckit": "{}"}, "its metadata is damaged: network spec: has no"),
        ({"parckit_artefact": "[]"}, "its metadata is damaged: artefact: holds"),
        ({"parckit_artefact": "{}"}, "its metadata is damaged: artefact: has no 'name'"),
        ({"parckit": edited(labels=["ant", "bee"])}, "4 outputs for 2 labels"),
        ({"parckit_artefact": edited(outputs=[])}, "no outputs"),
    ],
)
def test_damaged_metadata_is_refused(describe, changes, named):
    file = describe(**changes)
    with pytest.raises(InputError, match=named) as refusal:
        open_session(file)
    assert str(refusal.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("field", "values", "named"),
    [
        ("input", {"name": "picture"}, r"its inputs are \['image'\], not 'picture'"),
        ("input", {"shape": [1, 3, 6, 4]}, r"'image' has shape \[1, 3, 4, 6\], described is \[1, 3, 6, 4\]"),
        ("input", {"shape": [None, 3, None, None]}, r"'image' has shape \[1, 3, 4, 6\]"),
        ("input", {"dtype": "uint8", "normalised_inside": True}, r"'image' is tensor\(float\)"),
        ("outputs", {"name": "scores"}, "has no output 'scores'; it has logits"),
        ("outputs", {"dtype": "float16"}, r"'logits' is tensor\(float\), but is described as float16"),
        ("outputs", {"shape": [2, 4]}, r"'logits' has shape \[1, 4\], described is \[2, 4\]"),
    ],
    ids=str,
)
def test_a_graph_that_is_not_as_described_is_refused(describe, field, values, named):
    def change(plain: dict[str, object]) -> str:
        former = plain[field]
        return json.dumps({**plain, field: [{**former[0], **values}] if field == "outputs" else {**former, **values}})

    with pytest.raises(InputError, match=named):
        open_session(describe(parckit_artefact=change))


def test_both_artefacts_of_a_detector_run(tmp_path):
    """Raw maps of raw pixels go in any number; detections have a free first dimension, one image at a time."""
    write_detector_bundle(tmp_path / "detector")
    pixels = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    scores, boxes = open_session(tmp_path / "detector", artefact="raw")(pixels)
    np.testing.assert_array_equal(scores, pixels.reshape(3, 24, 3))
    np.testing.assert_array_equal(boxes, pixels.reshape(3, 18, 4))
    one_by_one = open_session(tmp_path / "detector", precision="fp32")
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    (detections,) = one_by_one(images[:1])
    np.testing.assert_array_equal(detections, images[0].reshape(12, 6))
    with pytest.raises(InputError, match="2 images: this artefact takes 1 at once"):
        one_by_one(images[:2])
    with pytest.raises(InputError, match="decoder='invented': this version knows classify"):
        load(tmp_path / "detector", artefact="nms")
