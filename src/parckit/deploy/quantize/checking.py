"""The check of an int8 artefact: answers, and the task's metric, on pictures that did not calibrate it."""

import logging
from collections.abc import Mapping
from pathlib import Path

from parckit.contract import Artefact, Check, NetworkSpec
from parckit.deploy.errors import ExportError
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.yardstick import Measure, Yardstick
from parckit.deploy.unrun import skipped_check
from parckit.measure.memory import can_measure_memory, peak_memory
from parckit.runtimes import open_artefact

_log = logging.getLogger(__name__)

_ROUNDING = 1e-3
"""Percentage points by which the last digits of a score may be wrong."""


class AccuracyError(ExportError):
    """The int8 network gives other answers than the float one."""


def check_int8(
    yardstick: Yardstick | None,
    artefact: Artefact,
    spec: NetworkSpec,
    *,
    folder: Path,
    engine: str,
    settings: QuantizeSettings,
) -> Check:
    """Compare an int8 artefact, run by an engine, with the float network.

    Args:
        yardstick: the pictures; None if none are left.
        artefact: the artefact; its files are in `folder`.
        spec: describes the network.
        folder: folder of the files.
        engine: name of the engine.
        settings: say which difference is accepted.

    Returns:
        The check, with the figures of `figures_of` and the peak memory.
    """
    if (skipped := skipped_check(engine, done="quantized")) is not None:
        return skipped
    if yardstick is None:
        _log.warning("%s was not checked: no picture was left for the check", artefact.name)
        return Check(engine=engine, passed=None, reason="no picture was left for the check")
    memory = {}
    if can_measure_memory():
        memory = {"peak_memory_bytes": float(peak_memory(folder, artefact, spec, engine=engine))}
    session = open_artefact(folder, artefact, spec, engine=engine)
    measure = yardstick.measure(session)
    name, _, version = session.engine.partition(" ")
    figures = {**figures_of(measure, yardstick.reference, images=yardstick.images, settings=settings), **memory}
    if measure.agreement is None:
        reason = "the float network gives no answer for the pictures, so there is nothing to compare"
        return Check(engine=name, version=version, passed=None, figures=figures, reason=reason)
    return Check(engine=name, version=version, passed=not faults_of(figures), figures=figures)


def figures_of(measure: Measure, reference: Measure, *, images: int, settings: QuantizeSettings) -> dict[str, float]:
    """Return what was measured, and what is accepted, by name.

    Args:
        measure: the int8 network.
        reference: the float network.
        images: number of pictures.
        settings: say which difference is accepted.

    Returns:
        `images`; `sqnr`, decibels; `agreement` and `least_agreement`; with labels `float_score` and `int8_score`, the
        main metric of the task in percent, and `accepted_drop`, percentage points.
    """
    figures = {"images": float(images), "sqnr": measure.sqnr, "least_agreement": settings.least_agreement}
    if measure.agreement is not None:
        figures["agreement"] = measure.agreement
    if measure.score is not None and reference.score is not None:
        # A single picture decides nothing, however few there are.
        accepted = max(settings.accepted_drop, settings.max_drop or 0.0, 100.0 / images)
        figures |= {"float_score": reference.score, "int8_score": measure.score, "accepted_drop": accepted}
    return figures


def faults_of(figures: Mapping[str, float]) -> list[str]:
    """Return in words by which figures an int8 network differs too much from the float one."""
    faults: list[str] = []
    if figures["agreement"] < figures["least_agreement"]:
        share, least = figures["agreement"], figures["least_agreement"]
        faults.append(f"only {share:.1%} of its answers are those of the float network, accepted is {least:.1%}")
    if "int8_score" in figures:
        before, after, accepted = (figures[name] for name in ("float_score", "int8_score", "accepted_drop"))
        scores = f"from {before:.2f} to {after:.2f} %"
        if before - after > accepted + _ROUNDING:
            faults.append(f"the score falls {scores}, at most {accepted:.3g} points are accepted")
        elif faults:
            faults.append(f"the score goes {scores}")
    return faults


def refuse_collapse(check: Check, artefact: Artefact) -> None:
    """Raise AccuracyError if an artefact did not pass its check."""
    if check.passed is not False:
        return
    raise AccuracyError(
        f"{artefact.name}: on {check.figures['images']:.0f} other pictures {'; '.join(faults_of(check.figures))}; "
        "nothing was added. --sensitivity shows the layers that break it, --max_drop raises them; a lower "
        "--least_agreement or a higher --accepted_drop accepts it"
    )
