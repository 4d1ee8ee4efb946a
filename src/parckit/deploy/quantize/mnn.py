"""The writer of MNN's files in int8: MNN's converter takes the scheme's ranges from a file of its own format.

A convolution is found by the name of its output. MNN computes all others, and matrix products, in float32.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from parckit.contract import Artefact, sha256_of
from parckit.deploy.convert.mnn import FILE, convert_file
from parckit.deploy.convert.onnx import describe_file
from parckit.deploy.quantize.grids import activation_grid, weight_grid
from parckit.deploy.quantize.scheme import SCHEME_FILE, Scheme, write_scheme
from parckit.deploy.quantize.source import QuantizationSource

_LOWEST, _HIGHEST = -128, 127
"""Steps of int8. A zero point of uint8 moves down by 128."""
_FUSED = ("Relu", "Clip")
"""Activations that MNN computes in the convolution before them."""
_FIELD = descriptor_pb2.FieldDescriptorProto
_WHOLE, _NUMBER, _TEXT = _FIELD.TYPE_INT32, _FIELD.TYPE_FLOAT, _FIELD.TYPE_STRING
_TENSOR = {
    "name": (1, _TEXT),
    "bits": (2, _WHOLE),
    "scales": (3, _NUMBER),
    "zero_point": (4, _WHOLE),
    "clamp_min": (5, _WHOLE),
    "clamp_max": (6, _WHOLE),
}
_WEIGHTS = {
    "name": (1, _TEXT),
    "bits": (2, _WHOLE),
    "scales": (3, _NUMBER),
    "clamp_min": (4, _WHOLE),
    "clamp_max": (5, _WHOLE),
}
_MESSAGES: "dict[str, dict[str, tuple[int, descriptor_pb2.FieldDescriptorProto.Type.ValueType | str]]]" = {
    "Tensor": {**_TENSOR},
    "Weights": {**_WEIGHTS},
    "Layer": {"input": (1, "Tensor"), "weight": (2, "Weights"), "output": (3, "Tensor")},
    "Quantization": {"layer": (4, "Layer")},
    "Algorithm": {"type": (1, _WHOLE), "quant_params": (2, "Quantization")},
    "Pipeline": {"version": (1, _TEXT), "algo": (2, "Algorithm")},
}
"""Message -> its fields: number, and type or message. It is the part that we need of MNN's `MNN_compression.proto`;
the names of messages are not stored."""
_REPEATED = ("scales", "input", "weight", "output", "layer", "algo")


def write(source: QuantizationSource, *, folder: Path) -> Artefact:
    """Write a network in int8, and the scheme beside it.

    Returns:
        The artefact, not yet checked. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if MNN's converter cannot convert the graph.
    """
    artefact = replace(source.describe("mnn"), files={FILE: "", SCHEME_FILE: ""})
    with TemporaryDirectory() as work:
        graph, numbers = Path(work) / "model.onnx", Path(work) / "numbers.bin"
        model = source.rounded_model()
        ir.save(model, graph)
        # The digests of the pictures stand in the contract; in the file they would be as large as a layer.
        describe_file(graph, source.spec, replace(artefact, calibration=replace(source.calibration, sha256=())))
        numbers.write_bytes(compression_of(model, source.scheme))
        made = Path(work) / FILE
        convert_file(graph, made, folder=Path(work), options=("--compressionParamsFile", str(numbers)))
        shutil.copyfile(made, folder / FILE)
    write_scheme(source.scheme, folder / SCHEME_FILE)
    return replace(artefact, files={name: sha256_of(folder / name) for name in artefact.files})


def compression_of(model: ir.Model, scheme: Scheme) -> bytes:
    """Return what MNN's converter reads as a file of compression parameters."""
    pipeline = _message_class()(version="0.0.0")
    algorithm = pipeline.algo.add(type=0)  # pyright: ignore[reportAttributeAccessIssue]
    for one in _convolutions(model, scheme):
        layer = algorithm.quant_params.layer.add()
        for box, name in ((layer.input, one.input), (layer.output, one.output)):
            grid = activation_grid(scheme.ranges[name], bits=8)
            zero = int(grid.zero_point) + _LOWEST
            # MNN has a faster arithmetic for 7 bits on x86, whose sums overflow.
            box.add(
                name=name, bits=8, scales=[float(grid.scale)], zero_point=zero, clamp_min=_LOWEST, clamp_max=_HIGHEST
            )
        scales = weight_grid(one.weights, axis=0, scales=scheme.weight_scales.get(one.name)).scale
        layer.weight.add(name=one.name, bits=8, scales=scales.tolist(), clamp_min=-_HIGHEST, clamp_max=_HIGHEST)
    return pipeline.SerializeToString()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Convolution:
    """A convolution that computes in int8.

    Attributes:
        name: name of its weights.
        weights: the weights.
        input: name of what it reads.
        output: name of what it returns, after its activation.
    """

    name: str
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    input: str
    output: str


def _convolutions(model: ir.Model, scheme: Scheme) -> Iterator[_Convolution]:
    for node in model.graph:
        if node.op_type != "Conv" or scheme.bits.get(node.name or "") != 8:
            continue
        image, weights = node.inputs[:2]
        if image is None or weights is None or weights.const_value is None:
            continue
        output = node.outputs[0]
        readers = [reader for reader, _ in output.uses()]
        if len(readers) == 1 and readers[0].op_type in _FUSED:
            output = readers[0].outputs[0]
        names = (image.name or "", output.name or "")
        if all(name in scheme.ranges for name in names):
            numbers = weights.const_value.numpy().astype(np.float32)
            yield _Convolution(name=weights.name or "", weights=numbers, input=names[0], output=names[1])


@cache
def _message_class() -> type[Message]:
    """Return the class of the whole file's message."""
    file = descriptor_pb2.FileDescriptorProto(name="compression.proto", package="numbers", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            label = _FIELD.LABEL_REPEATED if name in _REPEATED else _FIELD.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".numbers.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("numbers.Pipeline"))
