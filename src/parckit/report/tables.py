"""The tables of a page: accuracy, speed, artefacts and their checks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from parckit.contract import Artefact, Check
from parckit.report.checks import describe_check
from parckit.report.gather import BundleFolder, Findings
from parckit.report.page import Table
from parckit.report.recorded import Accuracy, Speed, label_of
from parckit.report.results import result_view, worst_rows

_MOST_CLASSES = 20
"""Most rows of the table of classes."""


def make_tables(findings: Findings) -> tuple[Table, ...]:
    """Return the tables that are not empty."""
    tables = (
        _accuracy(findings),
        _classes(findings),
        _latency(findings.speeds),
        _artefacts(findings.bundles),
        _checks(findings.bundles),
    )
    return tuple(table for table in tables if table.rows)


def metric_title(findings: Findings, name: str) -> str:
    """Return the name of a scalar as a heading."""
    title = name if findings.spec is None else result_view(findings.spec.task).titles.get(name, name)
    return heading(title)


def heading(text: str) -> str:
    """Return a text with a capital first letter, unless its first word is a name such as mAP."""
    is_word = text.partition(" ")[0].islower()
    return text[:1].upper() + text[1:] if is_word else text


def detailed(findings: Findings) -> Accuracy | None:
    """Return the first accuracy with tables; a record may be about another network, with other classes."""
    labels = () if findings.spec is None else findings.spec.labels
    return next((entry for entry in findings.accuracies if entry.tables and entry.labels == labels), None)


def describe_measurement(accuracy: Accuracy) -> str:
    """Return which network was measured, with which engine and on which images."""
    return f"{accuracy.label} with {accuracy.engine} on {accuracy.source}, {accuracy.served}."


def megabytes(file: Path) -> str:
    """Return the size of a file with its unit."""
    return f"{file.stat().st_size / 1e6:.2f} MB"


def _accuracy(findings: Findings) -> Table:
    accuracies = findings.accuracies
    names = list(dict.fromkeys(name for entry in accuracies for name in entry.scalars))
    rows = [
        (
            entry.label,
            entry.engine,
            *(f"{entry.scalars[name]:.2f}" if name in entry.scalars else "" for name in names),
            str(entry.images),
            f"{entry.source}, {entry.served}",
        )
        for entry in accuracies
    ]
    return Table(
        title="Accuracy",
        columns=("Network", "Engine", *(f"{metric_title(findings, name)}, %" for name in names), "Images", "Data"),
        rows=tuple(rows),
        caption=_measured(accuracies),
    )


def _classes(findings: Findings) -> Table:
    """Return the numbers of the classes that are recognised worst, from the first accuracy with tables."""
    accuracy = detailed(findings)
    if accuracy is None or findings.spec is None:
        return Table(title="Classes", columns=(), rows=())
    view = result_view(findings.spec.task)
    rates = [heading(rate) for rate in view.class_rates.values()]
    values = [heading(value) for value in view.class_values.values()]
    every = view.class_rows(accuracy.tables, accuracy.labels)
    rows = worst_rows(every, most=_MOST_CLASSES)
    few = f"The {len(rows)} of {len(every)} classes with the lowest {rates[-1]}. " if len(every) > len(rows) else ""
    return Table(
        title="Classes",
        columns=("Class", view.class_count[1].capitalize(), *(f"{rate}, %" for rate in rates), *values),
        rows=tuple((row.label, str(row.counted), *map(_percent, row.rates), *map(_number, row.values)) for row in rows),
        caption=few + describe_measurement(accuracy),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"


def _latency(speeds: Sequence[Speed]) -> Table:
    rows = [
        (
            speed.label or speed.engine,
            speed.engine,
            str(timing.threads),
            f"{timing.p50_ms:.2f}",
            f"{timing.p95_ms:.2f}",
            f"{timing.images_per_second:.0f}",
        )
        for speed in speeds
        for timing in speed.timings
    ]
    batches = sorted({timing.batch_size for speed in speeds for timing in speed.timings})
    images = "one image" if batches in ([], [1]) else f"a batch ({', '.join(map(str, batches))} images)"
    return Table(
        title="Latency and throughput",
        columns=("Network", "Engine", "Threads", "p50, ms", "p95, ms", "Images/s"),
        rows=tuple(rows),
        caption=(
            f"Latency is the time for {images}: the median and the 95th percentile. For N threads, the images per "
            f"second are those of N parallel workers with one thread each. {_measured(speeds)}"
        ),
    )


def _measured(entries: Iterable[Accuracy | Speed]) -> str:
    """Return a sentence that says where and when the numbers were measured."""
    places = dict.fromkeys(f"on {entry.machine}, {entry.date[:10]}" for entry in entries)
    return f"Measured {'; '.join(places)}." if places else ""


def _artefacts(bundles: Sequence[BundleFolder]) -> Table:
    rows = [
        (
            artefact_label(bundle, artefact),
            f"{artefact.format}, {artefact.precision}",
            f"{artefact.input.dtype} " + " x ".join(str(side or "any") for side in artefact.input.shape),
            str(artefact.options.get("opset", "")),
            megabytes(bundle.folder / artefact.main_file),
        )
        for bundle in bundles
        for artefact in bundle.contract.artefacts
    ]
    return Table(title="Artefacts", columns=("Artefact", "Format", "Input", "Opset", "Size"), rows=tuple(rows))


def _checks(bundles: Sequence[BundleFolder]) -> Table:
    rows = [
        (artefact_label(bundle, artefact), check.version or check.engine, *_check_cells(check, artefact))
        for bundle in bundles
        for artefact in bundle.contract.artefacts
        for check in artefact.checks
    ]
    return Table(
        title="Checks against torch",
        columns=("Artefact", "Engine", "Result", "Difference", "Accepted", "Peak memory"),
        rows=tuple(rows),
        caption=(
            "The difference is the largest between the artefact's outputs and those of the unfused network in torch. "
            "An artefact with NMS or argmax inside is compared with the raw maps, decoded in numpy. "
            "Peak memory is what loading the artefact and one inference add to the memory of the process."
        ),
    )


def _check_cells(check: Check, artefact: Artefact) -> tuple[str, str, str, str]:
    text = describe_check(check, artefact)
    return text.result, text.difference, text.accepted, text.memory


def artefact_label(bundle: BundleFolder, artefact: Artefact) -> str:
    """Return the names of the bundle and the artefact as one label."""
    return label_of(bundle.folder.resolve().name, artefact.name)
