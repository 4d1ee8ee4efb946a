"""Which networks, artefacts and engines are measured side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parckit.contract import (
    CONTRACT_FILE,
    Artefact,
    Contract,
    InputError,
    Precision,
    read_contract,
    sha256_of,
)
from parckit.measure.digest import file_of
from parckit.runtimes import (
    ENGINES,
    Engine,
    Session,
    choose_artefact,
    choose_engine,
    find_engine,
    fitting_artefacts,
    open_session,
)

ALL = "all"
"""Instead of names of engines: all that can run on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A checkpoint, or an artefact of a bundle, on an engine.

    Attributes:
        path: the bundle's folder, the file, or the name of shipped weights.
        engine: the engine.
        artefact: the bundle's artefact; None for a file.
        contract: the bundle's contract; None for a file.
    """

    path: Path
    engine: Engine
    artefact: Artefact | None = None
    contract: Contract | None = None

    @property
    def name(self) -> str:
        """What tells it from other candidates: `bundle/onnx-fp32 on onnxruntime`."""
        artefact = "" if self.artefact is None else f"/{self.artefact.name}"
        return f"{self.path}{artefact} on {self.engine.name}"

    @property
    def file_bytes(self) -> int:
        """Size of all files that the engine needs."""
        if self.artefact is not None:
            return sum((self.path / file).stat().st_size for file in self.artefact.files)
        return file_of(self.path).stat().st_size

    @property
    def sha256(self) -> str:
        """Digest of these files."""
        return sha256_of(file_of(self.path)) if self.artefact is None else self.artefact.sha256

    def open(self, threads: int | None = None) -> Session:
        """Open it with a number of threads."""
        artefact = None if self.artefact is None else self.artefact.name
        return open_session(self.path, runtime=self.engine.name, artefact=artefact, threads=threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The options that choose among engines and a bundle's artefacts.

    Attributes:
        engines: names of engines; `all` for those that can run here. With names, a bundle gives a candidate for every
            engine and every artefact that the engine opens. Without names, it gives one candidate: the first artefact
            that fits, on the first engine that can run here.
        runtime: the only engine, if there are no `engines`.
        runtime_option: what an error calls the option that gives `runtime`.
        precision: only artefacts of this precision.
        artefact: only the artefact of this name.
    """

    engines: tuple[str, ...] = ()
    runtime: str | None = None
    runtime_option: str = "runtime"
    precision: Precision | None = None
    artefact: str | None = None

    def find_engines(self) -> tuple[tuple[Engine, ...], dict[str, InputError]]:
        """Return those of `engines` that can run here, and the error for each of the others by name.

        Raises:
            InputError: if one is unknown.
        """
        if self.engines == (ALL,):
            return tuple(engine for engine in ENGINES if engine.obstacle is None), {}
        engines = tuple(find_engine(name, option="engines") for name in dict.fromkeys(self.engines))
        failures: dict[str, InputError] = {
            engine.name: error
            for engine in engines
            if (error := engine.absence_error(f"engines={engine.name!r}")) is not None
        }
        return tuple(engine for engine in engines if engine.obstacle is None), failures


def find_candidates(paths: Sequence[Path], wanted: Wanted) -> tuple[Candidate, ...]:
    """Return all candidates, every one once.

    Args:
        paths: bundles, artefacts of bundles as `BUNDLE/ARTEFACT`, checkpoints, or names of shipped weights.
        wanted: chooses among them.

    Raises:
        InputError: if a path gives no candidate.
        AbsentError: if an engine that is named cannot run here.
    """
    candidates, failures = find_possible(paths, wanted)
    for error in failures.values():
        raise error
    return candidates


def find_possible(paths: Sequence[Path], wanted: Wanted) -> tuple[tuple[Candidate, ...], dict[str, InputError]]:
    """Return all candidates, every one once; also the engines that cannot run here and the paths that give none.

    Args:
        paths: as for `find_candidates`.
        wanted: chooses among them.

    Returns:
        The candidates; and name of an engine or a path -> why it gives none.

    Raises:
        InputError: if an engine is unknown.
    """
    engines, failures = wanted.find_engines()
    candidates: dict[str, Candidate] = {}
    if failures and not engines:
        return (), failures
    for path in paths:
        try:
            candidates |= {candidate.name: candidate for candidate in _candidates_of(path, engines, wanted)}
        except InputError as error:
            failures[str(path)] = error
    return tuple(candidates.values()), failures


def _candidates_of(path: Path, engines: tuple[Engine, ...], wanted: Wanted) -> list[Candidate]:
    folder, artefact = _split(path)
    option = wanted.runtime_option
    runtime = None if wanted.runtime is None else find_engine(wanted.runtime, option=option)
    if not folder.is_dir():
        if wanted.artefact is not None or wanted.precision is not None:
            text = f"artefact={wanted.artefact!r}, precision={wanted.precision!r} choose within a bundle"
            raise InputError(f"{path}: {text}, a folder with {CONTRACT_FILE}")
        first = choose_engine(path, engine=runtime, option=option)
        if engines and first not in engines:
            names = ", ".join(engine.name for engine in engines)
            raise InputError(f"{path}: runs on {first.name}, which is not among the engines {names}")
        return [Candidate(path=path, engine=first)]
    contract, name = read_contract(folder), artefact or wanted.artefact
    if not engines:
        precision = wanted.precision
        pairs = [choose_artefact(contract, folder, engine=runtime, option=option, precision=precision, name=name)]
    else:
        pairs = [
            (entry, engine)
            for engine in engines
            for entry, other in fitting_artefacts(
                # `all` names no engine.
                contract,
                engine=None if wanted.engines == (ALL,) else engine,
                precision=wanted.precision,
                name=name,
            )
            if other == engine
        ]
    if not pairs:
        listed = ", ".join(f"{entry.name} ({entry.format}, {entry.precision})" for entry in contract.artefacts)
        names = ", ".join(engine.name for engine in engines)
        raise InputError(f"{path}: no artefact fits the engines {names} and the other options; it has {listed}")
    return [Candidate(path=folder, engine=engine, artefact=entry, contract=contract) for entry, engine in pairs]


def _split(path: Path) -> tuple[Path, str | None]:
    """Turn the folder of an artefact, `BUNDLE/ARTEFACT`, into the bundle and the artefact's name."""
    bundle = path.parent
    if (path / CONTRACT_FILE).is_file() or not path.is_dir() or not (bundle / CONTRACT_FILE).is_file():
        return path, None
    for artefact in read_contract(bundle, check_files=False).artefacts:
        if Path(artefact.main_file).parts[0] == path.name:
            return bundle, artefact.name
    return path, None


def names_artefact(path: Path) -> bool:
    """Return whether a path is that of an artefact in a bundle, `BUNDLE/ARTEFACT`."""
    return _split(path)[1] is not None
