"""The tables of a page about accuracy, artefacts and their checks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from parckit.contract import Artefact, Check
from parckit.report.checks import AGREEMENTS, describe_check
from parckit.report.gather import BundleFolder, Findings
from parckit.report.page import Table
from parckit.report.recorded import Accuracy, label_of
from parckit.report.results import result_view, worst_rows
from parckit.report.speed_tables import measured_on

_MOST_CLASSES = 20
"""Most rows of the table of classes."""


def accuracy_tables(findings: Findings) -> tuple[Table, ...]:
    """Return the tables about accuracy: of all networks, and of the classes."""
    return (_accuracy(findings), _classes(findings))


def bundle_tables(findings: Findings) -> tuple[Table, ...]:
    """Return the tables about bundles: their artefacts, and how these were checked."""
    return (_artefacts(findings.bundles), _checks(findings))


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


def megabytes(files: Iterable[Path]) -> str:
    """Return the size of files together, with its unit."""
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2f} MB"


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
        caption=" ".join(filter(None, (*findings.left_out, measured_on(accuracies)))),
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


def _artefacts(bundles: Sequence[BundleFolder]) -> Table:
    rows = [
        (
            artefact_label(bundle, artefact),
            f"{artefact.format}, {artefact.precision}",
            f"{artefact.input.dtype} " + " x ".join(str(side or "any") for side in artefact.input.shape),
            str(artefact.options.get("opset", "")),
            megabytes(bundle.folder / file for file in artefact.files),
        )
        for bundle in bundles
        for artefact in bundle.contract.artefacts
    ]
    return Table(title="Artefacts", columns=("Artefact", "Format", "Input", "Opset", "Size"), rows=tuple(rows))


def _checks(findings: Findings) -> Table:
    rows = [
        (artefact_label(bundle, artefact), *_check_cells(check, artefact))
        for bundle in findings.bundles
        for artefact in bundle.contract.artefacts
        for check in artefact.checks
    ]
    agreement = "" if findings.spec is None else f"The agreement is {AGREEMENTS[findings.spec.task]}. "
    return Table(
        title="Parity: the same numbers as torch?",
        columns=(
            *("Artefact", "Engine", "Result"),
            *("Largest difference", "Accepted", "Mean difference", "Lowest cosine", "Agreement", "Peak memory"),
        ),
        rows=tuple(rows),
        caption=(
            "The artefact's outputs are compared with those of the unfused network in torch, on random pictures and "
            f"photographs. The accepted difference depends on the precision. {agreement}An artefact with NMS or argmax "
            "inside is compared with the raw maps, decoded in numpy; one in int8 with the float32 network, on pictures "
            "that did not calibrate it. Peak memory is what loading the artefact and one "
            "inference add to the memory of the process."
        ),
    )


def _check_cells(check: Check, artefact: Artefact) -> tuple[str, ...]:
    text = describe_check(check, artefact)
    return (
        text.engine,
        text.result,
        text.difference,
        text.accepted,
        text.mean,
        text.cosine,
        text.agreement,
        text.memory,
    )


def artefact_label(bundle: BundleFolder, artefact: Artefact) -> str:
    """Return the names of the bundle and the artefact as one label."""
    return label_of(bundle.folder.resolve().name, artefact.name)
