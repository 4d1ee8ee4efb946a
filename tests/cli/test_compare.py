import json

import pytest

from bundles import write_tiny_bundle
from parckit.cli.main import main
from parckit.contract import ParckitError, read_contract
from parckit.measure import comparison, probing
from parckit.measure.comparison import Compared
from parckit.measure.evaluation import Evaluation, EvaluationData, Score, evaluate_session
from parckit.measure.memory import EngineCrashError, Loading
from parckit.measure.timings import Benchmark, Timing

QUICK = ("--seconds=0.01", "--warmup=0")


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    """Do not start a process to try a candidate; tests/measure/test_memory.py does."""
    cost = Loading(peak_bytes=1, load_seconds=1.0, first_seconds=1.0)
    monkeypatch.setattr(probing, "loading", lambda candidate: cost)


@pytest.fixture
def speeds(monkeypatch):
    """Let candidates have given latencies, in milliseconds, instead of measured ones."""

    def let(*medians: float, batches: tuple[int, ...] | None = None) -> None:
        def pretend(candidates, schedule):
            facts = zip(candidates, medians, batches or (1,) * len(medians), strict=True)
            return {name: benchmark(median, batch=batch) for name, median, batch in facts}

        monkeypatch.setattr(comparison, "time_candidates", pretend)

    return let


def benchmark(median: float, *, batch: int = 1) -> Benchmark:
    names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms")
    rounds = tuple(median + 0.1 * step for step in (-2, -1, -1, 0, 0, 1, 1, 2))
    timing = Timing(
        threads=1,
        batch_size=batch,
        repeats=8,
        images_per_second=1.0,
        round_ms=rounds,
        **dict.fromkeys(names, median),
    )
    return Benchmark(timings=(timing,), streams=(), engine="onnxruntime", artefact="a")


def test_the_table_the_picture_and_the_record(two_artefacts, animal_folder, tmp_path, parckit, speeds):
    speeds(1.0, 5.0)
    files = {"--picture": tmp_path / "front.svg", "--record": tmp_path / "record.json"}
    options = [f"{name}={path}" for name, path in files.items()]
    printed = parckit("compare", two_artefacts, f"--data={animal_folder}", "--engines=onnxruntime", *QUICK, *options)
    values = json.loads(files["--record"].read_text())["values"]
    first, second = values["candidates"]
    assert first["name"] == f"{two_artefacts}/onnx-fp32 on onnxruntime"
    assert (first["images"], first["params"]) == (4, 12)
    assert first["scalars"] == second["scalars"]
    digests = [artefact.sha256 for artefact in read_contract(two_artefacts).artefacts]
    assert [entry["benchmark"]["sha256"] for entry in (first, second)] == digests
    # Both answer alike, so only the faster one is worth a choice.
    assert values["front"] == [first["name"]]
    assert values["not_separable"] == []
    assert "beaten" in printed
    assert "batch" not in printed
    assert "<svg" in files["--picture"].read_text()
    for path in files.values():
        assert f": {path}" in printed


def test_batches_are_compared_by_the_time_for_one_image(two_artefacts, animal_folder, tmp_path, parckit, speeds):
    # A run of two images takes 1.5 times as long as that of one.
    speeds(2.0, 3.0, batches=(1, 2))
    options = ("--engines=onnxruntime", *QUICK, f"--record={tmp_path / 'a.json'}", f"--picture={tmp_path / 'a.png'}")
    printed = parckit("compare", two_artefacts, f"--data={animal_folder}", *options)
    assert f"candidate 1: {two_artefacts}/pairs on onnxruntime" in printed
    assert "batch" in printed
    values = json.loads((tmp_path / "a.json").read_text())["values"]
    assert [entry["image_ms"]["median"] for entry in values["candidates"]] == [2.0, 1.5]
    assert values["front"] == [f"{two_artefacts}/pairs on onnxruntime"]


def test_speeds_that_cannot_be_told_apart_are_not_ranked(two_artefacts, animal_folder, tmp_path, parckit, speeds):
    speeds(1.0, 1.1)
    bundle = write_tiny_bundle(tmp_path / "other")
    printed = parckit("compare", bundle, two_artefacts / "pairs", f"--data={animal_folder}", *QUICK)
    assert f"candidate 1: {bundle}/onnx-fp32 on onnxruntime" in printed
    assert "not separable in speed, because their intervals overlap: 1 and 2" in printed
    values = json.loads((tmp_path / "other_compare.json").read_text())["values"]
    assert len(values["front"]) == 2
    assert (tmp_path / "other_compare.png").is_file()


def test_a_checkpoint_and_its_bundle(bundle, checkpoint, digit_folder, tmp_path, parckit):
    record = tmp_path / "record.json"
    parckit(
        "compare",
        bundle,
        checkpoint,
        f"--data={digit_folder}",
        "--data.split=all",
        *QUICK,
        f"--record={record}",
        f"--picture={tmp_path / 'a.png'}",
    )
    exported, trained = json.loads(record.read_text())["values"]["candidates"]
    assert exported["scalars"] == trained["scalars"]
    assert (exported["params"], exported["madds"]) == (trained["params"], trained["madds"])
    # Nobody sees the throughput of streams, so its time is not spent.
    assert exported["benchmark"]["streams"] == []
    assert exported["image_ms"]["low"] <= exported["image_ms"]["median"] <= exported["image_ms"]["high"]


def test_what_fails_does_not_stop_the_others(two_artefacts, animal_folder, tmp_path, capsys, speeds, monkeypatch):
    def fail_for_pairs(session, *args, **options):
        if session.artefact == "pairs":
            raise ParckitError("onnxruntime cannot run pairs")
        return evaluate_session(session, *args, **options)

    monkeypatch.setattr(comparison, "evaluate_session", fail_for_pairs)
    speeds(1.0)
    record = tmp_path / "record.json"
    files = (f"--record={record}", f"--picture={tmp_path / 'front.png'}")
    with pytest.raises(SystemExit) as ending:
        main(["compare", str(two_artefacts), f"--data={animal_folder}", "--engines=onnxruntime", *QUICK, *files])
    assert ending.value.code == 1
    printed = capsys.readouterr()
    assert "not compared: onnxruntime cannot run pairs" in printed.out
    failed = f"{two_artefacts}/pairs on onnxruntime"
    assert f"not compared: {failed}" in printed.err
    values = json.loads(record.read_text())["values"]
    assert [candidate["name"] for candidate in values["candidates"]] == [f"{two_artefacts}/onnx-fp32 on onnxruntime"]
    assert values["failures"] == {failed: "onnxruntime cannot run pairs"}


def test_an_engine_that_crashes_is_named_and_the_others_go_on(
    two_artefacts, animal_folder, capsys, speeds, monkeypatch
):
    def crash_for_pairs(candidate):
        if candidate.artefact.name == "pairs":
            raise EngineCrashError("onnxruntime crashed (SIGSEGV)")

    monkeypatch.setattr(probing, "loading", crash_for_pairs)
    speeds(1.0)
    with pytest.raises(SystemExit) as ending:
        main(["compare", str(two_artefacts), f"--data={animal_folder}", "--engines=onnxruntime", *QUICK])
    assert ending.value.code == 1
    printed = capsys.readouterr().out
    assert "not compared: onnxruntime crashed (SIGSEGV)" in printed
    assert f"candidate 1: {two_artefacts}/onnx-fp32 on onnxruntime" in printed


def test_the_margin_of_chance():
    # With 8 of 10 images right, the standard error is sqrt(0.8 * 0.2 / 10), which is 12.65 points.
    evaluation = Evaluation(
        score=Score(scalars={"top1": 80.0}, tables={}, images=10, skipped=0),
        task="classify",
        labels=("cat", "dog"),
        engine="torch",
        artefact="a",
        data=EvaluationData(source="digits"),
        served="test",
        left_out="",
    )
    entry = Compared(evaluation=evaluation, benchmark=benchmark(1.0), file_bytes=1, params=None, madds=None)
    assert entry.margin == pytest.approx(1.96 * 12.65, abs=0.01)


def test_mistakes_are_named(bundle, animal_folder, tmp_path, mistake):
    data = f"--data={animal_folder}"
    assert "is the only candidate" in mistake("compare", bundle, data)
    assert "pictures are written as .png or .svg" in mistake("compare", bundle, data, "--picture=a.gif")
    assert "--threads 1000: this process may use" in mistake("compare", bundle, data, "--threads=1000")
    assert "no/such" in mistake("compare", bundle, "no/such", data)
