"""From a fused torch model to an ONNX file: one exporter for today's opsets, one adapter for those that boards need."""

import textwrap
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import torch
from onnx import helper
from onnx_ir.passes import common as passes
from onnxscript.optimizer import optimize_ir
from torch import nn
from torch.onnx.errors import OnnxExporterError

from parckit.contract import ExportError, InputError
from parckit.deploy.axis_forms import check_form, set_axis_forms
from parckit.deploy.passes import PASSES
from parckit.layers import Form

INPUT = "image"
OUTPUT = "logits"

LOWEST_OPSET = 11
"""The first whose Pad, Resize and Clip can say what torch means."""
HIGHEST_OPSET = 21
"""The last that the oldest ONNX Runtime we accept (1.20) runs."""
HIGHEST_IR = 10
"""The last that it loads."""
_DYNAMO_OPSET = 18
"""What torch's exporter writes itself; it converts upwards from there, but not reliably downwards."""

_REASON_CHARS = 300
"""Shown of the exporter's message."""

_CLEAN = ir.passes.Sequential(
    passes.IdentityEliminationPass(),
    # Quantizers look for weights among the initializers alone.
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    passes.DeduplicateInitializersPass(),
    passes.RemoveUnusedNodesPass(),
    # Python stack traces of this machine, larger than a small network's weights; IR versions below 10 lack their field.
    passes.ClearMetadataAndDocStringPass(),
)


def check_versions(opset: int, ir_version: int | None, *, form: Form = "auto") -> int:
    """Return the IR version to write: the one asked for, or the lowest in which `opset` may appear.

    Raises:
        InputError: if the opset cannot be written, the IR version is unknown or too old for it, or it needs another
            form of convolutions along an axis.
    """
    if not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise InputError(f"opset={opset}: choose from {LOWEST_OPSET} to {HIGHEST_OPSET}")
    check_form(form)
    if form == "matmul" and opset < _DYNAMO_OPSET:
        raise InputError(f"form={form!r}: needs opset {_DYNAMO_OPSET} or above, not {opset}; choose auto or conv")
    lowest = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    if ir_version is not None and not lowest <= ir_version <= HIGHEST_IR:
        raise InputError(f"ir_version={ir_version}: for opset {opset} choose from {lowest} to {HIGHEST_IR}")
    return ir_version or lowest


def write_onnx(
    model: nn.Module,
    path: Path,
    *,
    size: tuple[int, int],
    batch_size: int,
    opset: int,
    ir_version: int,
    form: Form = "auto",
) -> None:
    """Write a model in eval mode to an ONNX file of static shapes, with all weights inside.

    Args:
        model: takes (B, 3, H, W) float32; its convolutions along an axis are replaced by the form in which they leave.
        path: the file.
        size: (height, width) of the input, pixels.
        batch_size: images of the input.
        opset: operator set, as `check_versions` accepts it.
        ir_version: as `check_versions` returned it.
        form: of convolutions along an axis; `"auto"` is what ONNX Runtime runs fastest, and conv in older opsets, whose
            exporter leaves the shapes of the matrices to be computed by the graph.

    Raises:
        ExportError: if torch's exporter cannot write the model in this opset.
    """
    export = _export_dynamo
    if opset < _DYNAMO_OPSET:
        export, form = _export_legacy, "conv"
    set_axis_forms(model, form)
    example = torch.zeros(batch_size, 3, *size, dtype=torch.float32, device="cpu")
    try:
        export(model, example, path, opset=opset)
    except OnnxExporterError as error:
        reason = textwrap.shorten(str(error), _REASON_CHARS)
        raise ExportError(f"opset {opset}: torch cannot write this model in it ({reason})") from error
    graph = ir.load(path)
    # The exporters leave shape arithmetic in the graph, which boards cannot run and static shapes make constant.
    optimize_ir(graph, should_fold=_does_not_repeat)
    graph = _CLEAN(PASSES(graph).model).model
    graph.ir_version = ir_version
    ir.save(graph, path)


def _does_not_repeat(node: ir.Node) -> bool | None:
    """Leave in the graph what repeats weights, such as the rows of matrices: the file holds what was learned."""
    repeated = ir.convenience.get_const_tensor(node.inputs[0]) if node.op_type == "Expand" and node.inputs[0] else None
    # Single numbers are not weights: zero biases that the exporter makes, and sizes.
    return False if repeated is not None and repeated.size > 1 and repeated.dtype == ir.DataType.FLOAT else None


def _export_dynamo(model: nn.Module, example: torch.Tensor, path: Path, *, opset: int) -> None:
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT],
        output_names=[OUTPUT],
        external_data=False,
        verbose=False,
        optimize=False,
    )


def _export_legacy(model: nn.Module, example: torch.Tensor, path: Path, *, opset: int) -> None:
    with _legacy_warnings_ignored():
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )


@contextmanager
def _legacy_warnings_ignored() -> Generator[None]:
    with warnings.catch_warnings():
        # We know that this exporter is the old one: no other writes these opsets.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        # Shapes are static, so that Python's choices by shape are right; other wrong traces fail the parity check.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        yield
