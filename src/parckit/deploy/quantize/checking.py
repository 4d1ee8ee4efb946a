"""The check of an int8 artefact: answers, and the task's metric, on pictures that did not calibrate it."""

import logging
from pathlib import Path

from parckit.contract import Artefact, Check, NetworkSpec
from parckit.deploy.errors import ExportError
from parckit.deploy.quantize.yardstick import Measure, Yardstick
from parckit.measure.memory import can_measure_memory, peak_memory
from parckit.runtimes import Session, find_engine, load_engine

_log = logging.getLogger(__name__)


class AccuracyError(ExportError):
    """The int8 network gives other answers than the float one."""


def open_in(engine: str, artefact: Artefact, spec: NetworkSpec, *, folder: Path, threads: int | None = None) -> Session:
    """Open an artefact in an engine."""
    return load_engine(find_engine(engine), what=str(folder)).open_artefact(folder, artefact, spec, threads=threads)


def check_int8(
    yardstick: Yardstick | None, artefact: Artefact, spec: NetworkSpec, *, folder: Path, engine: str, least: float
) -> Check:
    """Compare an int8 artefact, run by an engine, with the float network.

    Args:
        yardstick: the pictures; None if none are left.
        artefact: the artefact; its files are in `folder`.
        spec: describes the network.
        folder: folder of the files.
        engine: name of the engine.
        least: least share of answers that the two must have in common.

    Returns:
        The figures: `agreement` and `least_agreement`; `sqnr`, decibels; with labels `float_score` and `int8_score`,
        the main metric of the task in percent.
    """
    package = find_engine(engine).package
    if not find_engine(engine).is_installed:
        _log.warning(
            "%s was not run: the package %s is not installed, so nobody knows whether it agrees", engine, package
        )
        return Check(
            engine=engine, passed=None, reason=f"the package {package} is not installed where it was quantized"
        )
    if yardstick is None:
        _log.warning("%s was not checked: all pictures were needed for the calibration", artefact.name)
        return Check(engine=engine, passed=None, reason="all pictures were needed for the calibration")
    memory = {}
    if can_measure_memory():
        memory = {"peak_memory_bytes": float(peak_memory(folder, artefact, spec, engine=engine))}
    session = open_in(engine, artefact, spec, folder=folder)
    measure = yardstick.measure(session)
    name, _, version = session.engine.partition(" ")
    figures = {"images": float(yardstick.images), **figures_of(measure, yardstick.reference, least=least), **memory}
    if measure.agreement is None:
        reason = "the float network gives no answer for the pictures, so there is nothing to compare"
        return Check(engine=name, version=version, passed=None, figures=figures, reason=reason)
    return Check(engine=name, version=version, passed=measure.agreement >= least, figures=figures)


def figures_of(measure: Measure, reference: Measure, *, least: float) -> dict[str, float]:
    """Return what was measured, by name."""
    figures = {"sqnr": measure.sqnr, "least_agreement": least}
    if measure.agreement is not None:
        figures["agreement"] = measure.agreement
    if measure.score is not None and reference.score is not None:
        figures |= {"float_score": reference.score, "int8_score": measure.score}
    return figures


def refuse_collapse(check: Check, artefact: Artefact) -> None:
    """Raise AccuracyError if an artefact did not pass its check."""
    if check.passed is not False:
        return
    figures = check.figures
    scores = ""
    if "int8_score" in figures:
        scores = f", and the score falls from {figures['float_score']:.2f} to {figures['int8_score']:.2f} %"
    raise AccuracyError(
        f"{artefact.name}: on {figures['images']:.0f} other pictures only {figures['agreement']:.1%} of its answers "
        f"are those of the float network, accepted is {figures['least_agreement']:.1%}{scores}; nothing was added. "
        "--sensitivity shows the layers that break it, --max_drop raises them, --least_agreement accepts less"
    )
