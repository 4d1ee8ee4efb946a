"""Collect everything that a page can show from the folder of a run or a bundle."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from parckit.contract import (
    AVERAGE,
    BEST,
    CONFIG,
    CONTRACT_FILE,
    LAST,
    LOGS,
    AbsentError,
    Contract,
    InputError,
    NetworkSpec,
    read_contract,
)
from parckit.data import Batch
from parckit.measure import cost
from parckit.measure.curve import CurveRow, read_run
from parckit.measure.environment import describe
from parckit.measure.evaluation import EvaluationData, Track
from parckit.measure.records import Record, machine_name, read_records
from parckit.networks import open_checkpoint
from parckit.options import read_yaml
from parckit.report.belonging import Networks
from parckit.report.board_tables import BoardSpeed, board_speeds_of
from parckit.report.mistakes import Answer, Judged, evaluate_with_answers
from parckit.report.recorded import Accuracy, accuracies_of, accuracy_of, label_of
from parckit.report.recorded_profile import Profiled, profiles_of
from parckit.report.recorded_speed import Speed, speeds_of
from parckit.runtimes import Session, open_session

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """The folder of a training and its content.

    Attributes:
        folder: the folder.
        curve: all logged values.
        config: the complete recipe.
        checkpoint: the best checkpoint in the folder; None if there is no checkpoint yet.
    """

    folder: Path
    curve: tuple[CurveRow, ...]
    config: Mapping[str, object]
    checkpoint: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFolder:
    """The folder of a bundle and its content.

    Attributes:
        folder: the folder.
        contract: the description of the network and its artefacts.
    """

    folder: Path
    contract: Contract


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Everything that was collected. An attribute is None or empty if the folder does not have such a thing.

    Attributes:
        path: the folder.
        run: the training.
        bundles: the bundles.
        spec: describes the network.
        params: number of learned parameters.
        madds: multiply-adds for one image, counted on the convolution form with all taps.
        accuracies: accuracy of checkpoint and artefacts; results that were measured now come first.
        speeds: latency and throughput of checkpoint and artefacts.
        profiles: where the time of checkpoint and artefacts goes.
        boards: latency and throughput on boards.
        records: all records that lie there; those that these numbers come from are among them.
        answers: the worst mistakes of the network of the first accuracy, if it was measured now.
        typical: its answers for pictures that were drawn at random.
        left_out: sentences that say what could not be evaluated, and why.
    """

    path: Path
    run: RunFolder | None
    bundles: tuple[BundleFolder, ...]
    spec: NetworkSpec | None = None
    params: int | None = None
    madds: int | None = None
    accuracies: tuple[Accuracy, ...] = ()
    speeds: tuple[Speed, ...] = ()
    profiles: tuple[Profiled, ...] = ()
    boards: tuple[BoardSpeed, ...] = ()
    records: tuple[Record, ...] = ()
    answers: tuple[Answer, ...] = ()
    typical: tuple[Answer, ...] = ()
    left_out: tuple[str, ...] = ()


def gather(path: Path, *, data: EvaluationData | None = None, track: Track[Batch] = iter) -> Findings:
    """Collect the findings of a folder.

    Args:
        path: a run, a bundle, or a folder that contains one run and its bundles, like that of `parckit quickstart`.
        data: labelled data to evaluate on now; None takes all numbers from records.
        track: gets the batches while they are evaluated.

    Raises:
        InputError: if there is no run and no bundle at `path`, something in it is damaged, or the data does not fit.
        AbsentError: if data is to be evaluated, and no engine of what is there can run here.
    """
    findings = _add_cost(_read(path))
    # Nothing is written into a bundle, so its records lie beside it. Records of other bundles may lie there, too.
    is_bundle_itself = findings.run is None and findings.bundles[0].folder == path
    records = read_records(path.resolve().parent if is_bundle_itself else path)
    networks = Networks(
        bundles={bundle.folder.resolve().name: bundle.contract for bundle in findings.bundles},
        folder=None if findings.run is None else findings.run.folder,
        only_these=is_bundle_itself,
    )
    entries = networks.belonging(
        [*accuracies_of(records), *speeds_of(records), *profiles_of(records), *board_speeds_of(records)]
    )
    findings = replace(
        findings,
        records=records,
        accuracies=tuple(entry for entry in entries if isinstance(entry, Accuracy)),
        speeds=tuple(entry for entry in entries if isinstance(entry, Speed)),
        profiles=tuple(entry for entry in entries if isinstance(entry, Profiled)),
        boards=tuple(entry for entry in entries if isinstance(entry, BoardSpeed)),
    )
    return findings if data is None else _evaluate(findings, data, track=track)


def is_run(folder: Path) -> bool:
    """Return whether a folder is the folder of a training."""
    return (folder / CONFIG).is_file() and ((folder / LOGS).is_dir() or (folder / BEST).is_file())


def is_bundle(folder: Path) -> bool:
    """Return whether a folder is a bundle."""
    return (folder / CONTRACT_FILE).is_file()


def _read(path: Path) -> Findings:
    """Read the run and the bundles of a folder."""
    if not path.is_dir():
        problem = "a file" if path.exists() else "no such folder"
        raise InputError(f"{path}: {problem}; needed is the folder of a run or a bundle")
    inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    runs = [path] if is_run(path) else [folder for folder in inside if is_run(folder)]
    bundles = [path] if is_bundle(path) else [folder for folder in inside if is_bundle(folder)]
    if len(runs) > 1:
        raise InputError(f"{path}: holds several runs ({', '.join(folder.name for folder in runs)}); name one of them")
    if not runs and not bundles:
        raise InputError(f"{path}: neither a run ({CONFIG}, {LOGS}) nor a bundle ({CONTRACT_FILE})")
    return Findings(
        path=path,
        run=_read_run(runs[0]) if runs else None,
        bundles=tuple(BundleFolder(folder=folder, contract=read_contract(folder)) for folder in bundles),
    )


def _read_run(folder: Path) -> RunFolder:
    config = read_yaml(folder / CONFIG)
    # If several of the best checkpoints were kept, there is no BEST, and their average comes first.
    checkpoints = [folder / name for name in (BEST, AVERAGE, LAST) if (folder / name).is_file()]
    return RunFolder(
        folder=folder,
        curve=tuple(read_run(folder)),
        config=cast("Mapping[str, object]", config) if isinstance(config, Mapping) else {},
        checkpoint=checkpoints[0] if checkpoints else None,
    )


def _add_cost(findings: Findings) -> Findings:
    """Add the spec and the cost of the network: from a bundle, or from the checkpoint if there is no bundle."""
    if findings.bundles:
        contract = findings.bundles[0].contract
        return replace(findings, spec=contract.spec, params=contract.params, madds=contract.madds)
    if findings.run is None or findings.run.checkpoint is None:
        return findings
    network, spec = open_checkpoint(findings.run.checkpoint)
    total = cost.count(network, size=spec.preprocessing.size, channels=spec.preprocessing.channels)
    return replace(findings, spec=spec, params=total.params, madds=total.madds)


def _evaluate(findings: Findings, data: EvaluationData, *, track: Track[Batch]) -> Findings:
    """Evaluate all artefacts and the checkpoint. Artefacts come first, because they are what users will run.

    Artefacts whose engine cannot run here are left out, unless nothing else can be evaluated.
    """
    here = describe()
    measured: list[Accuracy] = []
    first: Judged | None = None
    sessions, missing = _sessions(findings)
    for model, session in sessions:
        judged = evaluate_with_answers(session, data, track=track)
        first = first or judged
        machine = machine_name(here.cpu, here.usable_cores)
        measured.append(accuracy_of(judged.evaluation, model=model, machine=machine, date=here.date))
    if first is None:
        if missing:
            raise next(iter(missing.values()))
        raise InputError(f"{findings.path}: --data {data.source}: there is nothing to evaluate yet, no checkpoint")
    for name, error in missing.items():
        _log.warning("%s is not evaluated: %s", name, error)
    left_out = [f"{name} was not evaluated, because {error.obstacle}." for name, error in missing.items()]
    kept = [entry for entry in findings.accuracies if not any(entry.repeats(new) for new in measured)]
    accuracies = (*measured, *kept)
    return replace(
        findings, accuracies=accuracies, answers=first.worst, typical=first.typical, left_out=tuple(left_out)
    )


def _sessions(findings: Findings) -> tuple[list[tuple[str, Session]], dict[str, AbsentError]]:
    """Open all artefacts and the checkpoint.

    Returns:
        The name of the bundle or checkpoint and its session, for what can be opened; and for every artefact whose
        engine cannot run here, the error.
    """
    sessions: list[tuple[str, Session]] = []
    missing: dict[str, AbsentError] = {}
    for bundle in findings.bundles:
        name = bundle.folder.resolve().name
        for artefact in bundle.contract.artefacts:
            try:
                sessions.append((name, open_session(bundle.folder, artefact=artefact.name)))
            except AbsentError as error:
                missing[label_of(name, artefact.name)] = error
    if findings.run is not None and findings.run.checkpoint is not None:
        sessions.append((findings.run.checkpoint.name, open_session(findings.run.checkpoint)))
    return sessions, missing
