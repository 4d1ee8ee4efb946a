import numpy as np
import pytest

from bundles import LABELS, MODEL, SIZE, expected_logits, tiny_spec, write_tiny_bundle
from parckit.contract import CONTRACT_FILE, InputError
from parckit.runtimes import open_session
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
