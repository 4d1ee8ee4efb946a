"""ONNX files that take any number of images at once."""

import numpy as np
import onnx
import pytest

from backbones import images, make
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.deploy import ExportError, ExportSettings, OnnxSettings, export_bundle
from parckit.runtimes import open_session
from parckit.runtimes.torch import TorchSession

SIZE = (32, 48)
KWARGS = {"depths": (1, 1, 1)}
SPEC = NetworkSpec(
    backbone="test_parcnet",
    backbone_kwargs=KWARGS,
    labels=("a", "b", "c", "d"),
    preprocessing=Preprocessing(size=SIZE),
)


@pytest.mark.parametrize("opset", [13, 18])
def test_any_number_of_images_is_one_run(tmp_path, opset):
    network = make("test_parcnet", num_classes=4, **KWARGS)
    settings = ExportSettings(dynamic_batch=True, onnx=OnnxSettings(opset=opset))
    contract = export_bundle(network, SPEC, out=tmp_path / "b", settings=settings)
    (artefact,) = contract.artefacts
    assert (artefact.input.shape, artefact.outputs[0].shape) == ((None, 3, *SIZE), (None, 4))
    graph = onnx.load(tmp_path / "b" / artefact.main_file).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    session = open_session(tmp_path / "b")
    for count in (1, 3):
        x = images(*SIZE, batch=count).numpy()
        (logits,), (expected,) = session(x), TorchSession(network, SPEC)(x)
        # The check's own tolerance, whose reasons parckit.measure.tolerance states.
        assert np.abs(logits - expected).max() <= artefact.checks[0].figures["tolerance"]


def test_engines_that_take_a_fixed_number_refuse(tmp_path):
    settings = ExportSettings(engines=("opencv",), dynamic_batch=True)
    with pytest.raises(ExportError, match=r"opencv cannot run it: .* dynamic_batch is for onnxruntime, openvino"):
        export_bundle(make("test_parcnet", num_classes=4, **KWARGS), SPEC, out=tmp_path / "b", settings=settings)


@pytest.mark.parametrize("others", [{"batch_size": 2}, {"nms": True}, {"argmax": True}])
def test_it_does_not_fit_settings_that_need_a_number(others):
    with pytest.raises(InputError, match="dynamic_batch=True: fits neither"):
        ExportSettings(dynamic_batch=True, **others)
