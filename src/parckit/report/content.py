"""The content of a page about a run or a bundle: findings as words, tables and pictures."""

from pathlib import Path

from parckit.measure.cost import format_count
from parckit.report.card import make_card, make_provenance
from parckit.report.gather import Findings
from parckit.report.page import Headline, Report, write_report
from parckit.report.sections import count_epochs, count_threads, make_sections
from parckit.report.story import Story
from parckit.report.tables import metric_title

_NO_STORY = Story()


def write_page(path: Path, findings: Findings, *, story: Story = _NO_STORY) -> None:
    """Write the page about the findings. Parts without findings are left out."""
    write_report(path, make_report(findings, story=story))


def make_report(findings: Findings, *, story: Story = _NO_STORY) -> Report:
    """Turn findings into the parts of a page."""
    return Report(
        title=story.title or _title(findings),
        summary=_summary(findings),
        headlines=(*_headlines(findings), *story.headlines),
        sections=make_sections(findings),
        card=make_card(findings, story),
        provenance=make_provenance(findings, story),
    )


def _title(findings: Findings) -> str:
    name = findings.path.resolve().name
    return name if findings.spec is None else f"{findings.spec.backbone}: {name}"


def _summary(findings: Findings) -> str:
    """Return the result in a few sentences."""
    sentences: list[str] = []
    epochs = count_epochs(findings)
    if epochs:
        sentences.append(f"Trained for {epochs} epoch{'' if epochs == 1 else 's'}.")
    if findings.accuracies:
        sentences.append(_tell_accuracy(findings))
    checks = [
        check
        for bundle in findings.bundles
        for artefact in bundle.contract.artefacts
        for check in artefact.checks
        if check.passed is not None
    ]
    if checks:
        equal = all(check.passed for check in checks)
        compared = "give the same outputs as" if equal else "do not all give the same outputs as"
        sentences.append(f"The exported artefacts {compared} torch, within the accepted difference.")
    return " ".join(sentences)


def _tell_accuracy(findings: Findings) -> str:
    accuracy = findings.accuracies[0]
    name, value = next(iter(accuracy.scalars.items()), ("", 0.0))
    result = f"{metric_title(findings, name)} {value:.2f} % " if name else "Evaluated "
    return f"{result}on {accuracy.images} images of {accuracy.source} ({accuracy.served}), with {accuracy.engine}."


def _headlines(findings: Findings) -> tuple[Headline, ...]:
    """Return the most important numbers: accuracy, difference from torch, latency and cost."""
    # The first result of the first two evaluations.
    headlines: list[Headline] = []
    for accuracy in findings.accuracies[:2]:
        for name, value in list(accuracy.scalars.items())[:1]:
            label = f"{metric_title(findings, name)}, {accuracy.engine.split()[0]}"
            headlines.append(Headline(label=label, value=f"{value:.2f} %", note=f"{accuracy.images} images"))
    # The first check that has figures.
    checks = [check for bundle in findings.bundles for check in bundle.contract.artefacts[0].checks]
    for figures in [check.figures for check in checks if {"max_abs", "tolerance"} <= check.figures.keys()][:1]:
        note = f"accepted {_scientific(figures['tolerance'])}"
        headlines.append(Headline(label="Difference from torch", value=_scientific(figures["max_abs"]), note=note))
    # The fastest network, and the cost of all.
    if findings.speeds:
        fastest = min(findings.speeds, key=lambda speed: speed.timings[0].image_p50_ms)
        timing = fastest.timings[0]
        note = f"{fastest.engine.split()[0]}, {count_threads(timing)}"
        label = "Latency, p50" if timing.batch_size == 1 else "Time for one image, p50"
        headlines.append(Headline(label=label, value=f"{timing.image_p50_ms:.2f} ms", note=note))
    if findings.params is not None and findings.madds is not None:
        headlines.append(Headline(label="Parameters", value=format_count(findings.params)))
        headlines.append(Headline(label="Multiply-adds", value=format_count(findings.madds), note="for one image"))
    return tuple(headlines)


def _scientific(value: float) -> str:
    """Return a number as `1.8e−04`. A line can break after a hyphen, so the sign is a true minus."""
    return f"{value:.1e}".replace("-", "−")
