"""The float graph that a quantization starts from."""

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx import version_converter

from parckit.deploy.quantize.qdq import LEAST_OPSET
from parckit.deploy.settings import OnnxSettings


def read_float_graph(path: Path) -> ir.Model:
    """Return the graph of an ONNX file. Its opset is 13 or above, and each of its nodes has a name of its own."""
    proto = onnx.load(path)
    raised = _raise_opset(proto, LEAST_OPSET)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(raised, data_prop=True))
    counts = Counter(node.name for node in model.graph)
    taken = {name for name in counts if name}
    for place, node in enumerate(model.graph):
        if not node.name or counts[node.name] > 1:
            node.name = f"{node.op_type}_{place}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
    return model


def opset_of(model: ir.Model) -> int:
    """Return the opset of a graph."""
    return model.opset_imports[""]


def with_opset(model: ir.Model, opset: int) -> ir.Model:
    """Return a graph with at least this opset, and an IR version that allows it."""
    if opset_of(model) >= opset:
        return model
    raised = ir.from_proto(_raise_opset(ir.to_proto(model), opset))
    raised.ir_version = max(OnnxSettings(opset=opset).lowest_ir, raised.ir_version)
    return raised


def _raise_opset(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    present = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    return proto if present >= opset else version_converter.convert_version(proto, opset)
