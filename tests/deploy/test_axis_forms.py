"""Convolutions along an axis leave torch as plain convolutions or as products, with the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from backbones import as_if_trained
from bundles import tiny_spec
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert import source_of
from parckit.deploy.convert.onnx import convert
from parckit.layers import CircularConv2d, OversizedConv2d, ParCBlock, ParCConv2d
from parckit.models import fuse

_LAYING_OUT = ("Expand", "Slice", "Reshape", "Transpose", "Concat", "Flatten")
SIZE = (25, 10)  # one axis above and one below the length from which products are faster


def network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return as_if_trained(nn.Sequential(nn.Conv2d(3, 8, 1), *layers, nn.Flatten())).eval()


def every_kind() -> nn.Module:
    return network(
        CircularConv2d(8, 25, axis="height", bias=True),
        CircularConv2d(8, 7, axis="width"),
        OversizedConv2d(8, 49, axis="height"),
        OversizedConv2d(8, 5, axis="width"),
        CircularConv2d(8, 7, axis="width", groups=1),
    )


def write(model: nn.Module, folder: Path, *, opset: int = 18, **options: object) -> Path:
    settings = ExportSettings(onnx=OnnxSettings(opset=opset), **options)
    artefact = convert(
        source_of(fuse(model, size=SIZE), tiny_spec(SIZE), work=folder), folder=folder, settings=settings
    )
    return folder / artefact.main_file


def operators(file: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in file.graph.node if node.op_type in ("Conv", "MatMul", "Concat")]


@pytest.mark.parametrize(
    ("form", "opset", "kinds"),
    [
        ("conv", 18, ["Conv"] * 6),
        ("matmul", 18, ["Conv", "MatMul", "MatMul", "MatMul", "MatMul", "Conv"]),
        ("auto", 18, ["Conv", "MatMul", "Conv", "MatMul", "Conv", "Conv"]),
        ("auto", 13, ["Conv"] * 6),
    ],
)
def test_every_form_keeps_the_numbers_and_appends_nothing_to_maps(tmp_path, form, opset, kinds):
    model, batch_size = every_kind(), 2
    path = write(model, tmp_path, form=form, opset=opset, batch_size=batch_size)
    file = onnx.load(path)
    assert [kind for kind in operators(file) if kind != "Concat"] == kinds
    maps = {"image"} | {name for node in file.graph.node if node.op_type == "Conv" for name in node.output}
    assert not any(maps & {*node.input} for node in file.graph.node if node.op_type == "Concat")
    x = torch.randn(batch_size, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    (actual,) = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})
    with torch.no_grad():
        expected = model(x).numpy()
    # float32 sums of up to 80 terms in five layers, in another order.
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("opset", [11, 18])
def test_long_kernels_are_split_and_keep_the_numbers(tmp_path, opset):
    dense = CircularConv2d(8, 7, axis="width", groups=1)
    model = network(OversizedConv2d(8, 49, axis="height"), ParCConv2d(8, SIZE), dense)
    path = write(model, tmp_path, form="conv", opset=opset, longest_kernel=7)
    file = onnx.load(path)
    # 49 taps along the height become 7 parts, 19 taps along the width 3.
    assert [kind for kind in operators(file) if kind == "Conv"] == ["Conv"] * (1 + 7 + (7 + 3) + 3)
    assert {"Pad", "Slice", "Add"} <= {node.op_type for node in file.graph.node}
    kernels = [attribute.ints for node in file.graph.node for attribute in node.attribute if "kernel" in attribute.name]
    assert max(map(max, kernels)) == 7
    x = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    (actual,) = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})
    with torch.no_grad():
        expected = model(x).numpy()
    # As above: float32 sums in another order.
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_file_holds_kernels_and_the_engine_lays_out_the_matrices_when_it_loads_it(tmp_path):
    model = network(ParCBlock(8, 25, hidden_dim=12, with_pe=True))
    path = write(model, tmp_path, form="matmul")
    stored = sum(
        np.prod(tensor.dims, dtype=int) for tensor in onnx.load(path).graph.initializer if tensor.data_type == 1
    )
    assert stored <= sum(parameter.numel() for parameter in model.parameters())
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(path, options)
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    laying_out = [node.op_type for node in loaded.node if node.op_type in _LAYING_OUT]
    assert laying_out == ["Reshape"]  # the network's own, at its end
    sizes = {tuple(tensor.dims) for tensor in loaded.initializer}
    # Both matrices, and one map of position constants.
    assert {(8, 25, 25), (8, 10, 10), (1, 8, 25, 10)} <= sizes
