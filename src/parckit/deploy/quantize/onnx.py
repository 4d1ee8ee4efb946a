"""The writer of ONNX files in int8, for ONNX Runtime and OpenVINO."""

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from parckit.contract import Artefact, sha256_of
from parckit.deploy.convert.onnx import FILE, description_of
from parckit.deploy.quantize.graph import opset_of, with_opset
from parckit.deploy.quantize.qdq import LEAST_OPSET, LEAST_OPSET_16, write_qdq
from parckit.deploy.quantize.qdq_passes import FOR_ONNXRUNTIME, FOR_OPENVINO
from parckit.deploy.quantize.rotations import store_rotations_once
from parckit.deploy.quantize.scheme import SCHEME_FILE, write_scheme
from parckit.deploy.quantize.source import QuantizationSource


def write(source: QuantizationSource, *, folder: Path) -> Artefact:
    """Write a graph with QuantizeLinear and DequantizeLinear nodes, and the scheme beside it.

    Returns:
        The artefact, not yet checked. Paths of its files are relative to `folder`.
    """
    model = quantized_graph(source)
    described = source.describe("onnx")
    options = {**described.options, "opset": opset_of(model), "ir_version": model.ir_version}
    artefact = replace(described, options=options, files={FILE: "", SCHEME_FILE: ""})
    # The digests of the pictures stand in the contract; in the file they would be as large as a layer.
    told = replace(artefact, calibration=replace(source.calibration, sha256=()))
    store_rotations_once(model)
    _forget_shapes(model)
    model.metadata_props.clear()
    model.metadata_props.update(description_of(source.spec, told))
    ir.save(model, folder / FILE)
    write_scheme(source.scheme, folder / SCHEME_FILE)
    return replace(artefact, files={name: sha256_of(folder / name) for name in artefact.files})


def quantized_graph(source: QuantizationSource) -> ir.Model:
    """Return the quantized graph. Its opset is raised if the scheme has nodes of 16 bits."""
    scheme = source.scheme
    model = with_opset(source.rounded_model(), LEAST_OPSET_16 if 16 in scheme.bits.values() else LEAST_OPSET)
    # One file serves both engines. The one for ONNX Runtime is right in OpenVINO, too, but slower with SiLU.
    passes = FOR_ONNXRUNTIME if "onnxruntime" in source.settings.engines else FOR_OPENVINO
    return passes(write_qdq(model, scheme)).model


def _forget_shapes(model: ir.Model) -> None:
    """Remove the shapes of the tensors inside a graph. Engines infer them, and they would be 2 % of a small file."""
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = value.type = None
