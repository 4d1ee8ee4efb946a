"""What an export may be asked for."""

import pytest
from onnx.helper import find_min_ir_version_for, make_opsetid

from parckit.contract import InputError
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.settings import HIGHEST_OPSET, LOWEST_OPSET


@pytest.mark.parametrize("opset", range(LOWEST_OPSET, HIGHEST_OPSET + 1))
def test_the_lowest_ir_version_is_that_of_onnxs_own_table(opset):
    assert OnnxSettings(opset=opset).ir == find_min_ir_version_for([make_opsetid("", opset)])


def test_opset_18_in_the_lowest_ir_is_the_default():
    settings = ExportSettings()
    assert (settings.onnx.opset, settings.onnx.ir, settings.batch_size, settings.axis_form) == (18, 8, 1, "auto")
    assert (settings.engines, settings.precision) == (("onnxruntime",), ("fp32",))
    # The older exporter writes no matrices.
    assert ExportSettings(onnx=OnnxSettings(opset=17)).axis_form == "conv"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"batch_size": 0}, "batch_size=0: must be from 1 to 65536"),
        ({"form": "fft"}, "form='fft': choose from auto, conv, matmul, timed"),
        ({"longest_kernel": 0}, "longest_kernel=0: must be 1 or more"),
        ({"target": "rdk-x9"}, "target='rdk-x9': choose from rdk-x5, rk3588, generic-npu"),
        (
            {"form": "matmul", "onnx": OnnxSettings(opset=17)},
            "form='matmul': needs opset 18 or above, not 17; choose auto or conv",
        ),
        ({"engines": ()}, "engines=: name one or more, each once"),
        ({"engines": ("onnxruntime", "onnxruntime")}, "engines=onnxruntime,onnxruntime: name one or more, each once"),
        ({"engines": ("torch",)}, "engines=torch: opens checkpoints, and needs no export"),
        ({"precision": ("fp8",)}, "precision='fp8': choose from fp32, fp16, int8"),
        (
            {"argmax": True, "precision": ("fp16",)},
            "argmax=True: needs the engine onnxruntime and the precision fp32 among the others",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(arguments, named):
    with pytest.raises(InputError) as caught:
        ExportSettings(**arguments)
    assert str(caught.value) == named


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"opset": 5}, "opset=5: choose from 11 to 21"),
        ({"opset": 99}, "opset=99: choose from 11 to 21"),
        ({"opset": 17, "ir_version": 7}, "ir_version=7: for opset 17 choose from 8 to 10"),
        ({"ir_version": 11}, "ir_version=11: for opset 18 choose from 8 to 10"),
        ({"ir_version": 0}, "ir_version=0: for opset 18 choose from 8 to 10"),
    ],
    ids=str,
)
def test_versions_that_do_not_exist_are_refused(arguments, named):
    with pytest.raises(InputError) as caught:
        OnnxSettings(**arguments)
    assert str(caught.value) == named
