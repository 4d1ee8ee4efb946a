"""The export: fuse, convert, check and compare. A bundle is written only if every step succeeds."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import cast

from torch import nn

from parckit.contract import (
    CONTRACT_FILE,
    FLOAT_ONNX,
    INT8_ONNX,
    Artefact,
    Check,
    Contract,
    DecoderSpec,
    InputError,
    NetworkSpec,
    find_leftovers,
    naming_full_disk,
    place_artefact,
    read_contract,
    replacing,
    sha256_of,
    shipped_weights,
    write_contract,
)
from parckit.deploy.checking import open_network, refuse_violations
from parckit.deploy.convert import Source, source_of
from parckit.deploy.convert.class_maps import check_has_maps, class_map_decoding
from parckit.deploy.convert.decoding import add_decoding
from parckit.deploy.convert.suppression import check_can_suppress, suppression_decoding
from parckit.deploy.divergence import Suspect, first_divergence
from parckit.deploy.errors import ParityError
from parckit.deploy.planning import Conversion, plan_conversions
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.speedup import timed
from parckit.deploy.quantize.trained import check_trained, convert_trained
from parckit.deploy.settings import ExportSettings
from parckit.deploy.thresholds import read_thresholds
from parckit.deploy.timed_form import FormChoice, choose_form
from parckit.deploy.verify import Reference, check_artefact, check_class_map, check_suppression
from parckit.measure import cost
from parckit.measure.environment import versions
from parckit.measure.evaluators import evaluator_of
from parckit.models import copy_model, fuse
from parckit.networks import build_network, float_network, has_quantizers, head_of
from parckit.report.checks import describe_failure

_USUAL = ExportSettings()
_DECODED_ON = "onnxruntime"
"""The engine that checks the copy of an artefact with NMS or argmax inside."""
_SECONDS = QuantizeSettings().seconds
"""How long float32 and trained int8 are timed, each of them."""


def export(
    checkpoint: Path | str,
    out: Path | str,
    *,
    size: tuple[int, int] | None = None,
    settings: ExportSettings = _USUAL,
    thresholds: Path | str | None = None,
) -> Contract:
    """Fuse a checkpoint and write a verified bundle.

    Args:
        checkpoint: a `.ckpt` or `.safetensors` file, or the name of weights that ship with parckit.
        out: folder of the bundle; a bundle that is already there is replaced only on success.
        size: (height, width) of the graph's input, pixels; by default the checkpoint's.
        settings: how to write the file.
        thresholds: JSON file with the least probability of every class, for several labels an image; see
            `read_thresholds`.

    Raises:
        InputError: if the checkpoint or the thresholds cannot be opened, or the network takes no images of this size.
        ExportError: if the network cannot be exported, the exported file is not as requested, or its outputs differ
            from the network's.
    """
    network, spec = open_network(checkpoint, size=size)
    shipped = None if Path(checkpoint).exists() else shipped_weights(str(checkpoint))
    origin = {"weights": Path(checkpoint).name, "sha256": sha256_of(shipped or Path(checkpoint))}
    decoder = head_of(spec).decoder(spec)
    if thresholds is not None:
        decoder = read_thresholds(Path(thresholds), decoder, spec)
    return export_bundle(network, spec, out=Path(out), settings=settings, decoder=decoder, origin=origin)


def export_bundle(
    network: nn.Module,
    spec: NetworkSpec,
    *,
    out: Path,
    settings: ExportSettings = _USUAL,
    decoder: DecoderSpec | None = None,
    origin: Mapping[str, str] = MappingProxyType({}),
) -> Contract:
    """Write a verified bundle of a network, for the image size in its spec.

    Args:
        network: the unfused network; it is not changed.
        spec: describes the network; the size of its preprocessing becomes the size of the graph's input.
        out: folder of the bundle; a bundle that is already there is replaced only on success.
        settings: what to make.
        decoder: how outputs become an answer; None: as the head says.
        origin: where the weights come from; see `Contract`.

    Raises:
        InputError: if `out` has other content than a bundle, the network has not as many outputs as labels, the
            settings ask for NMS or argmax inside and the network has no boxes or maps for it, or the settings' board
            does not support the network.
        ExportError: if an engine refuses the network, or a file cannot be written or is not as requested.
        ParityError: if the outputs of an engine differ from torch's by more than the tolerance.
    """
    # Check what can be checked before the work.
    conversions, decoder = plan_conversions(spec, settings), decoder or head_of(spec).decoder(spec)
    made = [conversion.artefact for conversion in conversions]
    _refuse_foreign(out, made=made if spec.quantization is None else [*made, INT8_ONNX])
    _check_decoding(settings, decoder)
    out = out.resolve() if out.is_symlink() else out
    network = copy_model(network).cpu().float().eval()
    # A bundle describes the float network, also if it holds an artefact of the one with fake quantizers.
    trained, network, spec = network, float_network(network, spec), replace(spec, quantization=None)
    with replacing(out) as folder, _workplace() as work:
        folder.mkdir()
        source = source_of(fuse(network, size=spec.preprocessing.size), spec, work=work, decoder=decoder)
        refuse_violations(source, settings)
        forms = [choose_form(source, conversion, settings) for conversion in conversions]
        settled = [replace(settings, form=choice.form) for choice in forms]
        artefacts = tuple(
            _convert(source, conversion, choice, folder=folder, settings=how)
            for conversion, choice, how in zip(conversions, forms, settled, strict=True)
        )
        # Contract checks that labels and outputs agree, before the comparison, which takes longer.
        # A network with fake quantizers is folded, and would have other counts.
        counted = build_network(spec) if has_quantizers(trained) else network
        contract = _describe(counted, spec, artefacts, origin=origin)
        # Compare the engines with torch, and add the results to the contract.
        reference = Reference(network, spec)
        artefacts = tuple(
            _check(reference, artefact, conversion, folder=folder, source=source, settings=how)
            for artefact, conversion, how in zip(artefacts, conversions, settled, strict=True)
        )
        decoded = _add_decoded(reference, artefacts, folder=folder, settings=settings)
        contract = replace(contract, artefacts=(*artefacts, *decoded))
        contract = _add_trained(contract, trained, source, folder=folder, settings=settings)
        write_contract(contract, folder)
    return contract


def _describe(
    network: nn.Module, spec: NetworkSpec, artefacts: tuple[Artefact, ...], *, origin: Mapping[str, str]
) -> Contract:
    """Return the contract of a bundle whose artefacts have not been checked."""
    counts = cost.count(network, size=spec.preprocessing.size, channels=spec.preprocessing.channels)
    return Contract(
        spec=spec,
        artefacts=artefacts,
        params=counts.params,
        madds=counts.madds,
        versions=versions(),
        origin={**origin},
    )


def _check_decoding(settings: ExportSettings, decoder: DecoderSpec) -> None:
    """Raise InputError if a graph cannot decode what the network gives, though the settings ask for it."""
    if settings.nms:
        check_can_suppress(decoder)
    if settings.argmax:
        check_has_maps(decoder)


def _convert(
    source: Source, conversion: Conversion, choice: FormChoice, *, folder: Path, settings: ExportSettings
) -> Artefact:
    """Write an artefact of a fused network, which is not changed, into a bundle."""
    made_in = source.work / conversion.artefact
    made_in.mkdir()
    copy = replace(source, network=copy_model(source.network))
    made = conversion.converter.convert(copy, folder=made_in, settings=settings, precision=conversion.precision)
    made = replace(made, options={**made.options, **choice.options})
    return place_artefact(made, made_in=made_in, bundle=folder)


def _check(
    reference: Reference,
    artefact: Artefact,
    conversion: Conversion,
    *,
    folder: Path,
    source: Source,
    settings: ExportSettings,
) -> Artefact:
    """Return an artefact with its checks, one an engine.

    Raises:
        ParityError: if an engine differs from torch. It names the layer at which the difference appears first, where
            `first_divergence` finds it.
    """
    checks: list[Check] = []
    for engine in conversion.engines:
        check = check_artefact(reference, artefact, folder=folder, engine=engine)
        if check.passed is False and artefact.runs_in_chunks:
            images, _ = reference.prepare(reference.input)
            suspect = Suspect(source=source, conversion=conversion, settings=settings, engine=engine, images=images)
            _refuse_difference(check, artefact, first=first_divergence(suspect, check))
        _refuse_difference(check, artefact)
        checks.append(check)
    return replace(artefact, checks=tuple(checks))


def _add_decoded(
    reference: Reference, artefacts: Sequence[Artefact], *, folder: Path, settings: ExportSettings
) -> tuple[Artefact, ...]:
    """Add an artefact with the decoding inside to a bundle, if the settings ask for one.

    Raises:
        ParityError: if its answers differ from those that numpy makes of the raw maps.
    """
    if not (settings.nms or settings.argmax):
        return ()
    spec, artefact = reference.spec, next(entry for entry in artefacts if entry.name == FLOAT_ONNX)
    check: Callable[..., Check]
    if settings.nms:
        # An evaluation looks at boxes with low scores. The graph returns these too, so that it can be evaluated.
        threshold = cast("float", evaluator_of(spec.task).decoding["threshold"])
        decoding = suppression_decoding(artefact, spec, threshold=threshold)
        check = partial(check_suppression, threshold=threshold)
    else:
        decoding, check = class_map_decoding(artefact), check_class_map
    with _workplace() as made_in:
        path = folder / artefact.main_file
        made = add_decoding(path, artefact, spec, decoding, folder=made_in, settings=settings)
        decoded = place_artefact(made, made_in=made_in, bundle=folder)
    result = check(reference, decoded, artefact, folder=folder, engine=_DECODED_ON)
    _refuse_difference(result, decoded)
    return (replace(decoded, checks=(result,)),)


def _add_trained(
    contract: Contract, trained: nn.Module, source: Source, *, folder: Path, settings: ExportSettings
) -> Contract:
    """Add the INT8 artefact of a network with fake quantizers to a bundle, and time it beside the float one.

    Returns:
        The contract with the artefact.

    Raises:
        ParityError: if its outputs differ from the network's.
    """
    if not has_quantizers(trained):
        return contract
    with _workplace() as made_in:
        made = convert_trained(trained, source, folder=made_in, settings=settings)
        artefact = place_artefact(made, made_in=made_in, bundle=folder)
    check = check_trained(trained, artefact, source.spec, folder=folder, engine=_DECODED_ON)
    _refuse_difference(check, artefact)
    check = timed(check, artefact, contract, bundle=folder, folder=folder, seconds=_SECONDS)
    return replace(contract, artefacts=(*contract.artefacts, replace(artefact, checks=(check,))))


@contextmanager
def _workplace() -> Generator[Path]:
    """Give a temporary folder for the files of an artefact. If its disk is full, the error says so."""
    with TemporaryDirectory() as folder, naming_full_disk(Path(folder)):
        yield Path(folder)


def _refuse_difference(check: Check, artefact: Artefact, *, first: str | None = None) -> None:
    """Raise ParityError if an artefact did not pass its check. `first` is the layer where it differs first."""
    if check.passed or check.passed is None:
        return
    layer = "" if first is None else f"it differs first at {first}; "
    failure = describe_failure(check, artefact)
    raise ParityError(f"{check.engine} {check.version}: {failure}; {layer}no bundle was written")


def _refuse_foreign(out: Path, *, made: Collection[str]) -> None:
    """Refuse an existing `out` unless an export may replace it, because replacing a folder deletes all files in it.

    Args:
        out: the folder.
        made: names of the artefacts that the export makes.

    Raises:
        InputError: if `out` is a file, or a folder with files that are not those of an export.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out={out}: is a file; a bundle is a folder")
    # Half-written files of a killed process do not count.
    leftovers = find_leftovers(out, names=".+")
    files = {path for path in out.rglob("*") if path.is_file() and leftovers.isdisjoint((path, *path.parents))}
    if not files:
        return
    if out / CONTRACT_FILE not in files:
        raise InputError(f"out={out}: must be a new folder, an empty folder or a bundle; it has no {CONTRACT_FILE}")
    try:
        artefacts = read_contract(out, check_files=False).artefacts
    except InputError as error:
        raise InputError(f"{error}. Delete the folder to export into it") from error
    if not all(artefact.decodes_inside or artefact.name in made for artefact in artefacts[1:]):
        names = ", ".join(artefact.name for artefact in artefacts)
        raise InputError(f"out={out}: has the artefacts {names}, which an export would delete; name another folder")
    listed = {out / CONTRACT_FILE, *(out / file for artefact in artefacts for file in artefact.files)}
    for stranger in sorted(files - listed):
        raise InputError(f"out={out}: an export would delete {stranger}, which is no part of the bundle; move it away")
