from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from parckit.deploy import ExportError
from parckit.deploy.convert.onnx_check import check_file

KERNEL = np.ones((4, 3, 1, 1), np.float32)
CONV = helper.make_node("Conv", ["image", "kernel"], ["logits"])


def model_of(
    nodes: list[NodeProto], *, height: int | str = 2, weights: dict[str, np.ndarray] | None = None
) -> ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, height, 2])
    weights = {"kernel": KERNEL} if weights is None else weights
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [logits], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def check(model: ModelProto, folder: Path, *, opset: int = 13, ir_version: int = 7) -> ModelProto:
    onnx.save(model, folder / "m.onnx")
    return check_file(folder / "m.onnx", opset=opset, ir_version=ir_version)


def test_a_plain_convolution_passes(tmp_path):
    assert check(model_of([CONV]), tmp_path).graph.input[0].name == "image"


@pytest.mark.parametrize("kind", ["Constant", "Identity", "Concat"])
def test_kernels_computed_from_constants_pass(tmp_path, kind):
    nodes = {
        "Constant": helper.make_node("Constant", [], ["kernel"], value=numpy_helper.from_array(KERNEL)),
        "Identity": helper.make_node("Identity", ["stored"], ["kernel"]),
        "Concat": helper.make_node("Concat", ["half", "half"], ["kernel"], axis=0),
    }
    passed = check(model_of([nodes[kind], CONV], weights={"stored": KERNEL, "half": KERNEL[:2]}), tmp_path)
    assert [node.op_type for node in passed.graph.node] == [kind, "Conv"]


@pytest.mark.parametrize("kind", ["image", "random"])
def test_kernels_that_change_are_refused(tmp_path, kind):
    nodes = {
        "image": [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Mul", ["pooled", "stored"], ["kernel"]),
        ],
        "random": [helper.make_node("RandomNormal", [], ["kernel"], shape=KERNEL.shape)],
    }
    with pytest.raises(ExportError, match="Conv '' has a dynamic kernel, 'kernel'"):
        check(model_of([*nodes[kind], CONV], weights={"stored": KERNEL}), tmp_path)


@pytest.mark.parametrize("height", ["rows", 0])
def test_dynamic_shapes_are_refused(tmp_path, height):
    with pytest.raises(ExportError, match="'image' has a dynamic shape"):
        check(model_of([CONV], height=height), tmp_path)


def test_an_output_may_have_a_free_first_dimension(tmp_path):
    model = model_of([CONV])
    dims = model.graph.output[0].type.tensor_type.shape.dim
    dims[0].dim_param = "detections"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="'logits' has a dynamic shape"):
        check_file(tmp_path / "m.onnx", opset=13, ir_version=7)
    check_file(tmp_path / "m.onnx", opset=13, ir_version=7, free=["logits"])
    dims[1].dim_param = "classes"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="'logits' has a dynamic shape"):
        check_file(tmp_path / "m.onnx", opset=13, ir_version=7, free=["logits"])


def test_another_opset_or_ir_than_asked_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"opsets \{'': 13\}, requested was only opset 12"):
        check(model_of([CONV]), tmp_path, opset=12)
    with pytest.raises(ExportError, match="IR version 7, requested was 8"):
        check(model_of([CONV]), tmp_path, ir_version=8)


def test_operators_beyond_the_standard_are_refused(tmp_path):
    model = model_of([CONV])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ExportError, match=r"com\.microsoft"):
        check(model, tmp_path)


def test_weights_outside_the_file_are_refused(tmp_path):
    model = model_of([CONV])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(ExportError, match="'kernel' is stored outside"):
        check_file(tmp_path / "m.onnx", opset=13, ir_version=7)


@pytest.mark.parametrize("fault", ["unknown operator", "wrong shape", "undefined input"])
def test_invalid_graphs_are_refused_in_one_line(tmp_path, fault):
    nodes = {
        "unknown operator": helper.make_node("Convolve", ["image", "kernel"], ["logits"]),
        "wrong shape": helper.make_node("Identity", ["image"], ["logits"]),
        "undefined input": helper.make_node("Conv", ["image", "nowhere"], ["logits"]),
    }
    with pytest.raises(ExportError) as caught:
        check(model_of([nodes[fault]]), tmp_path)
    assert str(caught.value).startswith("m.onnx: not valid ONNX")
    assert "\n" not in str(caught.value)
