"""The model card, and the commands that reproduce the numbers of a page."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from parckit.contract import CONFIG, LICENCES, VERSION, Preprocessing
from parckit.measure.environment import describe
from parckit.measure.records import machine_name, software_name
from parckit.report.gather import Findings
from parckit.report.page import ModelCard, Provenance
from parckit.report.recorded_speed import Speed
from parckit.report.story import Story


def make_card(findings: Findings, story: Story) -> ModelCard:
    """Return the card: what the network is, and how it was trained."""
    spec = findings.spec
    facts: dict[str, str] = {}
    if spec is not None:
        height, width = spec.preprocessing.size
        facts = {
            "Network": spec.backbone,
            "Task": spec.task,
            "Input": f"{height} x {width} pixels",
            "Classes": str(len(spec.labels)),
        }
    if findings.params is not None and findings.madds is not None:
        facts |= {"Parameters": f"{findings.params:,}", "Multiply-adds": f"{findings.madds:,}"}
    origin = findings.bundles[0].contract.origin if findings.bundles else {}
    facts |= {title: origin[name] for name, title in _ORIGIN.items() if name in origin}
    training = {} if findings.run is None else _training_facts(findings.run.config)
    sections = {
        "Intended use": story.intended_use,
        "Data": story.data,
        "Limits": story.limits,
        "Preprocessing": "" if spec is None else describe_preprocessing(spec.preprocessing),
        "Licence and source of the weights": story.licence or _licence(origin),
    }
    return ModelCard(facts=facts | training, sections={name: text for name, text in sections.items() if text})


_ORIGIN = {"weights": "Weights", "sha256": "SHA-256 of the weights"}
"""Name in a contract's `origin` -> name in the card."""


def _licence(origin: Mapping[str, str]) -> str:
    """Return the licence of weights that ship with parckit; of other weights, say that nobody wrote it down."""
    unknown = "Nobody wrote down the licence of these weights. The option --card of parckit report adds it."
    return LICENCES.get(origin.get("weights", ""), unknown)


def describe_preprocessing(preprocessing: Preprocessing) -> str:
    """Return the steps of the preprocessing as sentences."""
    height, width = preprocessing.size
    covered = " x ".join(map(str, preprocessing.resize_size))
    fitting = {
        "cover": f"Resize the picture so that it just covers {covered} pixels; crop {height} x {width} at the centre.",
        "stretch": f"Resize the picture to {height} x {width} pixels; its aspect ratio changes.",
        "contain": f"Resize the picture so that it fits into {height} x {width} pixels, and fill the rest with the "
        f"colour {preprocessing.fill}.",
    }[preprocessing.fit]
    order = f"Put the channels in the order {preprocessing.channel_order.upper()}"
    channels = "Convert the picture to grey" if preprocessing.channels == 1 else order
    return (
        f"{fitting} The interpolation is {preprocessing.interpolation}. {channels}, divide by 255, subtract the mean "
        f"{preprocessing.mean}, and divide by the standard deviation {preprocessing.std}."
    )


def make_provenance(findings: Findings, story: Story) -> Provenance:
    """Return the machines and the versions behind the numbers, and the commands that measure them again."""
    here = describe()
    facts = {"Page written": f"{here.date[:10]}, parckit {VERSION}"}
    if findings.answers:
        machine = machine_name(here.cpu, here.usable_cores)
        facts["Evaluated for this page"] = f"{machine}; {software_name(asdict(here))}"
    facts |= _tell_records(findings)
    if findings.bundles:
        facts["Exported with"] = software_name({"versions": findings.bundles[0].contract.versions})
    return Provenance(facts=facts, commands=story.commands or _commands(findings))


def _tell_records(findings: Findings) -> dict[str, str]:
    """Return names of records -> the machine and the versions that they were measured with."""
    entries = [*findings.accuracies, *findings.speeds, *findings.profiles, *findings.boards]
    shown = {entry.record for entry in entries}
    unknown = {entry.record for entry in entries if entry.sha256 is None}
    groups: dict[str, list[str]] = defaultdict(list)
    for record in findings.records:
        if record.path.name in shown:
            doubt = "; without sha256, so it may be about another network" if record.path.name in unknown else ""
            groups[f"{record.date[:10]}, {record.machine}; {record.software}{doubt}"].append(record.path.name)
    return {", ".join(names): text for text, names in groups.items()}


_TRAINING_FACTS = {
    "Trained on": ("data", "source"),
    "Epochs": ("trainer", "max_epochs"),
    "Batch size": ("data", "batch_size"),
    "Optimizer": ("model", "optimizer", "name"),
    "Learning rate": ("model", "optimizer", "lr"),
    "Weight decay": ("model", "optimizer", "weight_decay"),
    "Weight averaging": ("ema", "decay"),
    "First weights": ("model", "weights"),
    "Best by": ("monitor",),
    "Seed": ("seed",),
}
"""Name in the card -> the keys that lead to the value in a recipe."""


def _training_facts(config: Mapping[str, object]) -> dict[str, str]:
    facts = {name: _setting(config, keys) for name, keys in _TRAINING_FACTS.items()}
    return {name: str(value) for name, value in facts.items() if value is not None and value != -1}


def _setting(config: Mapping[str, object], keys: tuple[str, ...]) -> object:
    group: object = config
    for key in keys:
        group = group.get(key) if isinstance(group, Mapping) else None
    return group


def _commands(findings: Findings) -> tuple[str, ...]:
    """Return the commands that are known. For example, the command that exported a bundle is not recorded."""
    commands: list[list[str]] = []
    run = findings.run
    if run is not None:
        again = run.folder.with_name(f"{run.folder.resolve().name}_again")
        commands.append(["train", "--config", str(run.folder / CONFIG), "--out", str(again)])
    several = any(len(bundle.contract.artefacts) > 1 for bundle in findings.bundles)
    paths = _paths(findings)
    for entry in findings.accuracies:
        if entry.model in paths:
            artefact = ["--artefact", entry.artefact] if several and entry.artefact != entry.model else []
            verb, *options = entry.command
            commands.append([verb, str(paths[entry.model]), *artefact, *options])
    for record in dict.fromkeys(speed.record for speed in findings.speeds):
        together = [speed for speed in findings.speeds if speed.record == record and speed.model in paths]
        profile = ["--profile"] if any(entry.bench_record == record for entry in findings.profiles) else []
        commands += [[*command, *profile] for command in _bench(together, paths, several=several)]
    return tuple(shlex.join(["parckit", *command]) for command in commands)


def _bench(speeds: Sequence[Speed], paths: Mapping[str, Path], *, several: bool) -> list[list[str]]:
    """Return the command that measures candidates in turns, as one record has them.

    Args:
        speeds: the candidates.
        paths: name of a bundle or checkpoint -> its path.
        several: whether a bundle has several artefacts.
    """
    if not speeds:
        return []
    verb, *options = max((speed.command for speed in speeds), key=len)
    models = dict.fromkeys(str(paths[speed.model]) for speed in speeds)
    if len(speeds) > 1:
        engines = dict.fromkeys(speed.engine_name for speed in speeds)
        return [[verb, *models, "--engines", ",".join(engines), *options]]
    is_named = several and speeds[0].artefact != speeds[0].model
    return [[verb, *models, *(["--artefact", speeds[0].artefact] if is_named else []), *options]]


def _paths(findings: Findings) -> dict[str, Path]:
    """Return name -> path of every bundle and checkpoint on the page."""
    paths = {bundle.folder.resolve().name: bundle.folder for bundle in findings.bundles}
    if findings.run is not None and findings.run.checkpoint is not None:
        paths[findings.run.checkpoint.name] = findings.run.checkpoint
    return paths
