"""Open a checkpoint or a bundle with the engine that fits."""

import logging
from pathlib import Path

from parckit.contract import (
    CONTRACT_FILE,
    Artefact,
    Contract,
    InputError,
    NetworkSpec,
    Precision,
    read_contract,
    shipped_weights,
)
from parckit.runtimes.engines import ENGINES, Engine, find_engine, load_engine
from parckit.runtimes.protocol import Session, check_threads

_log = logging.getLogger(__name__)


def open_session(
    path: Path | str,
    *,
    runtime: str | None = None,
    precision: Precision | None = None,
    artefact: str | None = None,
    threads: int | None = None,
) -> Session:
    """Open a checkpoint, a bundle or one of its files, ready to be called.

    Args:
        path: a bundle's folder; a `.ckpt` or `.safetensors` file, or the name of weights that ship with parckit; an
            `.onnx` file that parckit wrote.
        runtime: the engine; by default the first one that fits and can run here. An engine that runs machine code of a
            file is taken only if it is named.
        precision: choose among a bundle's artefacts by their precision.
        artefact: choose a bundle's artefact by its name. Where several fit, the first is taken and named in the log.
        threads: threads of one inference; None leaves the number to the engine.

    Raises:
        InputError: if there is nothing usable at `path`, or nothing in it fits what was asked for.
    """
    path = Path(path)
    check_threads(threads)
    engine = None if runtime is None else find_engine(runtime)
    if path.is_dir():
        return _open_bundle(path, engine=engine, precision=precision, name=artefact, threads=threads)
    for option, value in (("artefact", artefact), ("precision", precision)):
        if value is not None:
            raise InputError(f"{path}: {option}={value!r} chooses within a bundle, a folder with {CONTRACT_FILE}")
    return load_engine(choose_engine(path, engine=engine), what=str(path)).open_file(path, threads=threads)


def choose_engine(path: Path, *, engine: Engine | None = None, option: str = "runtime") -> Engine:
    """Return the engine that opens a file, or weights that ship with parckit; the first one that can run here.

    Args:
        path: the file, or the name of the weights.
        engine: the only engine that is wanted; None for any.
        option: what an error calls the option that gives the engine.

    Raises:
        InputError: if there is no such file, or no engine opens it.
    """
    is_shipped = shipped_weights(str(path)) is not None and not path.exists()
    if not path.exists() and not is_shipped:
        raise InputError(f"{path}: no such file or folder, nor weights that come with parckit")
    suffix = "" if is_shipped else path.suffix.lower()
    fitting = [entry for entry in ENGINES if suffix in entry.suffixes and engine in (None, entry)]
    if not fitting:
        accepted = ", ".join(filter(None, (ending for entry in ENGINES for ending in entry.suffixes)))
        asked = "" if engine is None else f"{option}={engine.name!r} does not open it; "
        raise InputError(f"{path}: {asked}files that open alone end in {accepted}")
    runnable = [entry for entry in fitting if entry.obstacle is None]
    return (runnable or fitting)[0]


def choose_artefact(
    contract: Contract,
    folder: Path,
    *,
    engine: Engine | None = None,
    option: str = "runtime",
    precision: Precision | None = None,
    name: str | None = None,
) -> tuple[Artefact, Engine]:
    """Return the artefact of a bundle that fits, and its engine. Where several fit, take the first, and log its name.

    Args:
        contract: the bundle's contract.
        folder: the bundle's folder, for messages.
        engine: the only engine that is wanted; None for any.
        option: what an error calls the option that gives the engine.
        precision: the only precision that is wanted; None for any.
        name: the artefact's name; None for any.

    Raises:
        InputError: if none fits.
    """
    fitting = fitting_artefacts(contract, engine=engine, precision=precision, name=name)
    if not fitting:
        listed = ", ".join(f"{entry.name} ({entry.format}, {entry.precision})" for entry in contract.artefacts)
        asked = {option: engine and engine.name, "precision": precision, "artefact": name}
        wanted = ", ".join(f"{key}={value!r}" for key, value in asked.items() if value is not None)
        hint = "".join(
            f"; {entry.name} runs machine code of the file, and only if you name it as the runtime"
            for entry in ENGINES
            if engine is None and entry.only_by_name
            if fitting_artefacts(contract, engine=entry, precision=precision, name=name)
        )
        raise InputError(f"{folder}: no artefact fits {wanted or 'an engine of this version'}; it has {listed}{hint}")
    runnable = [pair for pair in fitting if pair[1].obstacle is None] or fitting
    artefact, first_engine = runnable[0]
    if len({entry.name for entry, _ in runnable}) > 1:
        _log.warning("%s: several artefacts fit; taking %s on %s", folder, artefact.name, first_engine.name)
    return artefact, first_engine


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str, threads: int | None = None
) -> Session:
    """Load an artefact of the bundle `folder` into an engine. Its files are not compared with their digests.

    Args:
        folder: the folder of the artefact's files.
        artefact: which one.
        spec: describes the network.
        engine: name of the engine.
        threads: threads of one inference; None leaves the number to the engine.

    Raises:
        InputError: if there is no such engine, or it cannot load the artefact.
        AbsentError: if the engine cannot run here.
    """
    return load_engine(find_engine(engine), what=str(folder)).open_artefact(folder, artefact, spec, threads=threads)


def _open_bundle(
    folder: Path, *, engine: Engine | None, precision: Precision | None, name: str | None, threads: int | None
) -> Session:
    contract = read_contract(folder)
    artefact, first_engine = choose_artefact(contract, folder, engine=engine, precision=precision, name=name)
    spec = contract.spec_of(artefact)
    return load_engine(first_engine, what=str(folder)).open_artefact(folder, artefact, spec, threads=threads)


def fitting_artefacts(
    contract: Contract, *, engine: Engine | None, precision: Precision | None, name: str | None
) -> list[tuple[Artefact, Engine]]:
    """Return the artefacts that fit, each with its engines, in the contract's and the table's order.

    Artefacts with NMS or argmax inside are for other programs and give the same answers as the raw maps. So they fit
    only by name. An engine that is `only_by_name` fits only if it is the engine that is wanted.

    Raises:
        InputError: if the bundle has no artefact of this name.
    """
    raw = tuple(artefact for artefact in contract.artefacts if not artefact.decodes_inside)
    artefacts = raw if name is None else (contract.artefact(name),)
    return [
        (artefact, candidate)
        for artefact in artefacts
        if precision in (None, artefact.precision)
        for candidate in ENGINES
        if candidate.opens(artefact) and (engine == candidate or (engine is None and not candidate.only_by_name))
    ]
