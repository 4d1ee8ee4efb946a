"""The export: fuse, write, check, compare, and only then leave a bundle."""

import logging
from copy import deepcopy
from pathlib import Path

from onnx import ValueInfoProto
from torch import nn

from parckit.contract import (
    CONTRACT_FILE,
    MODEL_FILE,
    Contract,
    InputError,
    ModelSpec,
    Parity,
    ParityError,
    TensorSpec,
    replacing,
    sha256_of,
    write_contract,
)
from parckit.deploy.onnx_check import check_file, shape_of
from parckit.deploy.onnx_export import check_versions, write_onnx
from parckit.layers import Form
from parckit.measure import cost
from parckit.measure.environment import versions
from parckit.measure.memory import peak_memory
from parckit.measure.parity import compare, probe_images
from parckit.models import fuse
from parckit.runtimes.onnxruntime import OnnxRuntimeSession, load_graph
from parckit.runtimes.torch import TorchSession

_log = logging.getLogger(__name__)


def export_bundle(
    model: nn.Module,
    spec: ModelSpec,
    *,
    out: Path,
    opset: int = 18,
    ir_version: int | None = None,
    batch_size: int = 1,
    form: Form = "auto",
) -> Contract:
    """Write a verified bundle for the size that `spec` says; a bundle that stood at `out` is replaced on success only.

    Args:
        model: the unfused model; it is left as it is.
        spec: what it is; its preprocessing's size becomes the graph's.
        out: folder of the bundle.
        opset: ONNX operator set.
        ir_version: ONNX IR version; None takes the lowest in which the opset may appear.
        batch_size: images that the graph takes at once.
        form: of convolutions along an axis, which other engines than ONNX Runtime may run faster in another one:
            `"conv"`, `"matmul"` (from opset 18 on), or `"auto"`, ONNX Runtime's faster one for each length.

    Raises:
        InputError: if `out` is something else than a bundle, the model has not as many outputs as labels, or a version,
            `batch_size` or `form` cannot be written.
        ExportError: if the file cannot be written, or is not what was asked for.
        ParityError: if ONNX Runtime's outputs differ from torch's beyond tolerance.
    """
    ir_version = check_versions(opset, ir_version, form=form)
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1")
    _refuse_foreign(out)
    out = out.resolve() if out.is_symlink() else out
    size = spec.preprocessing.size
    reference = deepcopy(model).cpu().float().eval()
    with replacing(out) as folder:
        folder.mkdir()
        file = folder / MODEL_FILE
        fused = fuse(reference, size=size)
        write_onnx(fused, file, size=size, batch_size=batch_size, opset=opset, ir_version=ir_version, form=form)
        graph = check_file(file, opset=opset, ir_version=ir_version).graph
        paper = cost.count(reference, size=size)
        contract = Contract(
            task="classify",
            spec=spec,
            input=_tensor_spec(graph.input[0], "NCHW"),
            outputs=(_logits_spec(graph.output[0], spec),),
            opset=opset,
            ir_version=ir_version,
            params=paper.params,
            madds=paper.madds,
            parity=_verify(reference, file, spec),
            peak_memory_bytes=peak_memory(folder),
            versions=versions(),
            sha256={MODEL_FILE: sha256_of(file)},
        )
        write_contract(contract, folder)
    return contract


def _refuse_foreign(out: Path) -> None:
    """Protect what is not a bundle's own: replacing a folder deletes all that is in it."""
    entries = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    strangers = sorted(entries - {CONTRACT_FILE, MODEL_FILE})
    if strangers or (entries and CONTRACT_FILE not in entries):
        held = f" (it holds {strangers[0]})" if strangers else ""
        raise InputError(f"out={out}: a folder that is neither empty nor a bundle alone{held}; choose another")
    if out.exists() and not out.is_dir():
        raise InputError(f"out={out}: a file; a bundle is a folder")


def _verify(reference: nn.Module, file: Path, spec: ModelSpec) -> Parity:
    images = probe_images(spec.preprocessing)
    candidate = OnnxRuntimeSession(load_graph(file), spec)
    found = compare(TorchSession(reference, spec), candidate, images)
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", candidate.engine, found.max_abs, found.tolerance)
    if not found.passed:
        raise ParityError(
            f"{candidate.engine} differs from torch by {found.max_abs:.3g} over {found.images} images, "
            f"{found.tolerance:.3g} is accepted; no bundle was written"
        )
    return Parity(max_abs=found.max_abs, tolerance=found.tolerance, images=found.images, runtime=candidate.engine)


def _logits_spec(value: ValueInfoProto, spec: ModelSpec) -> TensorSpec:
    found = _tensor_spec(value, "NC")
    if len(spec.labels) != found.shape[1]:
        raise InputError(f"{spec.model}: {len(spec.labels)} labels for {found.shape[1]} outputs")
    return found


def _tensor_spec(value: ValueInfoProto, layout: str) -> TensorSpec:
    return TensorSpec(name=value.name, dtype="float32", layout=layout, shape=shape_of(value))
