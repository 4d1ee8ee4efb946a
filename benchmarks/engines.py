"""Try every family of backbones and every head in every engine, and write the table of docs/engines.md.

    make test-engines
    PYTHONPATH=tests .venv-engines/bin/python benchmarks/engines.py

`make test-engines` installs the engines. The script does for every network what `parckit export` does: it fuses and
converts the network, runs the file in the engine, and compares the outputs with those of torch in float64. If they
differ, it searches the first layer that differs. The weights are random, but the picture decides what comes out, as
in a trained network. A new process does this for a network, so that a crash of an engine is a result, too. The folder
--work keeps every result, so a run that was stopped goes on where it ended. `--record` writes the record of the
networks that are complete, as a run of all networks does at its end. `--table` prints the table of the record.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
import traceback
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import timm
import torch

from backbones import as_if_trained
from engine_networks import UNRUN
from parckit.contract import NetworkSpec, ParckitError, Preprocessing, place_artefact
from parckit.deploy import ExportSettings
from parckit.deploy.convert import CONVERTERS, Source, source_of
from parckit.deploy.divergence import Suspect, first_divergence
from parckit.deploy.planning import plan_conversions
from parckit.deploy.verify import Reference, check_artefact
from parckit.measure.environment import describe
from parckit.measure.records import write_record
from parckit.models import fuse
from parckit.networks import build_network

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).parent / "records" / "engines.json"
THREADS = 1
ENGINES = tuple(name for name in CONVERTERS if name not in UNRUN)
FOLDERS: Mapping[str, str] = {"litert": ".venv-litert"}
"""Engine -> folder of its Python packages, if they do not fit to those of the other engines."""
USUAL_FOLDER = ".venv-engines"
LIMIT = 600
"""Most seconds that a network may take in an engine."""
LABELS = tuple("abcdefgh")
BACKBONES = (
    "parcnet_xs",
    "parcnetv2_xt",
    "parc_convnext_xt",
    "parc_resnet50",
    "parc_mobilenetv2",
    "parc_edgevit_xs",
    "convnext_atto",
    "mobilenetv2_100",
    "edgevit_xs",
    "mobilevit_s",
)
"""A backbone of every family, and one for every network that ParC was put into. Each has a classifier, and images of
its published size."""
HEADS: Mapping[str, tuple[str, int]] = {
    "ssd": ("detect", 320),
    "tinydet": ("detect", 320),
    "faster_rcnn": ("detect", 320),
    "deeplabv3": ("segment", 256),
    "lraspp": ("segment", 256),
    "upernet": ("segment", 256),
}
"""Head -> task, and side of the image. Every head has the backbones `WITH_HEADS`."""
WITH_HEADS = ("parcnet_xs",)
NETWORKS: Mapping[str, tuple[str, str]] = {
    **{name: (name, "classifier") for name in BACKBONES},
    **{f"{head} on {name}": (name, head) for name in WITH_HEADS for head in HEADS},
}
"""Name -> backbone and head."""

Outcome = Literal["works", "differs", "refused", "fails", "crashes", "hangs"]

NOTES: Mapping[Outcome, str] = {
    "differs": "it differs first at ",
    "refused": "the export says: ",
    "fails": "",
    "crashes": "the engine ends its process with ",
    "hangs": "",
}
"""Outcome -> how its note below the table begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a network in an engine.

    Attributes:
        network: name of the network.
        engine: name of the engine.
        outcome: what happened. `"refused"`: the export says why, before or while it converts. `"fails"`: an error that
            the export does not explain.
        version: of the engine; empty if it did not run.
        relative: largest difference as a share of the largest output; None if nothing was compared so.
        agreement: share of equal answers after decoding; None if nothing was decoded.
        reason: one line; for `"differs"` the first layer that differs. Empty for `"works"`.
        seconds: time of conversion, run and comparison.
        commit: of parckit. A run that was stopped may go on with a later one.
    """

    network: str
    engine: str
    outcome: Outcome
    version: str = ""
    relative: float | None = None
    agreement: float | None = None
    reason: str = ""
    seconds: float
    commit: str | None = None


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS], metavar="NETWORK")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES], metavar="ENGINE")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "engines", help="folder of the results")
    parser.add_argument("--record", action="store_true", help="write the record of what is complete, and run nothing")
    parser.add_argument("--table", action="store_true", help="print the table of the record, and do nothing else")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.table:
        print(table(json.loads(RECORD.read_text(encoding="utf-8"))["values"]))
        return
    if arguments.child:
        (name,) = arguments.networks
        try_network(name, arguments.engines, work=arguments.work)
        return
    if not arguments.record:
        for name in arguments.networks:
            run_children(name, arguments.engines, work=arguments.work)
    if arguments.record or set(arguments.networks) == NETWORKS.keys():
        record(arguments.work)


def record(work: Path) -> None:
    """Write the record of all networks that have a result in every engine."""
    pairs = {name: [(name, engine) for engine in ENGINES] for name in NETWORKS}
    complete = {name for name in NETWORKS if all(path_of(work, *pair).exists() for pair in pairs[name])}
    print("not complete:", ", ".join(name for name in NETWORKS if name not in complete) or "none")
    results = [asdict(read(work, *pair)) for name in NETWORKS if name in complete for pair in pairs[name]]
    write_record(RECORD, "engines", {"results": results}, seed=0, threads=THREADS)


def run_children(name: str, engines: Sequence[str], *, work: Path) -> None:
    """Try a network in new processes until every engine has a result."""
    for folder in (USUAL_FOLDER, *FOLDERS.values()):
        here = [engine for engine in engines if FOLDERS.get(engine, USUAL_FOLDER) == folder]
        while pending := [engine for engine in here if not path_of(work, name, engine).exists()]:
            start = time.monotonic()
            outcome, reason = run_child(name, pending, python=ROOT / folder / "bin" / "python", work=work)
            # The engines run in this order, so the first one without a result ended the process.
            ended = next((engine for engine in pending if not path_of(work, name, engine).exists()), None)
            if ended:
                seconds = time.monotonic() - start
                write(work, Result(network=name, engine=ended, outcome=outcome, reason=reason, seconds=seconds))


def run_child(name: str, engines: Sequence[str], *, python: Path, work: Path) -> tuple[Outcome, str]:
    """Try a network in a new process, and return what ended it."""
    command = [str(python), __file__, "--child", "--work", str(work), "--networks", name, "--engines", *engines]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    try:
        code = subprocess.run(command, timeout=LIMIT * len(engines), check=False, env=environment).returncode
    except subprocess.TimeoutExpired:
        return "hangs", f"no result after {LIMIT} s"
    return ("crashes", signal.Signals(-code).name) if code < 0 else ("fails", f"exit code {code}")


def try_network(name: str, engines: Sequence[str], *, work: Path) -> None:
    """Try a network in engines, one after the other, and write every result at once."""
    spec = spec_of(name)
    network = as_if_trained(build_network(spec)).eval()
    reference = Reference(network, spec)
    with TemporaryDirectory() as folder:
        source = source_of(fuse(network, size=spec.preprocessing.size), spec, work=Path(folder))
        for engine in engines:
            start = time.monotonic()
            result = try_engine(engine, source, reference, network=name)
            write(work, replace(result, seconds=time.monotonic() - start))


def try_engine(engine: str, source: Source, reference: Reference, *, network: str) -> Result:
    """Convert a fused network for an engine, run it there, and compare it with torch."""
    result = Result(network=network, engine=engine, outcome="works", seconds=0)
    settings, bundle = ExportSettings(engines=(engine,)), source.work / engine
    made = bundle / "made"
    made.mkdir(parents=True)
    try:
        (conversion,) = plan_conversions(source.spec, settings)
        copied = replace(source, network=deepcopy(source.network))
        artefact = conversion.converter.convert(copied, folder=made, settings=settings, precision="fp32")
        artefact = place_artefact(artefact, made_in=made, bundle=bundle)
        check = check_artefact(reference, artefact, folder=bundle, engine=engine)
        result = replace(
            result,
            version=check.version,
            relative=check.figures.get("relative"),
            agreement=check.figures.get("agreement"),
        )
        if check.passed is None:
            return replace(result, outcome="fails", reason=check.reason)
        if not check.passed:
            images, _ = reference.prepare(reference.input)
            suspect = Suspect(source=source, conversion=conversion, settings=settings, engine=engine, images=images)
            first = first_divergence(suspect, check)
            return replace(result, outcome="differs", reason=first or "no single layer differs")
    except ParckitError as error:
        crash = re.search(r"crashed \((\w+)\)", str(error))
        return replace(result, outcome="crashes" if crash else "refused", reason=crash[1] if crash else one_line(error))
    except Exception as error:  # converters and engines raise errors of many classes
        traceback.print_exc()
        return replace(result, outcome="fails", reason=one_line(f"{type(error).__name__}: {error}"))
    finally:
        shutil.rmtree(bundle)
    return result


def spec_of(name: str) -> NetworkSpec:
    """Return what a network is."""
    backbone, head = NETWORKS[name]
    if head == "classifier":
        _, height, width = timm.get_pretrained_cfg(backbone).input_size
        task, size = "classify", (height, width)
    else:
        task, side = HEADS[head]
        size = (side, side)
    return NetworkSpec(task=task, backbone=backbone, head=head, labels=LABELS, preprocessing=Preprocessing(size=size))


def one_line(message: object) -> str:
    """Return the beginning of a message without the names of folders, which differ from run to run."""
    return textwrap.shorten(re.sub(r"\S*/(?=\S)", "", str(message)), 250)


def path_of(work: Path, network: str, engine: str) -> Path:
    """Return the file of a result."""
    return work / f"{network} in {engine}.json"


def write(work: Path, result: Result) -> None:
    """Print and keep a result, with the commit that it belongs to."""
    result = replace(result, commit=describe().commit)
    print(json.dumps(asdict(result)), flush=True)
    work.mkdir(parents=True, exist_ok=True)
    path_of(work, result.network, result.engine).write_text(json.dumps(asdict(result)), encoding="utf-8")


def read(work: Path, network: str, engine: str) -> Result:
    """Return a result that was kept."""
    return Result(**json.loads(path_of(work, network, engine).read_text(encoding="utf-8")))


def table(values: Mapping[str, object]) -> str:
    """Return the Markdown table of a record, and its notes: networks down, engines across."""
    results = [Result(**row) for row in cast("list[dict[str, Any]]", values["results"])]
    versions = {result.engine: result.version for result in results if result.version}
    notes: dict[str, int] = {}
    rows: dict[str, list[str]] = {}
    for result in results:
        cell: str = result.outcome
        if result.reason:
            # The refusal of a head begins with the names of the backbone and the engine, which the table shows.
            note = NOTES[result.outcome] + result.reason.rpartition("cannot run it: ")[2]
            cell += f" ({notes.setdefault(note, len(notes) + 1)})"
        elif result.relative is not None:
            cell = f"{result.relative:.0e}".replace("e-0", "e-")
        rows.setdefault(result.network, []).append(cell)
    heads = [
        f"`{engine}` {versions.get(engine, '')}".strip() for engine in dict.fromkeys(one.engine for one in results)
    ]
    lines = [["network", *heads], ["---"] * (1 + len(heads)), *([name, *cells] for name, cells in rows.items())]
    numbered = [f"{number}. {note}" for note, number in notes.items()]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", *numbered])


if __name__ == "__main__":
    main()
