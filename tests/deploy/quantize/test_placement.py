"""Which operators between convolutions are quantized."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from parckit.deploy.quantize.passes import prepare_for_int8
from parckit.deploy.quantize.placement import nodes_behind_quantized
from parckit.deploy.quantize.qdq import write_qdq
from parckit.deploy.quantize.qdq_passes import FOR_ONNXRUNTIME
from parckit.deploy.quantize.scheme import Scheme

SILU = "s = Sigmoid(c) m = Mul(c, s)"
GELU = "d = Div(c, root) e = Erf(d) p = Add(e, one) h = Mul(c, half) m = Mul(h, p)"


def graph(middle: str, *, opset: int = 20) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["": {opset}]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[2, 2, 1, 1] w = {{1.0, -2.0, 0.5, 3.0}}, float root = {{1.4142135}}, float one = {{1.0}},
     float half = {{0.5}}>
    {{ c = Conv(x, w) {middle} t = Add(m, x) y = Softmax(t) }}"""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


@pytest.mark.parametrize(
    ("middle", "expected"),
    [(SILU, ("s", "m", "t")), ("m = Gelu(c)", ()), ("m = Relu(c)", ("m", "t"))],
    ids=["SiLU", "GELU stays", "ReLU"],
)
def test_what_stands_behind_a_quantized_convolution_is_quantized(middle, expected):
    assert nodes_behind_quantized(graph(middle), {"c": 8}) == expected


def test_nothing_is_quantized_behind_a_float_convolution():
    assert nodes_behind_quantized(graph(SILU), {"c": None}) == ()


def test_a_prepared_graph_has_names_and_shapes_and_its_embeddings_are_one_constant():
    text = """<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[1, 2, 3, 1] high = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[1, 2, 1, 4] wide = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0,
     7.0, 8.0}, int64[4] sizes = {1, 2, 3, 4}>
    { a = Expand(high, sizes) b = Expand(wide, sizes) pe = Add(a, b) s = Add(x, pe) y = HardSigmoid(s) }"""
    model = prepare_for_int8(ir.from_proto(onnx.parser.parse_model(text)))
    assert [node.op_type for node in model.graph] == ["Add", "HardSigmoid"]
    assert all(node.name and node.outputs[0].shape == ir.Shape([1, 2, 3, 4]) for node in model.graph)


def test_engines_with_files_of_their_own_get_the_operators_that_they_know():
    model = prepare_for_int8(graph("h = HardSwish(c) m = Conv(h, w)", opset=18), is_for_onnx=False)
    assert [node.op_type for node in model.graph] == ["Conv", "HardSwish", "Conv", "Add", "Softmax"]


def test_onnx_runtime_computes_gelu_between_quantized_convolutions_as_one_operator(tmp_path):
    model = prepare_for_int8(graph(f"{GELU.replace('m =', 'g =')} m = Conv(g, w)", opset=18))
    bits = {node.name or "": 8 for node in model.graph if node.op_type == "Conv"}
    ranges = {value.name or "": (-8.0, 8.0) for node in model.graph for value in node.outputs}
    scheme = Scheme(calibrator="minmax", ranges={"x": (-4.0, 4.0), **ranges}, bits=bits)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimized file fits this processor only
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    int8 = ir.to_proto(FOR_ONNXRUNTIME(write_qdq(model, scheme)).model)
    session = onnxruntime.InferenceSession(int8.SerializeToString(), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    assert "Gelu" in kinds
    assert "Erf" not in kinds
    assert kinds.count("DequantizeLinear") == 2, "one before GELU, one before the sum"
    assert np.isfinite(session.run(None, {"x": np.ones((1, 2, 3, 4), np.float32)})[0]).all()
