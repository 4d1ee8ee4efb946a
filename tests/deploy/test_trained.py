"""The ONNX graph of a network with fake quantizers: every number is rounded where it was in training."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from parckit.contract import NetworkSpec, OutputSpec, Preprocessing
from parckit.deploy import ExportSettings
from parckit.deploy.quantize.stripping import strip_pairs
from parckit.deploy.quantize.trained import write_trained_graph
from parckit.layers import CircularConv2d
from parckit.networks import add_quantizers, calibrate, find_quantizers, place_quantizers, prepare_quantization

SIZE = (12, 10)


class Mixed(nn.Module):
    """Convolutions along both axes, a ReLU, a sum, and a linear layer on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.height = CircularConv2d(6, 7, axis="height")
        self.width = CircularConv2d(6, 7, axis="width")
        self.act = nn.SiLU()
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        x = self.act(x + self.width(self.height(x)))
        return self.fc(x.flatten(2).transpose(1, 2)).mean(1)


def run(path: Path, images: Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None].numpy()})[0] for image in images])


def test_the_graph_rounds_where_the_network_does(tmp_path):
    torch.manual_seed(0)
    spec = NetworkSpec(backbone="mixed", labels=tuple("abcde"), preprocessing=Preprocessing(size=SIZE))
    images = torch.randn(64, 3, *SIZE)
    plain = prepare_quantization(Mixed().eval(), spec)
    trained = add_quantizers(plain, place_quantizers(plain, spec, weight_bits=4))
    calibrate(trained, [images])
    quantizers = find_quantizers(trained)
    assert (len(quantizers.weights), len(quantizers.inputs), len(quantizers.outputs)) == (4, 2, 4)
    rounded = prepare_quantization(Mixed().eval(), spec)
    state = {name: value for name, value in trained.state_dict().items() if name in rounded.state_dict()}
    weights = {f"{name}.weight": trained.get_submodule(name).weight for name in quantizers.weights}
    rounded.load_state_dict(state | weights)
    with torch.no_grad():
        of_float, expected = rounded.eval()(images).numpy(), trained.eval()(images).numpy()
    path = tmp_path / "model.onnx"
    logits = (OutputSpec(name="logits", dtype="float32", layout="NC", shape=(None, None)),)
    settings = ExportSettings(form="conv")
    write_trained_graph(rounded, quantizers, path, image_shape=(3, *SIZE), outputs=logits, settings=settings)
    # All weights are whole numbers directly before the operator that reads them.
    graph = onnx.load(path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert len(readers) == 4
    for node in readers:
        levels = stored[made_by[node.input[1]].input[0]]
        assert levels.dtype == np.int8
        assert np.abs(levels).max() == 7, "4 bits"
        assert made_by[node.input[0]].op_type in ("DequantizeLinear", "Reshape", "Transpose")
    # Both round the same numbers. A sum in another order may decide a tie; 1e-4 is far below a level.
    actual = run(path, images)
    assert (np.abs(actual - expected) < 1e-4).mean() > 0.95
    assert np.abs(actual - expected).max() < 0.01 * np.abs(expected).max()
    # Without the pairs, the graph is the float network with rounded weights, and the numbers of the pairs are known.
    stripped = strip_pairs(ir.load(path))
    ir.save(stripped.model, tmp_path / "float.onnx")
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in stripped.model.graph}
    np.testing.assert_allclose(run(tmp_path / "float.onnx", images), of_float, rtol=1e-4, atol=1e-6)
    assert (len(stripped.ranges), len(stripped.weight_scales), len(stripped.quantized)) == (6, 4, 4)
    activations = [*quantizers.inputs.values(), *quantizers.outputs.values()]
    spans = sorted(255 * float(quantizer.scale.detach()) for quantizer in activations)
    assert sorted(highest - lowest for lowest, highest in stripped.ranges.values()) == pytest.approx(spans)
    assert all(lowest <= 0 <= highest for lowest, highest in stripped.ranges.values())
