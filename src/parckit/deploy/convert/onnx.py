"""The converter to ONNX. It uses torch's new exporter, or the old one for detections and for the lower opsets."""

import json
import shutil
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants, optimize_ir
from torch import nn
from torch.onnx.errors import OnnxExporterError

from parckit.contract import (
    VERSION,
    Artefact,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    Precision,
    begin_with_batch,
    sha256_of,
    shorten_message,
    to_plain,
    write_artefact_metadata,
)
from parckit.deploy.convert.axis_forms import set_axis_forms
from parckit.deploy.convert.half import write_in_half
from parckit.deploy.convert.layer_names import modules_by_scopes, name_by_module, name_by_neighbour
from parckit.deploy.convert.onnx_check import check_file, shape_of
from parckit.deploy.convert.passes import PASSES
from parckit.deploy.convert.source import Source
from parckit.deploy.convert.split_kernels import split_kernels
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings

INPUT = "image"
FILE = "model.onnx"
_TRACED = (
    "Converting a tensor to a Python",
    "torch.tensor results are registered",
    "Iterating over a tensor",
    "Using len to get tensor shape",
)
"""Beginnings of the old exporter's warnings that we know."""
_BATCH = "batch"
"""Name of the free number of images."""
_FREE = "detections"
"""Name of the free dimension in the graphs of networks that return detections."""

_MOST_DIMS = 16
"""Most numbers of a shape, or of paddings."""

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


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be written as ONNX; None if it can."""
    del spec, settings
    if precision == "fp16" and not begin_with_batch(outputs):
        return "it returns boxes in pixels, for which half precision is too coarse"
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision = "fp32") -> Artefact:
    """Write a fused network to an ONNX file with static shapes and all weights inside, and check the file.

    With the setting `dynamic_batch`, the number of images alone is free.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: how to write the file.
        precision: precision of the arithmetic.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if torch's exporter cannot write the network, or the file is not as requested; or for detections,
            if the settings ask for several images or the form matmul.
    """
    path, shared = folder / FILE, shared_graph(source, settings=settings)
    if precision == "fp16":
        write_in_half(shared, path)
        _check(path, source, settings=settings)
    else:
        shutil.copyfile(shared, path)
    artefact = describe_graph(path, source, settings=settings, precision=precision)
    describe_file(path, source.spec, artefact)
    return replace(artefact, files={FILE: sha256_of(path)})


def shared_graph(source: Source, *, settings: ExportSettings) -> Path:
    """Return the float32 ONNX file of a network, without a description; it is written and checked at the first call.

    Every form has a file of its own.

    Raises:
        ExportError: as `convert`.
    """
    path = source.work / f"shared-{settings.axis_form}.onnx"
    if not path.exists():
        write_graph(source.network, path, image_shape=source.image_shape, outputs=source.outputs, settings=settings)
        _check(path, source, settings=settings)
    return path


def _check(path: Path, source: Source, *, settings: ExportSettings) -> None:
    free = [output.name for output in source.outputs if settings.dynamic_batch or not begin_with_batch([output])]
    if settings.dynamic_batch:
        free.append(INPUT)
    check_file(path, opset=settings.onnx.opset, ir_version=settings.onnx.ir, free=free)


def describe_graph(path: Path, source: Source, *, settings: ExportSettings, precision: Precision) -> Artefact:
    """Return the description of an ONNX file, with the shapes that the file says. Its digest is not yet known."""
    graph = onnx.load(path, load_external_data=False).graph
    outputs = tuple(
        replace(output, shape=tuple(size or None for size in shape_of(value)))
        for output, value in zip(source.outputs, graph.output, strict=True)
    )
    return Artefact(
        name=f"onnx-{precision}",
        format="onnx",
        precision=precision,
        files={path.name: ""},
        input=InputSpec(name=INPUT, shape=tuple(size or None for size in shape_of(graph.input[0]))),
        outputs=outputs,
        decoder=source.decoder,
        options={"opset": settings.onnx.opset, "ir_version": settings.onnx.ir, **settings.options},
    )


def description_of(spec: NetworkSpec, artefact: Artefact) -> dict[str, str]:
    """Return what a file says of itself, so that it can be used without its bundle."""
    return {
        **write_artefact_metadata(spec, artefact),
        "parckit_version": VERSION,
        # Entries for programs that do not know parckit's format.
        "task": spec.task,
        "labels": json.dumps(list(spec.labels), ensure_ascii=False),
        "preprocessing": json.dumps(to_plain(spec.preprocessing)),
    }


def describe_file(path: Path, spec: NetworkSpec, artefact: Artefact) -> None:
    """Write a description into the metadata of an ONNX file."""
    model = ir.load(path)
    model.metadata_props.update(description_of(spec, artefact))
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
    uses_dynamo = settings.onnx.uses_dynamo and not is_free
    set_axis_forms(network, settings.axis_form if uses_dynamo else "conv")
    split_kernels(network, longest=settings.longest_kernel, limits=settings.conv_limits)
    export = _export_dynamo if uses_dynamo else _export_legacy
    names = [output.name for output in outputs]
    # torch's exporter takes a dimension of 1 as fixed.
    count = 2 if settings.dynamic_batch else settings.batch_size
    example = torch.zeros(count, *image_shape, dtype=torch.float32, device="cpu")
    try:
        export(network, example, path, opset=settings.onnx.opset, names=names, dynamic_batch=settings.dynamic_batch)
    except OnnxExporterError as error:
        reason = shorten_message(error)
        raise ExportError(f"opset {settings.onnx.opset}: torch cannot write this model with it ({reason})") from error
    graph = ir.load(path)
    name_by_module(graph.graph, {} if uses_dynamo else modules_by_scopes(network, example))
    # The exporters leave computations of shapes in the graph. Boards cannot run them. Because shapes are static, the
    # results are constants.
    if is_free:
        # The suppression of boxes has branches. The whole optimizer would leave inputs in them that nothing makes.
        fold_constants(graph, should_fold=_does_not_repeat)
    else:
        optimize_ir(graph, should_fold=_does_not_repeat)
    graph = _CLEAN(PASSES(graph).model).model
    name_by_neighbour(graph.graph)
    graph.ir_version = settings.onnx.ir
    if is_free:
        for value, output in zip(graph.graph.outputs, outputs, strict=True):
            value.shape = ir.Shape([size or _FREE for size in output.shape])
    ir.save(graph, path)


def _does_not_repeat(node: ir.Node) -> bool | None:
    """Return False for nodes that must not be folded: those that repeat weights, such as the rows of a matrix.

    Folding them would store the repeated weights in the file. The optimizer itself folds no ConstantOfShape, but the
    old exporter computes shapes with it; these few numbers are folded, too.
    """
    if node.op_type == "ConstantOfShape" and node.inputs[0] is not None:
        lengths = ir.convenience.get_const_tensor(node.inputs[0])
        return True if lengths is not None and lengths.numpy().prod() <= _MOST_DIMS else None
    repeated = ir.convenience.get_const_tensor(node.inputs[0]) if node.op_type == "Expand" and node.inputs[0] else None
    # Single numbers are not weights. They are sizes, and zero biases from the exporter.
    return False if repeated is not None and repeated.size > 1 and repeated.dtype == ir.DataType.FLOAT else None


def _export_dynamo(
    model: nn.Module, example: torch.Tensor, path: Path, *, opset: int, names: Sequence[str], dynamic_batch: bool
) -> None:
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
        dynamic_shapes=({0: torch.export.Dim(_BATCH)},) if dynamic_batch else None,
    )


def _export_legacy(
    model: nn.Module, example: torch.Tensor, path: Path, *, opset: int, names: Sequence[str], dynamic_batch: bool
) -> None:
    with _legacy_warnings_ignored():
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={name: {0: _BATCH} for name in (INPUT, *names)} if dynamic_batch else None,
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
        # It comes from the old exporter's own paddings; the whole graph is folded later.
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
        # These come from torchvision's parts of detectors.
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "Exporting aten::index operator of advanced indexing", UserWarning)
        yield
