"""The converter to ONNX. It uses torch's new exporter, or the old one for detections and for the lower opsets."""

import json
import textwrap
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants, optimize_ir
from torch import nn
from torch.onnx.errors import OnnxExporterError

from parckit.contract import (
    VERSION,
    Artefact,
    DecoderSpec,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    begin_with_batch,
    sha256_of,
    to_plain,
    write_artefact_metadata,
)
from parckit.deploy.convert.axis_forms import set_axis_forms
from parckit.deploy.convert.onnx_check import check_file, shape_of
from parckit.deploy.convert.passes import PASSES
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.networks import head_of

INPUT = "image"
FILE = "model.onnx"
_TRACED = (
    "Converting a tensor to a Python",
    "torch.tensor results are registered",
    "Iterating over a tensor",
    "Using len to get tensor shape",
)
"""Beginnings of the old exporter's warnings that we know."""
_FREE = "detections"
"""Name of the free dimension in the graphs of networks that return detections."""

_REASON_CHARS = 300
"""Number of characters of the exporter's message that an error shows."""

_CLEAN = ir.passes.Sequential(
    passes.IdentityEliminationPass(),
    # Quantizers look for weights only in the initializers.
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    passes.DeduplicateInitializersPass(),
    passes.RemoveUnusedNodesPass(),
    # The exporter writes Python stack traces of this machine into the file. They are larger than the weights of a small
    # network, and IR versions below 10 have no field for them.
    passes.ClearMetadataAndDocStringPass(),
)


def refuses(spec: NetworkSpec, outputs: Sequence[OutputSpec]) -> str | None:
    """Return the reason why a network cannot be written as ONNX; None if it can."""
    del spec, outputs
    return None


def convert(
    network: nn.Module, spec: NetworkSpec, *, decoder: DecoderSpec, folder: Path, settings: ExportSettings
) -> Artefact:
    """Write a fused network to an ONNX file with static shapes and all weights inside, and check the file.

    Args:
        network: the fused network in eval mode. It is changed: its convolutions along an axis get the exported form.
        spec: describes the network; the size of its preprocessing becomes the size of the graph's input.
        decoder: how the outputs become an answer.
        folder: folder of the file.
        settings: how to write the file.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if torch's exporter cannot write the network, or the file is not as requested; or for detections,
            if the settings ask for several images or the form matmul.
    """
    # Write the file, read it back and check it.
    head, path = head_of(spec), folder / FILE
    described = head.outputs(spec)
    image_shape = (spec.preprocessing.channels, *spec.preprocessing.size)
    write_graph(network, path, image_shape=image_shape, outputs=described, settings=settings)
    free = [output.name for output in described if not begin_with_batch([output])]
    graph = check_file(path, opset=settings.opset, ir_version=settings.ir, free=free).graph
    # Describe it by what the file says, in the file and for the bundle.
    image = InputSpec(name=INPUT, shape=shape_of(graph.input[0]))
    outputs = tuple(
        replace(output, shape=tuple(size or None for size in shape_of(value)))
        for output, value in zip(described, graph.output, strict=True)
    )
    artefact = Artefact(
        name="onnx-fp32",
        format="onnx",
        precision="fp32",
        files={FILE: ""},  # known when the description is in the file
        input=image,
        outputs=outputs,
        decoder=decoder,
        options={"opset": settings.opset, "ir_version": settings.ir, "form": settings.form},
    )
    describe_file(path, spec, artefact)
    return replace(artefact, files={FILE: sha256_of(path)})


def describe_file(path: Path, spec: NetworkSpec, artefact: Artefact) -> None:
    """Write a description into the file's metadata, so that the file can be used without its bundle."""
    model = ir.load(path)
    entries = {
        **write_artefact_metadata(spec, artefact),
        "parckit_version": VERSION,
        # Entries for programs that do not know parckit's format.
        "task": spec.task,
        "labels": json.dumps(list(spec.labels), ensure_ascii=False),
        "preprocessing": json.dumps(to_plain(spec.preprocessing)),
    }
    model.metadata_props.update(entries)
    ir.save(model, path)


def write_graph(
    network: nn.Module,
    path: Path,
    *,
    image_shape: tuple[int, int, int],
    outputs: Sequence[OutputSpec],
    settings: ExportSettings,
) -> None:
    """Write a fused network to an ONNX file, without a description.

    Args:
        network: see `convert`.
        path: the file.
        image_shape: (channels, height, width) of an image, pixels.
        outputs: what the network returns, in order.
        settings: how to write the file.

    Raises:
        ExportError: as `convert`.
    """
    # The new exporter cannot write a number of boxes that depends on data: torchvision's suppression branches on it.
    is_free = not begin_with_batch(outputs)
    if is_free and (settings.batch_size != 1 or settings.form == "matmul"):
        wrong = f"batch_size={settings.batch_size}, form={settings.form!r}"
        raise ExportError(f"{wrong}: a network that returns detections needs batch_size 1, and the form auto or conv")
    uses_dynamo = settings.uses_dynamo and not is_free
    set_axis_forms(network, settings.axis_form if uses_dynamo else "conv")
    export = _export_dynamo if uses_dynamo else _export_legacy
    names = [output.name for output in outputs]
    example = torch.zeros(settings.batch_size, *image_shape, dtype=torch.float32, device="cpu")
    try:
        export(network, example, path, opset=settings.opset, names=names)
    except OnnxExporterError as error:
        reason = textwrap.shorten(str(error), _REASON_CHARS)
        raise ExportError(f"opset {settings.opset}: torch cannot write this model with it ({reason})") from error
    graph = ir.load(path)
    # The exporters leave computations of shapes in the graph. Boards cannot run them. Because shapes are static, the
    # results are constants.
    if is_free:
        # The suppression of boxes has branches. The whole optimizer would leave inputs in them that nothing makes.
        fold_constants(graph, should_fold=_does_not_repeat)
    else:
        optimize_ir(graph, should_fold=_does_not_repeat)
    graph = _CLEAN(PASSES(graph).model).model
    graph.ir_version = settings.ir
    if is_free:
        for value, output in zip(graph.graph.outputs, outputs, strict=True):
            value.shape = ir.Shape([size or _FREE for size in output.shape])
    ir.save(graph, path)


def _does_not_repeat(node: ir.Node) -> bool | None:
    """Return False for nodes that must not be folded: those that repeat weights, such as the rows of a matrix.

    Folding them would store the repeated weights in the file.
    """
    repeated = ir.convenience.get_const_tensor(node.inputs[0]) if node.op_type == "Expand" and node.inputs[0] else None
    # Single numbers are not weights. They are sizes, and zero biases from the exporter.
    return False if repeated is not None and repeated.size > 1 and repeated.dtype == ir.DataType.FLOAT else None


def _export_dynamo(model: nn.Module, example: torch.Tensor, path: Path, *, opset: int, names: Sequence[str]) -> None:
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT],
        output_names=names,
        external_data=False,
        verbose=False,
        optimize=False,
    )


def _export_legacy(model: nn.Module, example: torch.Tensor, path: Path, *, opset: int, names: Sequence[str]) -> None:
    with _legacy_warnings_ignored():
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=names,
        )


@contextmanager
def _legacy_warnings_ignored() -> Generator[None]:
    with warnings.catch_warnings():
        # We use the old exporter on purpose: only it can write the lower opsets, and detections.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        # Branches and numbers of Python that depend on shapes are traced correctly, because shapes are static. A wrong
        # trace of anything else fails the parity check.
        for message in _TRACED:
            warnings.filterwarnings("ignore", message, torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        # These come from torchvision's parts of detectors.
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "Exporting aten::index operator of advanced indexing", UserWarning)
        yield
