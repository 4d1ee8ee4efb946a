"""Nodes are called after the modules that they come from."""

from pathlib import Path

import onnx
import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from parckit.contract import OutputSpec
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert.onnx import write_graph
from parckit.models import fuse


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.conv = nn.ReLU(), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.act(self.conv(x)) * x * x) + x


class Network(nn.Module):
    """Two of its modules are called `act`; its lists are not called themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.stages = nn.ModuleList([nn.Sequential(Block(), Block()), Block()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        for stage in self.stages:
            x = stage(x)
        return F.gelu(x * x * x) + x


@pytest.mark.parametrize("opset", [13, 18])
def test_names_are_unique_and_begin_with_the_module(opset: int, tmp_path: Path):
    path = tmp_path / "model.onnx"
    output = OutputSpec(name="maps", dtype="float32", layout="NCHW", shape=(None, 3, 4, 4))
    settings = ExportSettings(onnx=OnnxSettings(opset=opset))
    write_graph(fuse(Network(), size=(4, 4)), path, image_shape=(3, 4, 4), outputs=(output,), settings=settings)
    nodes = onnx.load(path).graph.node
    assert len({node.name for node in nodes}) == len(nodes)
    assert len({name for node in nodes for name in node.output}) == len(nodes)
    blocks = ("stages.0.0", "stages.0.1", "stages.1")
    convs = [f"{block}.conv/Conv" for block in blocks]
    assert [node.name for node in nodes if node.op_type == "Conv"] == convs
    assert [node.name for node in nodes if node.op_type == "Relu"] == [
        "act/Relu",
        *(f"{block}.act/Relu" for block in blocks),
    ]
    others = {node.name.rpartition("/")[0] for node in nodes if node.op_type not in {"Conv", "Relu"}}
    assert others == {"", *blocks}
