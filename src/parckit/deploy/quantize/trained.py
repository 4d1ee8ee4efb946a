"""The ONNX graph of a network that was trained with fake quantizers.

Every fake quantizer becomes a pair of QuantizeLinear and DequantizeLinear with the trained scale and zero point.
Weights are stored as whole numbers, behind a DequantizeLinear. So nothing is computed again, and no tensor has to be
found by its name: what the network rounds in training, the graph rounds at the same place.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from parckit.contract import INT8_ONNX, TRAINED, Artefact, Check, NetworkSpec, OutputSpec, sha256_of
from parckit.deploy.convert import Source
from parckit.deploy.convert.axis_forms import set_axis_forms
from parckit.deploy.convert.onnx import FILE, describe_file, describe_graph, write_graph
from parckit.deploy.settings import DYNAMO_OPSET, ExportSettings, OnnxSettings
from parckit.deploy.verify import Reference, check_artefact
from parckit.measure.tolerance import Tolerance
from parckit.networks import FakeQuantizer, FakeQuantizers, find_quantizers

_log = logging.getLogger(__name__)

TOLERANCE = Tolerance(numbers=0.1, cosine=0.98, agreement=0.9, score=0.1, overlap=0.7)
"""How far an engine may differ from torch with fake quantizers.

Both round at the same places. But sums differ in their last bits, so some numbers are rounded to the level beside, and
engines round biases, too.
"""


def convert_trained(trained: nn.Module, source: Source, *, folder: Path, settings: ExportSettings) -> Artefact:
    """Write the INT8 artefact of a network with fake quantizers.

    Args:
        trained: the network with its fake quantizers; it is not changed.
        source: the folded network with rounded weights; it is not changed.
        folder: folder of the file.
        settings: how the float file is written.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if the network cannot be written.
    """
    settings = _settings_for_int8(settings)
    quantizers, path = find_quantizers(trained), folder / FILE
    write_trained_graph(
        deepcopy(cast("nn.Module", source.network.model)),
        quantizers,
        path,
        image_shape=source.image_shape,
        outputs=source.outputs,
        settings=settings,
    )
    bits = sorted({quantizer.bits for quantizer in quantizers.weights.values()})
    artefact = describe_graph(path, source, settings=settings, precision="int8")
    options = {**artefact.options, "quantization": TRAINED, "weight_bits": bits}
    artefact = replace(artefact, options=options)
    describe_file(path, source.spec, artefact)
    return replace(artefact, files={FILE: sha256_of(path)})


def _settings_for_int8(settings: ExportSettings) -> ExportSettings:
    """Return how the INT8 file is written if a float file is written with these settings."""
    onnx = settings.onnx
    if not onnx.uses_dynamo:
        onnx = OnnxSettings(opset=DYNAMO_OPSET)
        _log.warning(
            "opset=%d: %s has opset %d, because torch writes trained scales only there; give onnx-fp32, which has the "
            "trained weights, to a compiler that takes opset %d and chooses the ranges of activations itself",
            settings.onnx.opset,
            INT8_ONNX,
            onnx.opset,
            settings.onnx.opset,
        )
    # A matrix that the graph builds from a kernel, and the parts of a split kernel, would be float ones. No compiler of
    # a board takes this file, so that a board's limits do not count.
    return replace(settings, form="conv", longest_kernel=None, target=None, onnx=onnx)


def check_trained(trained: nn.Module, artefact: Artefact, spec: NetworkSpec, *, folder: Path, engine: str) -> Check:
    """Compare an INT8 artefact, run by an engine, with the network with fake quantizers; see `check_artefact`."""
    return check_artefact(Reference(trained, spec), artefact, folder=folder, engine=engine, tolerance=TOLERANCE)


def write_trained_graph(
    network: nn.Module,
    quantizers: FakeQuantizers,
    path: Path,
    *,
    image_shape: tuple[int, int, int],
    outputs: Sequence[OutputSpec],
    settings: ExportSettings,
) -> None:
    """Write the ONNX file of a network with its trained fake quantizers, without a description.

    Args:
        network: the folded network with rounded weights, without fake quantizers; it is changed.
        quantizers: those that it was trained with.
        path: the file.
        image_shape: (channels, height, width) of an image, pixels.
        outputs: what the network returns, in order.
        settings: how to write the file; its form is conv.

    Raises:
        ExportError: as `write_graph`.
    """
    set_axis_forms(network, "conv")
    for name, scale in quantizers.weight_scales.items():
        module = network.get_submodule(name)
        stored = _StoredWeight(cast("Tensor", module.weight), scale)
        parametrize.register_parametrization(module, "weight", stored, unsafe=True)
    for name, quantizer in quantizers.inputs.items():
        network.get_submodule(name).register_forward_pre_hook(_RoundedInput(quantizer))
    for name, quantizer in quantizers.outputs.items():
        network.get_submodule(name).register_forward_hook(_RoundedOutput(quantizer))
    write_graph(network, path, image_shape=image_shape, outputs=outputs, settings=settings)
    graph = ir.load(path)
    _transpose_stored_weights(graph.graph)
    ir.save(graph, path)


class _StoredWeight(nn.Module):
    """A parametrization that gives the weight as DequantizeLinear of whole numbers."""

    levels: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        levels = (weight.detach() / scale.view(-1, *[1] * (weight.ndim - 1))).round()
        self.register_buffer("levels", levels.to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int8))

    def forward(self, weight: Tensor) -> Tensor:
        inputs = (self.levels, self.scale, self.zero)
        return _operator("DequantizeLinear", inputs, dtype=torch.float32, shape=weight.shape, axis=0)


class _Rounded:
    """Writes QuantizeLinear and DequantizeLinear."""

    def __init__(self, quantizer: FakeQuantizer) -> None:
        self._scale = quantizer.scale.detach()
        self._zero = quantizer.zero_point.to(torch.uint8)

    def round(self, x: Tensor) -> Tensor:
        levels = _operator("QuantizeLinear", (x, self._scale, self._zero), dtype=torch.uint8, shape=x.shape)
        return _operator("DequantizeLinear", (levels, self._scale, self._zero), dtype=torch.float32, shape=x.shape)


class _RoundedInput(_Rounded):
    """A hook that rounds the first input of a module."""

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return (self.round(args[0]), *args[1:])


class _RoundedOutput(_Rounded):
    """A hook that rounds the output of a module."""

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, args
        return self.round(output)


def _operator(
    name: str, inputs: tuple[Tensor, ...], *, dtype: torch.dtype, shape: Sequence[int], **attributes: int
) -> Tensor:
    """Return the output of an ONNX operator in a graph that is being written."""
    return torch.onnx.ops.symbolic(name, inputs, {**attributes}, dtype=dtype, shape=shape)


def _transpose_stored_weights(graph: ir.Graph) -> None:
    """Store transposed weights: quantizers of engines look for a DequantizeLinear directly before a product.

    The exporter writes a linear layer as a product with Transpose(weight).
    """
    for node in [*graph]:
        source = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] is not None else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        levels = source.inputs[0]
        if levels is None or levels.const_value is None or len(source.outputs[0].uses()) != 1:
            continue
        permutation = node.attributes["perm"].as_ints()
        stored = levels.const_value.numpy().transpose(permutation)
        value = ir.Value(
            name=f"{levels.name}_transposed", shape=ir.Shape(stored.shape), type=ir.TensorType(ir.DataType.INT8)
        )
        value.const_value = ir.tensor(stored.copy(), name=value.name)
        graph.register_initializer(value)
        source.replace_input_with(0, value)
        axis = source.attributes["axis"].as_int() if "axis" in source.attributes else 1
        source.attributes["axis"] = ir.AttrInt64("axis", permutation.index(axis))
        source.outputs[0].shape = ir.Shape(stored.shape)
        ir.convenience.replace_all_uses_with(node.outputs[0], source.outputs[0])
        graph.remove(node, safe=True)
        if not levels.uses():
            graph.initializers.pop(cast("str", levels.name))
