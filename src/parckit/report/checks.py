"""The result of a check in words, for pages and terminals."""

from collections.abc import Mapping
from dataclasses import dataclass

from parckit.contract import Artefact, Check, Task
from parckit.processing import CLASS_MAP

AGREEMENTS: Mapping[Task, str] = {
    "classify": "the share of pictures with the same best class",
    "multilabel": "the share of pictures with the same labels",
    "detect": "the share of boxes that both found, with the same class and nearly the same place and score",
    "segment": "the share of pixels of the network's maps with the same class",
}
"""Task -> what the agreement of two engines is, after decoding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckText:
    """A check in words. What was not measured is empty.

    Attributes:
        engine: name and version of the engine.
        compared_with: what the artefact's outputs were compared with.
        result: `equal`, for int8 `close enough`, `differs`, or why the check was not run.
        difference: the largest difference of an output; or which share of the detections or pixels differs.
        accepted: the largest difference that is accepted.
        mean: the mean difference of an output.
        cosine: the lowest cosine between the outputs for one picture.
        agreement: which share of the decoded answers is the same; `AGREEMENTS` says what is counted.
        scores: the main score of the float32 network and of the int8 one.
        speed: how many times faster int8 is than float32 in the engine, with the interval.
        memory: the peak memory of one inference.
    """

    engine: str
    compared_with: str
    result: str
    difference: str
    accepted: str
    mean: str
    cosine: str
    agreement: str
    scores: str
    speed: str
    memory: str


def describe_check(check: Check, artefact: Artefact) -> CheckText:
    """Return the check of an artefact in words."""
    figures = check.figures
    memory = figures.get("peak_memory_bytes")
    return CheckText(
        engine=f"{check.engine} {check.version}".strip(),
        compared_with=_reference(artefact),
        result=_result(check, artefact),
        difference=_difference(figures["max_abs"], artefact) if "max_abs" in figures else "",
        accepted=_difference(figures["tolerance"], artefact) if "tolerance" in figures else "",
        mean=_told(figures, "mean_abs", "{:.1e}"),
        cosine=_told(figures, "cosine", "{:.6f}"),
        agreement=_told(figures, "agreement", "{:.1%}"),
        scores=_scores(figures),
        speed=_speed(figures),
        memory="" if memory is None else f"{memory / 1e6:.0f} MB",
    )


def _result(check: Check, artefact: Artefact) -> str:
    if check.passed is None:
        return f"not run: {check.reason}"
    # Rounding to 8 bits changes all outputs a little, and some answers.
    same = "close enough" if artefact.precision == "int8" else "equal"
    return same if check.passed else "differs"


def _reference(artefact: Artefact) -> str:
    """Return what the outputs of an artefact are compared with."""
    if artefact.is_trained_in_int8:
        return "torch with fake quantizers"
    if artefact.precision == "int8":
        return "float32"
    return "the raw maps decoded in numpy" if artefact.decodes_inside else "torch"


def _told(figures: Mapping[str, float], name: str, form: str) -> str:
    """Return a figure as text; empty if it was not measured."""
    return form.format(figures[name]) if name in figures else ""


def _scores(figures: Mapping[str, float]) -> str:
    """Return the scores of a network in float32 and int8; empty if they were not measured."""
    if "int8_score" not in figures:
        return ""
    return f"{figures['float_score']:.2f} % in float32, {figures['int8_score']:.2f} % in int8"


def _speed(figures: Mapping[str, float]) -> str:
    """Return how many times faster int8 is than float32; empty if it was not measured."""
    if "speedup" not in figures:
        return ""
    low, high = figures["speedup_low"], figures["speedup_high"]
    verdict = "faster" if low > 1 else "SLOWER" if high < 1 else "as fast"
    times = f"{figures['int8_ms']:.2f} ms, float32 {figures['float_ms']:.2f} ms"
    return f"{verdict}: {times}, ratio {figures['speedup']:.2f} (95 %: {low:.2f} to {high:.2f})"


def _difference(value: float, artefact: Artefact) -> str:
    """Return a difference as a number, or as a share of the things that are compared one by one."""
    if artefact.decoder.name == CLASS_MAP:
        return f"{100 * value:.3g} % of the pixels"
    return f"{value:.1e}" if artefact.runs_in_chunks else f"{100 * value:.3g} % of the detections"


def describe_failure(check: Check, artefact: Artefact) -> str:
    """Return in one line why an artefact did not pass a check."""
    figures, text = check.figures, describe_check(check, artefact)
    over = f"over {figures['images']:.0f} images"
    faults = [f"{artefact.name} differs from {text.compared_with} {over}"]
    if check.reason is not None:
        faults.append(check.reason)
    elif figures.get("max_abs", 0) > figures.get("tolerance", 0):
        by = f"by {text.difference} {over}, accepted is {text.accepted}"
        faults = [f"{artefact.name} differs from {text.compared_with} {by}"]
    if figures.get("agreement", 1) < figures.get("least_agreement", 0):
        faults.append(
            f"only {text.agreement} of the answers are the same, accepted is {figures['least_agreement']:.1%}"
        )
    if figures.get("cosine", 1) < figures.get("least_cosine", -1):
        cosine = text_below(figures["cosine"], figures["least_cosine"])
        faults.append(f"the lowest cosine is {cosine}, accepted is {figures['least_cosine']}")
    return "; ".join(faults)


def text_below(value: float, limit: float) -> str:
    """Return a value with six decimals, or with as many as it needs to be below a limit as a text, too."""
    texts = (f"{value:.{decimals}f}" for decimals in range(6, 17))
    return next((text for text in texts if float(text) < limit), str(value))
