"""The result of a check in words, for pages and terminals."""

from dataclasses import dataclass

from parckit.contract import Artefact, Check
from parckit.processing import CLASS_MAP


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckText:
    """A check in words. What was not measured is empty.

    Attributes:
        compared_with: what the artefact's outputs were compared with.
        result: `equal`, `differs`, or why the check was not run.
        difference: the largest difference of an output; or which share of the detections or pixels differs.
        accepted: the largest difference that is accepted.
        memory: the peak memory of one inference.
    """

    compared_with: str
    result: str
    difference: str
    accepted: str
    memory: str


def describe_check(check: Check, artefact: Artefact) -> CheckText:
    """Return the check of an artefact in words."""
    figures = check.figures
    memory = figures.get("peak_memory_bytes")
    return CheckText(
        compared_with="the raw maps decoded in numpy" if artefact.decodes_inside else "torch",
        result=f"not run: {check.reason}" if check.passed is None else "equal" if check.passed else "differs",
        difference=_difference(figures["max_abs"], artefact) if "max_abs" in figures else "",
        accepted=_difference(figures["tolerance"], artefact) if "tolerance" in figures else "",
        memory="" if memory is None else f"{memory / 1e6:.0f} MB",
    )


def _difference(value: float, artefact: Artefact) -> str:
    """Return a difference as a number, or as a share of the things that are compared one by one."""
    if artefact.decoder.name == CLASS_MAP:
        return f"{100 * value:.3g} % of the pixels"
    return f"{value:.1e}" if artefact.runs_in_chunks else f"{100 * value:.3g} % of the detections"
