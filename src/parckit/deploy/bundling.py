"""The export: fuse, convert, check and compare. A bundle is written only if every step succeeds."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from torch import nn

from parckit.contract import (
    CONTRACT_FILE,
    Artefact,
    Contract,
    InputError,
    NetworkSpec,
    read_contract,
    replacing,
    write_contract,
)
from parckit.deploy.convert import Converter, load_converter
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.deploy.verify import check_artefact
from parckit.layers import Form
from parckit.measure import cost
from parckit.measure.environment import versions
from parckit.models import fuse
from parckit.networks import check_input, head_of, open_checkpoint

_ENGINE = "onnxruntime"


def export(
    checkpoint: Path | str,
    out: Path | str,
    *,
    size: tuple[int, int] | None = None,
    opset: int = 18,
    ir_version: int | None = None,
    batch_size: int = 1,
    form: Form = "auto",
) -> Contract:
    """Fuse a checkpoint and write a verified bundle.

    Args:
        checkpoint: a `.ckpt` or `.safetensors` file, or the name of weights that ship with parckit.
        out: folder of the bundle; a bundle that is already there is replaced only on success.
        size: (height, width) of the graph's input, pixels; by default the checkpoint's.
        opset: ONNX opset version.
        ir_version: ONNX IR version; None takes the lowest one that allows the opset.
        batch_size: number of images that the graph takes at once.
        form: form of convolutions along an axis; see `ExportSettings`.

    Raises:
        InputError: if the checkpoint cannot be opened, or an argument is not accepted.
        ExportError: if the network cannot be exported, the exported file is not as requested, or its outputs differ
            from the network's.
    """
    settings = ExportSettings(opset=opset, ir_version=ir_version, batch_size=batch_size, form=form)
    network, spec = open_checkpoint(Path(checkpoint))
    spec = spec if size is None else spec.with_size(size)
    check_input(network, spec)
    return export_bundle(network, spec, out=Path(out), settings=settings)


def export_bundle(
    network: nn.Module, spec: NetworkSpec, *, out: Path, settings: ExportSettings | None = None
) -> Contract:
    """Write a verified bundle of a network, for the image size in its spec.

    Args:
        network: the unfused network; it is not changed.
        spec: describes the network; the size of its preprocessing becomes the size of the graph's input.
        out: folder of the bundle; a bundle that is already there is replaced only on success.
        settings: how to write the file.

    Raises:
        InputError: if `out` has other content than a bundle, or the network has not as many outputs as labels.
        ExportError: if the engine refuses the network, or the file cannot be written or is not as requested.
        ParityError: if the outputs of the engine differ from torch's by more than the tolerance.
    """
    # Check what can be checked before the work.
    _refuse_foreign(out)
    converter = load_converter(_ENGINE)
    if reason := converter.refuses(spec, head_of(spec).outputs):
        raise ExportError(f"{spec.backbone}: {_ENGINE} cannot run it: {reason}")
    out = out.resolve() if out.is_symlink() else out
    reference = deepcopy(network).cpu().float().eval()
    with replacing(out) as folder:
        folder.mkdir()
        fused = fuse(reference, size=spec.preprocessing.size)
        artefact = _convert(converter, fused, spec, bundle=folder, settings=settings or ExportSettings())
        # Describe the bundle. Contract checks that labels and outputs agree, before the comparison, which takes longer.
        counts = cost.count(reference, size=spec.preprocessing.size)
        contract = Contract(
            spec=spec, artefacts=(artefact,), params=counts.params, madds=counts.madds, versions=versions()
        )
        # Compare the engine with torch, and add the result to the contract.
        check = check_artefact(reference, spec, artefact, folder=folder, engine=_ENGINE)
        contract = replace(contract, artefacts=(replace(artefact, checks=(check,)),))
        write_contract(contract, folder)
    return contract


def _convert(
    converter: Converter, fused: nn.Module, spec: NetworkSpec, *, bundle: Path, settings: ExportSettings
) -> Artefact:
    """Write the artefact to a folder in the bundle that has the artefact's name; paths are relative to the bundle."""
    # The converter chooses the name, so the folder is renamed afterwards.
    unnamed = bundle / "new"
    unnamed.mkdir()
    artefact = converter.convert(fused, spec, folder=unnamed, settings=settings)
    unnamed.replace(bundle / artefact.name)
    return replace(artefact, files={f"{artefact.name}/{file}": sha for file, sha in artefact.files.items()})


def _refuse_foreign(out: Path) -> None:
    """Refuse an existing `out` unless it is empty or a bundle: replacing a folder deletes all files in it.

    Raises:
        InputError: if `out` is a file, or a folder with files that do not belong to a bundle.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out={out}: is a file; a bundle is a folder")
    entries = {entry.name for entry in out.iterdir()} if out.is_dir() else set[str]()
    if not entries:
        return
    listed = {CONTRACT_FILE}
    if CONTRACT_FILE in entries:
        listed |= {
            file.partition("/")[0] for entry in read_contract(out, check_files=False).artefacts for file in entry.files
        }
    strangers = sorted(entries - listed)
    if strangers or CONTRACT_FILE not in entries:
        example = f" (it holds {strangers[0]})" if strangers else ""
        raise InputError(f"out={out}: must be a new folder, an empty folder or a bundle without other files{example}")
