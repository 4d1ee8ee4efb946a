"""ncnn's files: what is read is written again byte for byte, and int8 layers look as ncnn expects them."""

import numpy as np
import pytest

from parckit.deploy.errors import ExportError
from parckit.deploy.quantize.ncnn_file import INT8_TAG, float_weights, in_int8, read_layers, write_layers

PARAM = """7767517
4 5
Input                    in0                      0 1 in0
Convolution              conv                     1 1 in0 1 0=2 1=1 -23310=2,0.0,6.0 5=1 6=6 9=3
Split                    split                    1 2 1 2 3
InnerProduct             out                      1 1 3 out0 0=2 1=0 2=4
"""
WEIGHTS = np.array([[1, -2, 0.5], [0, 0.25, 1]], np.float32)
BIAS = np.array([0.5, -0.5], np.float32)
MATRIX = np.arange(4, dtype=np.float32)


@pytest.fixture
def network(tmp_path):
    """Return the paths of a small network's two files."""
    param, binary = tmp_path / "a.param", tmp_path / "a.bin"
    param.write_text(PARAM + "# a description\n", encoding="utf-8")
    binary.write_bytes(b"".join((bytes(4), WEIGHTS.tobytes(), BIAS.tobytes(), bytes(4), MATRIX.tobytes())))
    return param, binary


def test_what_is_read_is_written_again(network, tmp_path):
    layers = read_layers(*network)
    write_layers(layers, tmp_path / "b.param", tmp_path / "b.bin")
    assert (tmp_path / "b.param").read_text(encoding="utf-8") == PARAM
    assert (tmp_path / "b.bin").read_bytes() == network[1].read_bytes()


def test_an_int8_layer_has_tag_weights_bias_and_scales(network):
    _, convolution, _, product = read_layers(*network)
    weights, bias = float_weights(convolution)
    np.testing.assert_array_equal(weights, WEIGHTS.ravel())
    steps = np.array([[64, -127, 32], [0, 32, 127]], np.int8)
    layer = in_int8(convolution, steps, scales=np.array([63.5, 127], np.float32), bottom=20, top=30)
    assert layer.number(8) == 102
    assert np.frombuffer(layer.data[:4], np.uint32) == INT8_TAG
    # Six weights are filled up to eight bytes.
    np.testing.assert_array_equal(np.frombuffer(layer.data[4:10], np.int8), steps.ravel())
    np.testing.assert_array_equal(np.frombuffer(layer.data[12:], np.float32), [*bias, 63.5, 127, 20, 30])
    assert in_int8(product, steps[:, :2], scales=np.ones(2, np.float32), bottom=1).number(8) == 2


def test_unknown_numbers_are_refused(network):
    network[1].write_bytes(network[1].read_bytes() + bytes(4))
    with pytest.raises(ExportError, match=r"ncnn: a\.bin has 60 bytes, and the layers that parckit knows need 56"):
        read_layers(*network)
