"""The export: fuse, convert, check, compare, and only then leave a bundle."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from torch import nn

from parckit.contract import CONTRACT_FILE, Contract, InputError, NetworkSpec, read_contract, replacing, write_contract
from parckit.deploy.convert import load_converter
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
        out: folder of the bundle; a bundle that stands there is replaced on success only.
        size: (height, width) of the graph's input, pixels; by default the checkpoint's.
        opset: ONNX operator set.
        ir_version: ONNX IR version; None takes the lowest in which the opset may appear.
        batch_size: images that the graph takes at once.
        form: form of convolutions along an axis; see `ExportSettings`.

    Raises:
        InputError: if the checkpoint cannot be opened, or something cannot be written as asked.
        ExportError: if the file is not what was asked for, or computes something else.
    """
    settings = ExportSettings(opset=opset, ir_version=ir_version, batch_size=batch_size, form=form)
    network, spec = open_checkpoint(Path(checkpoint))
    spec = spec if size is None else spec.with_size(size)
    check_input(network, spec)
    return export_bundle(network, spec, out=Path(out), settings=settings)


def export_bundle(
    network: nn.Module, spec: NetworkSpec, *, out: Path, settings: ExportSettings | None = None
) -> Contract:
    """Write a verified bundle of a network, for the size that its spec says.

    Args:
        network: the unfused network; it is left as it is.
        spec: what it is; its preprocessing's size becomes the graph's.
        out: folder of the bundle; a bundle that stands there is replaced on success only.
        settings: how to write it.

    Raises:
        InputError: if `out` is something else than a bundle, or the network has not as many outputs as labels.
        ExportError: if the engine refuses the network, or the file cannot be written or is not what was asked for.
        ParityError: if the engine's outputs differ from torch's beyond tolerance.
    """
    _refuse_foreign(out)
    converter = load_converter(_ENGINE)
    if reason := converter.refuses(spec, head_of(spec).outputs):
        raise ExportError(f"{spec.backbone}: {_ENGINE} cannot run it: {reason}")
    out = out.resolve() if out.is_symlink() else out
    reference = deepcopy(network).cpu().float().eval()
    with replacing(out) as folder:
        folder.mkdir()
        made = folder / "new"
        made.mkdir()
        fused = fuse(reference, size=spec.preprocessing.size)
        artefact = converter.convert(fused, spec, folder=made, settings=settings or ExportSettings())
        made.replace(folder / artefact.name)
        artefact = replace(artefact, files={f"{artefact.name}/{file}": sha for file, sha in artefact.files.items()})
        paper = cost.count(reference, size=spec.preprocessing.size)
        # Building it checks that labels and outputs agree, before the longer comparison.
        contract = Contract(
            spec=spec, artefacts=(artefact,), params=paper.params, madds=paper.madds, versions=versions()
        )
        check = check_artefact(reference, spec, artefact, folder=folder, engine=_ENGINE)
        contract = replace(contract, artefacts=(replace(artefact, checks=(check,)),))
        write_contract(contract, folder)
    return contract


def _refuse_foreign(out: Path) -> None:
    """Protect what does not belong to a bundle: replacing a folder deletes all that is in it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"out={out}: a file; a bundle is a folder")
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
        held = f" (it holds {strangers[0]})" if strangers else ""
        raise InputError(f"out={out}: a folder that is neither empty nor a bundle alone{held}; choose another")
