"""From a bundle with a float artefact to one with int8 artefacts, too."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from parckit.contract import Artefact, Check, Contract, InputError, add_artefact, check_folder
from parckit.data import name_source
from parckit.deploy.quantize.checking import check_int8, refuse_collapse
from parckit.deploy.quantize.mixing import mix, rank_nodes, refuse_shared_pictures
from parckit.deploy.quantize.pictures import digests_of, open_table
from parckit.deploy.quantize.progress import Progress, show_nothing
from parckit.deploy.quantize.refusals import refuse_plan, refuse_trained, refuse_wrong_drop
from parckit.deploy.quantize.scheme import Bits
from parckit.deploy.quantize.sensitivity import (
    Sensitivity,
    Trial,
    fingerprint_of,
    measure_sensitivity,
    refuse_other_results,
)
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.source import QuantizationSource
from parckit.deploy.quantize.speedup import is_faster, timed
from parckit.deploy.quantize.steps import (
    ENGINE,
    FloatNetwork,
    choose_pictures,
    open_float,
    prepare,
    usual_data,
    workplace,
    yardstick_of,
)
from parckit.deploy.quantize.writers import load_writer, plan_writers, takes_onnx_graph
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.evaluation_data import EvaluationData

_log = logging.getLogger(__name__)

_RANKING_PICTURES = 25
"""Pictures with which nodes are ranked by their error, which varies little from picture to picture."""
_USUAL = QuantizeSettings()


def quantize(
    bundle: Path | str,
    data: EvaluationData | Path | str,
    *,
    eval_data: EvaluationData | Path | str | None = None,
    settings: QuantizeSettings = _USUAL,
    progress: Progress = show_nothing,
) -> Contract:
    """Quantize the network of a bundle to 8 bits after its training, and add the int8 artefacts to the bundle.

    Args:
        bundle: folder of a bundle with the artefact `onnx-fp32`.
        data: calibration pictures: the train split of anything that `parckit.evaluate` takes, or a folder of pictures.
        eval_data: pictures that the drop is measured on, for `settings.max_drop`: the val split of a source, because
            nodes are chosen on them. They must not be calibration pictures.
        settings: how to quantize.
        progress: gets the pictures while they are used.

    Returns:
        The contract of the bundle with the new artefacts.

    Raises:
        InputError: if the bundle has no such artefact, or has one in ONNX that was trained in int8, the data cannot be
            opened, or evaluation pictures are calibration pictures; if the bundle cannot be written, or has an int8
            artefact for other engines that would be replaced; or if `keep_if_faster` has nothing to time.
        MissingExtraError: if a package that writes the files of an engine is not installed.
        AccuracyError: if an int8 artefact has too few answers in common with the float network, or its score falls too
            much. Nothing is added.
    """
    # Check what can be checked before the work.
    refuse_wrong_drop(settings, has_eval_data=eval_data is not None)
    planned = plan_writers(settings.engines)
    network = open_float(Path(bundle))
    check_folder(network.bundle, option="bundle")
    refuse_plan(settings, network, planned)
    with workplace() as work:
        pictures = choose_pictures(network, data, settings=settings, work=work, progress=progress)
        yardstick = yardstick_of(network, pictures, progress=progress)
        sources = {
            is_for_onnx: prepare(network, pictures, settings=settings, progress=progress, is_for_onnx=is_for_onnx)
            for is_for_onnx in {takes_onnx_graph(module): None for module in planned}
        }
        if eval_data is not None:
            sources = {True: raise_fewest(sources[True], network, eval_data, progress=progress)}
        made: list[tuple[Artefact, Path]] = []
        for number, (module, engines) in enumerate(planned.items()):
            folder = work / str(number)
            folder.mkdir()
            artefact = load_writer(engines[0]).write(sources[takes_onnx_graph(module)], folder=folder)
            made.append(
                (checked(artefact, network, yardstick, engines=engines, folder=folder, settings=settings), folder)
            )
        return _add(made, network, settings=settings)


def _add(made: Sequence[tuple[Artefact, Path]], network: FloatNetwork, *, settings: QuantizeSettings) -> Contract:
    """Add checked artefacts, each with the folder of its files, to the bundle, and return its contract."""
    contract = network.contract
    for artefact, folder in made:
        if settings.keep_if_faster and not is_faster(artefact):
            engines = ", ".join(check.engine for check in artefact.checks if "speedup" in check.figures)
            _log.warning("%s was not added: it is not clearly faster than float32 in %s", artefact.name, engines)
            continue
        if artefact.name in {other.name for other in contract.artefacts}:
            _log.warning("%s replaces the one that the bundle had", artefact.name)
        contract = add_artefact(network.bundle, artefact, made_in=folder)
    return contract


def find_sensitivity(
    bundle: Path | str,
    data: EvaluationData | Path | str,
    *,
    file: Path,
    settings: QuantizeSettings = _USUAL,
    progress: Progress = show_nothing,
) -> Sensitivity:
    """Measure what the quantization of every node of a bundle's network costs. The bundle is not changed.

    Args:
        bundle: as in `quantize`.
        data: as in `quantize`. The measurements are made on pictures that do not calibrate.
        file: JSON file of the results; see `measure_sensitivity`.
        settings: how to quantize.
        progress: gets the pictures and nodes while they are used.

    Raises:
        InputError: as `quantize`, or if there are no pictures to measure on, or the file is something else or holds
            results of other settings.
    """
    network = open_float(Path(bundle))
    refuse_trained(network, advice="its nodes cannot be measured one by one")
    settings = replace(settings, engines=(ENGINE,))  # it runs the measurements, so its form of the graph counts
    with workplace() as work:
        pictures = choose_pictures(network, data, settings=settings, work=work, progress=progress)
        yardstick = yardstick_of(network, pictures, progress=progress)
        if yardstick is None:
            source = name_source(usual_data(data, split="train").source)
            raise InputError(f"{source}: no picture is left to measure on; the calibration needs one, too")
        fingerprint = fingerprint_of(network, pictures, settings)
        refuse_other_results(file, fingerprint)
        return measure_sensitivity(
            prepare(network, pictures, settings=settings, progress=progress),
            yardstick,
            file=file,
            fingerprint=fingerprint,
            track=partial(progress, description="measuring nodes"),
        )


def raise_fewest(
    source: QuantizationSource, network: FloatNetwork, data: EvaluationData | Path | str, *, progress: Progress
) -> QuantizationSource:
    """Return the network with the fewest nodes raised so that the drop on evaluation data is small enough.

    Raises:
        InputError: if evaluation pictures are calibration pictures.
        AccuracyError: if no raise helps.
    """
    table, has_labels = open_table(usual_data(data, split="val"), network.spec)
    hashed = progress(range(len(table.targets)), description="comparing evaluation pictures with calibration pictures")
    refuse_shared_pictures(source, digests_of(table, hashed))
    yardstick = Yardstick(
        network.session,
        table,
        has_labels=has_labels,
        track=partial(progress, description="reading evaluation pictures"),
    )
    most = source.settings.max_drop or 0.0
    raised_to: Bits = 16 if source.settings.raise_to == "int16" else None

    def rank() -> list[str]:
        trial = Trial(source, yardstick.part(_RANKING_PICTURES))
        return rank_nodes(trial, source.scheme.bits, track=partial(progress, description="ranking nodes"))

    return mix(source, yardstick, rank, most=most, raised_to=raised_to)


def checked(
    artefact: Artefact,
    network: FloatNetwork,
    yardstick: Yardstick | None,
    *,
    engines: tuple[str, ...],
    folder: Path,
    settings: QuantizeSettings,
) -> Artefact:
    """Return an artefact with its checks, one an engine.

    Raises:
        AccuracyError: if it does not pass one.
    """
    checks: list[Check] = []
    for engine in engines:
        check = check_int8(yardstick, artefact, network.spec, folder=folder, engine=engine, settings=settings)
        refuse_collapse(check, artefact)
        places = {"bundle": network.bundle, "folder": folder}
        checks.append(timed(check, artefact, network.contract, **places, seconds=settings.seconds))
    return replace(artefact, checks=tuple(checks))
