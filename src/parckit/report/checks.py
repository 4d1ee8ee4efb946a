"""The result of a check in words, for pages and terminals."""

from dataclasses import dataclass

from parckit.contract import Check


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckText:
    """A check in words. What was not measured is empty.

    Attributes:
        result: `equal`, `differs`, or why the check was not run.
        difference: the largest difference.
        accepted: the largest difference that is accepted.
        memory: the peak memory of one inference.
    """

    result: str
    difference: str
    accepted: str
    memory: str


def describe_check(check: Check) -> CheckText:
    """Return a check in words."""
    figures = check.figures
    memory = figures.get("peak_memory_bytes")
    return CheckText(
        result=f"not run: {check.reason}" if check.passed is None else "equal" if check.passed else "differs",
        difference=f"{figures['max_abs']:.1e}" if "max_abs" in figures else "",
        accepted=f"{figures['tolerance']:.1e}" if "tolerance" in figures else "",
        memory="" if memory is None else f"{memory / 1e6:.0f} MB",
    )
