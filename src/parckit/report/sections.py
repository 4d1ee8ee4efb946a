"""The parts of a page that show what was measured: accuracy, answers, equality, speed and training."""

from collections.abc import Sequence
from math import isfinite

from parckit.measure.profiling import Profile
from parckit.measure.timings import Timing
from parckit.report.board_tables import board_table
from parckit.report.curves import training_curve
from parckit.report.gather import Findings
from parckit.report.mistakes import Answer
from parckit.report.page import Gallery, Picture, Section, Table, Tile
from parckit.report.profile_chart import profile_bars
from parckit.report.recorded import Accuracy
from parckit.report.recorded_profile import Profiled
from parckit.report.recorded_speed import Speed
from parckit.report.results import ResultPicture, ResultView, result_view
from parckit.report.speed_charts import latency_bars, stage_bars, stream_lines
from parckit.report.speed_tables import measured_on, speed_tables
from parckit.report.tables import accuracy_tables, bundle_tables, describe_measurement, detailed

_DRAWN = ("train_loss", "val_", "lr")
"""First letters of the names of logged values that a training curve draws."""


def make_sections(findings: Findings) -> tuple[Section, ...]:
    """Return the parts that are not empty."""
    sections = (
        Section(title="Accuracy", tables=_filled(accuracy_tables(findings)), pictures=_results(findings)),
        _mistakes(findings),
        _typical(findings),
        Section(title="The same network in every engine", tables=_filled(bundle_tables(findings))),
        Section(title="Speed", tables=_filled(speed_tables(findings.speeds)), pictures=_speed(findings.speeds)),
        Section(title="Speed on a board", tables=_filled((board_table(findings.boards),))),
        Section(title="Where the time goes", pictures=_profiles(findings.profiles)),
        Section(title="Training", pictures=_training(findings)),
    )
    return tuple(section for section in sections if not section.is_empty)


def count_epochs(findings: Findings) -> int:
    """Return how many epochs the training has run."""
    epochs = [row.epoch for row in (findings.run.curve if findings.run else ()) if row.epoch is not None]
    return 1 + max(epochs) if epochs else 0


def _filled(tables: Sequence[Table]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.rows)


def _results(findings: Findings) -> tuple[Picture, ...]:
    accuracy = detailed(findings)
    if accuracy is None or findings.spec is None:
        return ()
    return tuple(_result(accuracy, picture) for picture in result_view(findings.spec.task).pictures)


def _result(accuracy: Accuracy, picture: ResultPicture) -> Picture:
    return Picture(
        title=picture.title.capitalize(),
        figure=picture.draw(accuracy.tables, accuracy.labels),
        alt=picture.describe(accuracy.tables),
        caption=picture.note + describe_measurement(accuracy),
    )


def _view(findings: Findings) -> ResultView:
    return result_view("classify" if findings.spec is None else findings.spec.task)


def _mistakes(findings: Findings) -> Section:
    mistakes = sum(not answer.is_right for answer in findings.answers)
    doubtful, view = len(findings.answers) - mistakes, _view(findings)
    parts = [f"mistakes with the highest {view.rank_title}"] * bool(mistakes)
    parts += [f"right answers with the lowest {view.rank_title}"] * bool(doubtful)
    title = "Worst mistakes" if mistakes else "Least sure answers"
    return _show_answers(findings, findings.answers, title=title, words=", then ".join(parts))


def _typical(findings: Findings) -> Section:
    return _show_answers(
        findings, findings.typical, title="Answers at random", words="pictures that were drawn at random"
    )


def _show_answers(findings: Findings, answers: Sequence[Answer], *, title: str, words: str) -> Section:
    if not answers:
        return Section(title=title)
    view, accuracy = _view(findings), findings.accuracies[0]
    caption = (
        f"The network's inputs: {words}. The percentage is the {view.rank_title}. Network: {accuracy.label} with "
        f"{accuracy.engine}. {view.legend}"
    ).strip()
    gallery = Gallery(tiles=tuple(map(_tile, answers)), caption=caption, is_large=bool(view.legend))
    return Section(title=title, gallery=gallery)


def _tile(answer: Answer) -> Tile:
    truth = "" if answer.is_right else f"true: {answer.truth}, "
    return Tile(
        pixels=answer.pixels,
        heading=f"{'✓' if answer.is_right else '✗'} {answer.prediction}",
        note=f"{truth}{100 * answer.rank_value:.0f}\u00a0%",
        is_marked=not answer.is_right,
    )


def count_threads(timing: Timing) -> str:
    """Return the number of threads in words, and that of a batch's images."""
    batch = f", batch of {timing.batch_size}" if timing.batch_size > 1 else ""
    return f"{timing.threads} thread{'' if timing.threads == 1 else 's'}{batch}"


def _speed(speeds: Sequence[Speed]) -> tuple[Picture, ...]:
    pictures: list[Picture] = []
    if speeds:
        bars = [(f"{speed.title}, {count_threads(timing)}", timing) for speed in speeds for timing in speed.timings]
        pictures.append(
            Picture(
                title="Latency",
                figure=latency_bars(bars),
                alt="Median, its interval and 99th percentile of the latency, by engine and number of threads.",
                caption=(
                    "Time for one image after warm-up, with no other run in parallel. The time of a batch is "
                    "divided by its images."
                ),
            )
        )
    if stages := [(speed.title, speed.stages) for speed in speeds if speed.stages is not None]:
        pictures.append(
            Picture(
                title="Parts of an answer",
                figure=stage_bars(stages),
                alt="Times of preprocessing, network and decoding, by engine.",
                caption="The network is only a part of what a user waits for.",
            )
        )
    if streams := {speed.title: speed.streams for speed in speeds if len(speed.streams) > 1}:
        pictures.append(
            Picture(
                title="Streams",
                figure=stream_lines(streams),
                alt="Throughput, and latency of a frame, over the number of streams, by engine.",
                caption="Several cameras at once: more streams give more images, until the cores are busy.",
            )
        )
    return tuple(pictures)


def _profiles(profiles: Sequence[Profiled]) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            title=entry.title,
            figure=profile_bars(entry.profile, title="time of one run, layer by layer"),
            alt="Time by operator, and of the layers that take the most time.",
            caption=f"{_tell_profile(entry.profile)} {measured_on([entry])}",
        )
        for entry in profiles
    )


def _tell_profile(profile: Profile) -> str:
    share = profile.share_of_ceiling(profile.madds, profile.run_ms)
    reached = "" if share is None else f" It reaches {share:.0%} of the ceiling."
    return (
        f"The fastest run takes {profile.run_ms:.2f} ms without the profiler; all layers together take "
        f"{profile.layers_ms:.2f} ms with it.{reached} The ceiling is the speed of a large float32 matrix product in "
        f"the same engine."
    )


def _training(findings: Findings) -> tuple[Picture, ...]:
    curve = findings.run.curve if findings.run else ()
    if not any(name.startswith(_DRAWN) and isfinite(value) for row in curve for name, value in row.values.items()):
        return ()
    averaged = findings.run is not None and findings.run.config.get("ema") is not None
    return (
        Picture(
            title="Training curve",
            figure=training_curve(curve),
            alt=f"Loss, validation and learning rate over {count_epochs(findings)} epochs.",
            caption="Validation uses the averaged weights. The checkpoint contains them, too." if averaged else "",
        ),
    )
