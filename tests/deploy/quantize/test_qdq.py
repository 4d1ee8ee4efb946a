"""The writer's graphs, run without fusions, against numbers that numpy rounds."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from conv_bundle import conv_graph
from parckit.deploy.quantize.graph import with_opset
from parckit.deploy.quantize.grids import activation_grid, weight_grid
from parckit.deploy.quantize.histograms import float_tensors
from parckit.deploy.quantize.qdq import LEAST_OPSET_16, write_qdq
from parckit.deploy.quantize.rules import stored_constants, usual_bits
from parckit.deploy.quantize.scheme import Bits, Scheme

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(conv_graph()))


def run(model: ir.Model, *watched: str) -> dict[str, np.ndarray]:
    proto = ir.to_proto(model)
    present = [value.name for value in proto.graph.output]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": IMAGE}), strict=True))


@pytest.fixture(scope="module")
def tensors(model) -> dict[str, np.ndarray]:
    return {"image": IMAGE, **run(model, *float_tensors(ir.to_proto(model)))}


def scheme_of(tensors: Mapping[str, np.ndarray], bits: Mapping[str, Bits], **more: object) -> Scheme:
    ranges = {name: (min(0.0, float(array.min())), max(0.0, float(array.max()))) for name, array in tensors.items()}
    return Scheme(calibrator="minmax", ranges=ranges, bits=bits, **more)


def rounded(scheme: Scheme, name: str, numbers: np.ndarray, bits: int = 8) -> np.ndarray:
    return activation_grid(scheme.ranges[name], bits=bits).round(numbers)


def test_a_tensor_that_is_called_as_another_one_in_8_bits_is_no_trouble(model, tensors):
    proto = ir.to_proto(model)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["relu_8" if name == "conv3" else name for name in names]
    renamed = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    scheme = scheme_of({**tensors, "relu_8": tensors["conv3"]}, {"pointwise": 8})
    expected = run(write_qdq(model, scheme), "conv3")["conv3"]
    assert run(write_qdq(renamed, scheme), "relu_8")["relu_8"] == pytest.approx(expected)


def test_a_node_computes_with_rounded_activations_and_weights(model, tensors):
    scheme = scheme_of(tensors, {"pointwise": 8})
    result = run(write_qdq(model, scheme), "conv3")["conv3"]
    weights = model.graph.initializers["w3"].const_value.numpy()
    inside = weight_grid(weights, axis=0).round(weights, axis=0)
    expected = np.einsum("oi,bihw->bohw", inside[..., 0, 0], rounded(scheme, "relu", tensors["relu"]))
    # A sum that lies between two steps may go to either.
    step = float(activation_grid(scheme.ranges["conv3"], bits=8).scale)
    difference = np.abs(result - rounded(scheme, "conv3", expected.astype(np.float32)))
    assert difference.max() <= step * 1.001
    assert (difference > step / 2).mean() < 0.01


def test_a_float_node_reads_the_float_tensor_that_another_float_node_made(model, tensors):
    copy = write_qdq(model, scheme_of(tensors, {"depthwise": 8}))
    # `silu` is read by the quantized convolution and by the sum along the residual path.
    reading = {node.name: [value.name for value in node.inputs] for node in copy.graph}
    assert "silu" in reading["sum"]
    assert reading["depthwise"][0] == "silu_in_8_bits_dq"


def test_a_relu_stays_fused_with_its_convolution(model, tensors):
    copy = write_qdq(model, scheme_of(tensors, {"depthwise": 8, "pointwise": 8}))
    (relu,) = [node for node in copy.graph if node.op_type == "Relu"]
    assert relu.inputs[0].producer().op_type == "Conv"
    assert [node.op_type for node, _ in relu.outputs[0].uses()] == ["QuantizeLinear"]


def test_sixteen_bits_are_nearly_float(model, tensors):
    bits, _ = usual_bits(model)
    errors = [
        np.abs(
            run(write_qdq(with_opset(model, LEAST_OPSET_16), scheme_of(tensors, dict.fromkeys(bits, width))))["logits"]
            - tensors["logits"]
        ).max()
        for width in (8, 16)
    ]
    assert errors[1] < errors[0]


def test_between_nodes_of_8_and_16_bits_a_tensor_is_rounded_to_what_each_reads(model, tensors):
    scheme = scheme_of(tensors, {"first": 8, "depthwise": 16, "pointwise": 8})
    copy = write_qdq(with_opset(model, LEAST_OPSET_16), scheme)
    kinds = {
        node.name: value.producer().inputs[2].dtype
        for node in copy.graph
        if node.op_type == "Conv"
        for value in node.inputs[:1]
        if value.producer() is not None and value.producer().op_type == "DequantizeLinear"
    }
    assert kinds == {
        "first": ir.DataType.UINT8,
        "depthwise": ir.DataType.UINT16,
        "pointwise": ir.DataType.UINT8,
    }
    onnx.checker.check_model(ir.to_proto(copy), full_check=True)
    assert np.abs(run(copy)["logits"] - tensors["logits"]).max() < 0.2 * np.abs(tensors["logits"]).max()


def test_gates_and_sums_stay_in_float_by_rule(model):
    bits, reasons = usual_bits(model)
    assert bits == {"first": 8, "depthwise": 8, "pointwise": 8, "head": 8}
    assert list(reasons) == ["gate"]
    assert "squeeze-excite" in reasons["gate"]


def test_large_constants_of_float_nodes_are_stored_as_int8():
    model = ir.from_proto(onnx.shape_inference.infer_shapes(conv_graph(width=64)))
    bits, _ = usual_bits(model)
    stored = stored_constants(model, bits)
    assert stored == ("wg",)
    tensors = {"image": IMAGE, **run(model, *float_tensors(ir.to_proto(model)))}
    copy = write_qdq(model, scheme_of(tensors, {}, stored=stored))
    assert "wg" not in copy.graph.initializers
    before, after = tensors["logits"], run(copy)["logits"]
    assert 0 < np.abs(before - after).max() < 0.02 * np.abs(before).max()


def test_a_graph_of_no_bits_computes_what_it_did(model, tensors):
    assert (run(write_qdq(model, scheme_of(tensors, {})))["logits"] == tensors["logits"]).all()
