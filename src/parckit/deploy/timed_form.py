"""Let an engine decide the form of convolutions along an axis: run the forms in it, and remember which is faster.

A table (`parckit.deploy.convert.axis_forms`) was measured in ONNX Runtime on one processor. Other engines have other
fast operators, so the form that is best there can only be found there. Timing takes a conversion and some seconds for
every form. Therefore an export times only if it is asked to, and keeps the result in the user's cache.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory

from parckit.contract import VERSION, ParckitError, begin_with_batch, cache_folder, place_artefact, replacing
from parckit.deploy.convert import CONVERTERS, Source
from parckit.deploy.convert.axis_forms import count_matmuls
from parckit.deploy.planning import Conversion
from parckit.deploy.settings import ExportSettings
from parckit.layers import FORMS, Form
from parckit.measure.environment import describe
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.latency import one_batch
from parckit.measure.memory import peak_memory
from parckit.models import copy_model
from parckit.runtimes import Session, find_engine, open_artefact

_SECONDS = 2.0
"""How long every form runs. It gives some dozens of rounds for a network of 20 ms."""
_FILE = "forms.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FormChoice:
    """What an engine decided.

    Attributes:
        form: the form to write.
        engine: name and version of the engine; empty if nothing was timed.
        speedups: form -> how many times faster it is than the form of the table. The table's own form is not in it.
    """

    form: Form
    engine: str = ""
    speedups: Mapping[str, float]

    @property
    def options(self) -> dict[str, object]:
        """What an artefact says about the choice."""
        return {"form_timed_in": self.engine, "form_speedups": dict(self.speedups)} if self.engine else {}


def choose_form(source: Source, conversion: Conversion, settings: ExportSettings) -> FormChoice:
    """Return the form for a conversion. If the settings ask for it, its first engine decides, with one thread.

    The table's form is kept where no other one is clearly faster: where the interval of the ratio contains 1. Networks
    without convolutions along an axis, and engines that cannot run here, are not timed.

    Args:
        source: the network; it is not changed.
        conversion: what shall be made of it.
        settings: how.
    """
    if settings.form != "timed":
        return FormChoice(form=settings.form, speedups={})
    table, engine = FormChoice(form="auto", speedups={}), conversion.engines[0]
    candidates = _candidates(source, conversion, settings)
    if len(candidates) == 1:
        return table
    if (obstacle := find_engine(engine).obstacle) is not None:
        _log.warning("form=timed: %s cannot run here (%s); the form auto is taken", engine, obstacle)
        return table
    key = _key(source, conversion, settings)
    if (remembered := _recall(key)) is not None:
        return remembered
    choice = _time(source, conversion, settings, candidates)
    if choice.engine:
        _remember(key, choice)
    return choice


def _candidates(source: Source, conversion: Conversion, settings: ExportSettings) -> tuple[Form, ...]:
    """Return the forms that give different graphs, that of the table first."""
    if not settings.onnx.uses_dynamo or not begin_with_batch(source.outputs):
        return ("auto",)
    auto, by_count = CONVERTERS[conversion.engines[0]].auto_form, dict[int, Form]()
    for form in FORMS:  # it begins with "auto"
        by_count.setdefault(count_matmuls(source.network, auto if form == "auto" else form), form)
    return tuple(by_count.values())


def _time(source: Source, conversion: Conversion, settings: ExportSettings, candidates: tuple[Form, ...]) -> FormChoice:
    """Convert every candidate, run them in turns, and return the fastest one."""
    with TemporaryDirectory() as folder:
        sessions: dict[Form, Session] = {}
        for form in candidates:
            try:
                sessions[form] = _open(source, conversion, replace(settings, form=form), folder=Path(folder) / form)
            except ParckitError as error:
                _log.warning("form=timed: %s cannot run the form %s: %s", conversion.engines[0], form, error)
        images = {form: one_batch(session) for form, session in sessions.items()}
        runs = {str(form): partial(session, images[form]) for form, session in sessions.items()}
        times = interleave(runs, seconds=_SECONDS * len(runs))
    table = candidates[0]
    if table not in sessions:
        # The export of the table's form tells the reason, if no other form runs either.
        others: list[Form] = [*sessions, table]
        return FormChoice(form=others[0], speedups={})
    ratios = {form: compare_times(times[table], times[form]) for form in sessions if form != table}
    # The table's form comes first, so it stays if no other form is better than 1.
    clear = {form: ratio.speedup for form, ratio in ratios.items() if ratio.is_clear and ratio.speedup > 1}
    return FormChoice(
        form=max(candidates, key=lambda form: clear.get(form, 1.0)),
        engine=sessions[table].engine,
        speedups={form: round(ratio.speedup, 3) for form, ratio in ratios.items()},
    )


def _open(source: Source, conversion: Conversion, settings: ExportSettings, *, folder: Path) -> Session:
    """Convert a network and load it into the engine. Before that, a process of its own shows that it does not crash."""
    made_in = folder / "made"
    made_in.mkdir(parents=True)
    copy = replace(source, network=copy_model(source.network))
    made = conversion.converter.convert(copy, folder=made_in, settings=settings, precision=conversion.precision)
    artefact, name = place_artefact(made, made_in=made_in, bundle=folder), conversion.engines[0]
    peak_memory(folder, artefact, source.spec, engine=name)
    return open_artefact(folder, artefact, source.spec, engine=name, threads=1)


def _key(source: Source, conversion: Conversion, settings: ExportSettings) -> str:
    """Return a digest of all that the choice depends on."""
    spec = {name: value for name, value in source.spec.to_dict().items() if name != "labels"}
    engine = find_engine(conversion.engines[0])
    facts = {
        "network": {**spec, "labels": len(source.spec.labels)},
        "engine": [engine.name, *(version(name) for name in packages_distributions().get(engine.package, []))],
        "precision": conversion.precision,
        "settings": [settings.batch_size, settings.dynamic_batch, settings.longest_kernel, settings.onnx.opset],
        "board": None if settings.conv_limits is None else asdict(settings.conv_limits),
        "cpu": describe().cpu,
        "parckit": VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _recall(key: str) -> FormChoice | None:
    """Return what was remembered under a key; None if nothing was, or it cannot be read."""
    try:
        entry = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))[key]
        choice = FormChoice(**entry)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if choice.form in FORMS else None


def _remember(key: str, choice: FormChoice) -> None:
    """Keep a choice in the user's cache. A cache that cannot be written only costs time at the next export."""
    path = cache_folder() / _FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({**known, key: asdict(choice)}, indent=1), encoding="utf-8")
    except OSError as error:
        _log.warning("the form is not remembered: %s", error)
