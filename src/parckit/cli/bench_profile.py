"""`parckit bench --profile`: the tables and the picture of where a network's time goes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

from parckit.cli.bench_tables import tell_conditions
from parckit.cli.tables import show, tell
from parckit.contract import InputError, ParckitError, find_obstacle
from parckit.measure.candidates import Candidate
from parckit.measure.conditions import watch
from parckit.measure.cost import format_count
from parckit.measure.profiling import PROFILERS, Profile, profile, profile_values
from parckit.measure.records import write_record
from parckit.measure.timings import Schedule
from parckit.report.figures import save_figure
from parckit.report.profile_chart import profile_bars

_MOST_ROWS = 20
"""Layers that the terminal shows; the record has all."""
_ENGINES = f"{', '.join([*PROFILERS][:-1])} and {[*PROFILERS][-1]}"


def check_profile(candidates: Sequence[Candidate]) -> None:
    """Raise InputError if no candidate can be profiled."""
    if not any(candidate.engine.name in PROFILERS for candidate in candidates):
        engines = ", ".join(dict.fromkeys(candidate.engine.name for candidate in candidates))
        raise InputError(f"--profile: is for {_ENGINES}; the candidates run on {engines}")


def profile_candidates(candidates: Sequence[Candidate], *, schedule: Schedule, bench_record: Path) -> dict[str, str]:
    """Measure and show every candidate that can be profiled, draw it, and write a record of all profiles and failures.

    A profile has a record of its own, so that the next `parckit bench` without `--profile` does not delete it.

    Args:
        candidates: the candidates; those on other engines are named and left out.
        schedule: the threads of one run are its first number of threads.
        bench_record: path of the record of the latency; record and pictures of the profiles are named after it.

    Returns:
        Name of a candidate whose profile failed -> why.
    """
    profiles: list[tuple[Candidate, Profile]] = []
    digests = {candidate.name: candidate.sha256 for candidate in candidates}
    failures: dict[str, str] = {}
    with watch() as seen:
        for candidate in candidates:
            if candidate.engine.name not in PROFILERS:
                tell(f"{candidate.name}: no profile; only {_ENGINES} tell the time of single layers")
                continue
            try:
                result = profile(candidate, threads=schedule.threads[0], seconds=schedule.seconds, seed=schedule.seed)
            except ParckitError as error:
                failures[f"profile of {candidate.name}"] = str(error)
                tell(f"{candidate.name}: no profile: {error}")
                continue
            profiles.append((candidate, result))
    for candidate, result in profiles:
        _show(result, candidate)
    if profiles:
        tell_conditions(seen.conditions)
    entries = [profile_values(result, candidate, digests[candidate.name]) for candidate, result in profiles]
    values = {"profiles": entries, "conditions": asdict(seen.conditions), "failures": failures}
    _save(bench_record.with_name(f"{bench_record.stem}_profile.json"), values, profiles, schedule=schedule)
    return failures


def _save(
    record: Path, values: Mapping[str, object], profiles: Sequence[tuple[Candidate, Profile]], *, schedule: Schedule
) -> None:
    """Write the record and the pictures; pictures of a former record with more of them are removed.

    If all profiles failed, the record has only the failures, so that numbers of before do not pass for those of now.
    """
    obstacle = find_obstacle(record)
    if obstacle is not None:
        tell(f"no profile beside the record: {record} cannot be written ({obstacle})")
        return
    for number, (candidate, result) in enumerate(profiles, start=1):
        picture = _picture(record, number)
        save_figure(profile_bars(result, title=candidate.name), picture)
        tell(f"profile: {picture}")
    write_record(record, "profile", values, seed=schedule.seed, threads=schedule.threads[0])
    tell(f"record of the profile{'' if len(profiles) == 1 else 's'}: {record}")
    for number in count(len(profiles) + 1):
        if not _picture(record, number).is_file():
            break
        _picture(record, number).unlink()
        tell(f"{_picture(record, number)} was the profile of an earlier run and is removed")


def _picture(record: Path, number: int) -> Path:
    return record.with_name(f"{record.stem}{'' if number == 1 else f'_{number}'}.png")


def _show(result: Profile, candidate: Candidate) -> None:
    kinds = [(kind.kind, str(kind.layers), *_cells(result, kind.madds, kind.milliseconds)) for kind in result.kinds()]
    columns = ("ms", "time", "MAdds", "GFLOP/s", "of the ceiling")
    ceiling = f"ceiling {result.ceiling_gflops:.0f} GFLOP/s with {result.threads} thread(s)"
    show(f"{candidate.name}: time by operator, {ceiling}", ("operator", "layers", *columns), kinds)
    slowest = sorted(result.layers, key=lambda layer: -layer.milliseconds)[:_MOST_ROWS]
    layers = [
        (layer.name, layer.kind, "x".join(map(str, layer.output)), *_cells(result, layer.madds, layer.milliseconds))
        for layer in slowest
    ]
    title = f"the {len(slowest)} of {len(result.layers)} layers that take the most time (the record has all)"
    show(title, ("layer", "operator", "output", *columns), layers)
    share = result.share_of_ceiling(result.madds, result.run_ms)
    whole = f"fastest run {result.run_ms:.2f} ms without the profiler; all layers {result.layers_ms:.2f} ms with it"
    counted = "" if candidate.contract is None else f" (the network: {format_count(candidate.contract.madds)})"
    reached = "" if share is None else f"; the run reaches {share:.0%} of the ceiling"
    tell(f"{whole}; MAdds that run: {format_count(result.madds)}{counted}{reached}")


def _cells(result: Profile, madds: int | None, milliseconds: float) -> tuple[str, ...]:
    share = result.share_of_ceiling(madds, milliseconds)
    time = f"{milliseconds / result.layers_ms:.1%}"
    if madds is None or share is None:
        return f"{milliseconds:.3f}", time, "-", "-", "-"
    rate = f"{share * result.ceiling_gflops:.1f}"
    return f"{milliseconds:.3f}", time, format_count(madds), rate, f"{share:.0%}"
