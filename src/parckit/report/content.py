"""The content of a page about a run or a bundle: findings as words, tables and pictures."""

from math import isfinite
from pathlib import Path

from parckit.measure.cost import format_count
from parckit.measure.timings import Timing
from parckit.report.bars import latency_bars
from parckit.report.card import make_card, make_provenance
from parckit.report.curves import training_curve
from parckit.report.gather import Findings
from parckit.report.mistakes import Answer
from parckit.report.page import Gallery, Headline, Picture, Report, Tile, write_report
from parckit.report.recorded import Accuracy
from parckit.report.results import ResultPicture, result_view
from parckit.report.story import Story
from parckit.report.tables import describe_measurement, detailed, make_tables, metric_title

_NO_STORY = Story()
_DRAWN = ("train_loss", "val_", "lr")
"""First letters of the names of logged values that a training curve draws."""


def write_page(path: Path, findings: Findings, *, story: Story = _NO_STORY) -> None:
    """Write the page about the findings. Parts without findings are left out."""
    write_report(path, make_report(findings, story=story))


def make_report(findings: Findings, *, story: Story = _NO_STORY) -> Report:
    """Turn findings into the parts of a page."""
    return Report(
        title=story.title or _title(findings),
        summary=_summary(findings),
        headlines=(*_headlines(findings), *story.headlines),
        pictures=_pictures(findings),
        tables=make_tables(findings),
        gallery=_gallery(findings),
        card=make_card(findings, story),
        provenance=make_provenance(findings, story),
    )


def _title(findings: Findings) -> str:
    name = findings.path.resolve().name
    return name if findings.spec is None else f"{findings.spec.backbone}: {name}"


def _summary(findings: Findings) -> str:
    """Return the result in a few sentences."""
    sentences: list[str] = []
    epochs = _epochs(findings)
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


def _epochs(findings: Findings) -> int:
    epochs = [row.epoch for row in (findings.run.curve if findings.run else ()) if row.epoch is not None]
    return 1 + max(epochs) if epochs else 0


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
        fastest = min(findings.speeds, key=lambda speed: speed.timings[0].p50_ms)
        timing = fastest.timings[0]
        note = f"{fastest.engine.split()[0]}, {_threads(timing)}"
        headlines.append(Headline(label="Latency, p50", value=f"{timing.p50_ms:.2f} ms", note=note))
    if findings.params is not None and findings.madds is not None:
        headlines.append(Headline(label="Parameters", value=format_count(findings.params)))
        headlines.append(Headline(label="Multiply-adds", value=format_count(findings.madds), note="for one image"))
    return tuple(headlines)


def _scientific(value: float) -> str:
    """Return a number as `1.8e−04`. A line can break after a hyphen, so the sign is a true minus."""
    return f"{value:.1e}".replace("-", "−")


def _pictures(findings: Findings) -> tuple[Picture, ...]:
    pictures: list[Picture] = []
    curve = findings.run.curve if findings.run else ()
    if any(name.startswith(_DRAWN) and isfinite(value) for row in curve for name, value in row.values.items()):
        averaged = findings.run is not None and findings.run.config.get("ema") is not None
        pictures.append(
            Picture(
                title="Training",
                figure=training_curve(curve),
                alt=f"Loss, validation and learning rate over {_epochs(findings)} epochs.",
                caption="Validation uses the averaged weights. The checkpoint contains them, too." if averaged else "",
            )
        )
    accuracy = detailed(findings)
    if accuracy is not None and findings.spec is not None:
        pictures += [_result(accuracy, picture) for picture in result_view(findings.spec.task).pictures]
    if findings.speeds:
        pictures.append(_latency(findings))
    return tuple(pictures)


def _result(accuracy: Accuracy, picture: ResultPicture) -> Picture:
    return Picture(
        title=picture.title.capitalize(),
        figure=picture.draw(accuracy.tables, accuracy.labels),
        alt=picture.describe(accuracy.tables),
        caption=picture.note + describe_measurement(accuracy),
    )


def _threads(timing: Timing) -> str:
    return f"{timing.threads} thread{'' if timing.threads == 1 else 's'}"


def _latency(findings: Findings) -> Picture:
    bars = [
        ("\n".join(filter(None, (speed.label, f"{speed.engine.split()[0]}, {_threads(timing)}"))), timing)
        for speed in findings.speeds
        for timing in speed.timings
    ]
    return Picture(
        title="Latency",
        figure=latency_bars(
            [name for name, _ in bars],
            p50_ms=[timing.p50_ms for _, timing in bars],
            p95_ms=[timing.p95_ms for _, timing in bars],
        ),
        alt="Median and 95th percentile of the latency, by engine and number of threads.",
        caption="Time of one run after warm-up, with no other run in parallel.",
    )


def _gallery(findings: Findings) -> Gallery | None:
    if not findings.answers:
        return None
    mistakes = sum(not answer.is_right for answer in findings.answers)
    doubtful = len(findings.answers) - mistakes
    view = result_view("classify" if findings.spec is None else findings.spec.task)
    parts = [f"mistakes with the highest {view.rank_title}"] * bool(mistakes)
    parts += [f"right answers with the lowest {view.rank_title}"] * bool(doubtful)
    accuracy = findings.accuracies[0]
    return Gallery(
        title="Worst mistakes" if mistakes else "Least sure answers",
        tiles=tuple(map(_tile, findings.answers)),
        caption=(
            f"The network's inputs: {', then '.join(parts)}. The percentage is the {view.rank_title}. Network: "
            f"{accuracy.label} with {accuracy.engine}. {view.legend}"
        ).strip(),
        is_large=bool(view.legend),
    )


def _tile(answer: Answer) -> Tile:
    truth = "" if answer.is_right else f"true: {answer.truth}, "
    return Tile(
        pixels=answer.pixels,
        heading=f"{'✓' if answer.is_right else '✗'} {answer.prediction}",
        note=f"{truth}{100 * answer.rank_value:.0f} %",
        is_marked=not answer.is_right,
    )
