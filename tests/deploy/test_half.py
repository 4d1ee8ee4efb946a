"""ONNX files in half precision."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from backbones import make
from bundles import tiny_spec
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.deploy import ExportError, ExportSettings, OnnxSettings, export_bundle
from parckit.deploy.convert.half import round_to_half
from parckit.networks import build_network
from parckit.runtimes import open_session

SIZE = (32, 48)
SPEC = NetworkSpec(backbone="test_parcnetv2", labels=("a", "b", "c", "d"), preprocessing=Preprocessing(size=SIZE))
BOTH = ExportSettings(precision=("fp32", "fp16"), onnx=OnnxSettings(opset=17))  # the older exporter is quicker


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("half") / "bundle"
    network = make("test_parcnetv2", num_classes=4)
    return export_bundle(network, SPEC, out=out, settings=BOTH), out


def test_one_bundle_has_both_precisions(exported):
    contract, out = exported
    assert [(entry.name, entry.precision) for entry in contract.artefacts] == [
        ("onnx-fp32", "fp32"),
        ("onnx-fp16", "fp16"),
    ]
    single, half = (entry.checks[0] for entry in contract.artefacts)
    assert single.passed
    assert half.passed
    # Rounding to 11 bits instead of 24 shows.
    assert single.figures["relative"] < 1e-5 < half.figures["relative"]
    assert half.figures["tolerance"] > 100 * single.figures["tolerance"]
    assert open_session(out, precision="fp16").artefact == "onnx-fp16"


def test_the_file_is_half_as_large_and_takes_and_gives_float32(exported):
    contract, out = exported
    sizes = [sum((out / file).stat().st_size for file in entry.files) for entry in contract.artefacts]
    # The small network's graph and description are as large as before.
    assert sizes[1] < 0.8 * sizes[0]
    graph = onnx.load(out / contract.artefacts[1].main_file).graph
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    types = {tensor.data_type for tensor in graph.initializer if tensor.name in kernels}
    assert types == {onnx.TensorProto.FLOAT16}


def test_norms_compute_in_float32(exported):
    contract, out = exported
    graph = onnx.shape_inference.infer_shapes(onnx.load(out / contract.artefacts[1].main_file)).graph
    norms = {node.output[0] for node in graph.node if node.op_type == "LayerNormalization"}
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    assert {types[name] for name in norms} == {onnx.TensorProto.FLOAT}


def test_kernels_are_rounded_and_what_is_not_stored_in_half_stays(tmp_path):
    third, tiny = np.full((1, 1, 1, 1), 1 / 3, np.float32), np.full((1,), 1e-24, np.float32)
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["c"]), helper.make_node("Add", ["c", "epsilon"], ["y"])]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 1, 2, 2)) for name in ("x", "y")]
    weights = [numpy_helper.from_array(third, "kernel"), numpy_helper.from_array(tiny, "epsilon")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    round_to_half(tmp_path / "model.onnx")
    tensors = onnx.load(tmp_path / "model.onnx").graph.initializer
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    assert kept["kernel"].dtype == np.float32
    # The nearest number of half precision is below a third; its distance is less than half of the last digit, 2^-12.
    assert kept["kernel"].item() == 0.333251953125
    assert kept["epsilon"].item() == tiny.item()


def test_what_no_engine_runs_is_refused(tmp_path):
    settings = ExportSettings(engines=("opencv",), precision=("fp16",))
    with pytest.raises(InputError, match="engines=opencv, precision=fp16: opencv runs fp32"):
        export_bundle(make("test_parcnetv2", num_classes=4), SPEC, out=tmp_path / "b", settings=settings)


def test_detections_are_not_written_in_half_precision(tmp_path):
    spec = NetworkSpec(
        task="detect",
        backbone="test_resnet",
        head="faster_rcnn",
        labels=("a",),
        preprocessing=Preprocessing(size=(64, 96)),
    )
    with pytest.raises(ExportError, match="half precision is too coarse"):
        export_bundle(build_network(spec), spec, out=tmp_path / "b", settings=BOTH)


def test_an_export_does_not_quantize(tmp_path):
    with pytest.raises(InputError, match="precision=int8: an export does not quantize; `parckit quantize` adds"):
        export_bundle(
            make("test_parcnetv2", num_classes=4),
            tiny_spec(SIZE),
            out=tmp_path / "b",
            settings=ExportSettings(precision=("fp32", "int8")),
        )
