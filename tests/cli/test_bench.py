import json
from pathlib import Path

import pytest

from parckit.cli import bench, bench_profile
from parckit.cli.main import main
from parckit.contract import ParckitError, read_contract, sha256_of
from parckit.measure import conditions, memory, probing, speed
from parckit.measure.conditions import Conditions
from parckit.measure.memory import EngineCrashError, Loading
from parckit.measure.records import read_records
from parckit.measure.timings import Benchmark, Timing
from parckit.report.recorded_profile import profiles_of
from parckit.report.recorded_speed import speeds_of
from parckit.report.speed_tables import speed_tables

QUICK = ("--seconds=0.01", "--warmup=0")


@pytest.fixture
def few_layers(begun: Path) -> Path:
    """Return a checkpoint of the network with the fewest layers."""
    return begun / "best.ckpt"


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(bench, "usable_cores", lambda: 4)


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    """Do not start a process to measure loading; tests/measure/test_memory.py does."""
    cost = Loading(peak_bytes=7_000_000, load_seconds=0.25, first_seconds=0.125)
    monkeypatch.setattr(probing, "loading", lambda candidate: cost)


def test_the_record_holds_timings_and_the_machine(bundle, parckit):
    printed = parckit("bench", bundle, "--threads=1,2", "--seconds=0.05", "--warmup=0.01", "--streams=3")
    path = bundle.with_name("bundle_bench.json")
    assert f"record: {path}" in printed
    record = json.loads(path.read_text())
    assert record["name"] == "bench"
    assert (record["threads"], record["seed"]) == (2, 0)
    values = record["values"]
    assert values["model"] == str(bundle)
    assert values["artefact"] == "onnx-fp32"
    assert values["sha256"] == sha256_of(bundle / "onnx-fp32" / "model.onnx")
    assert values["engine"].startswith("onnxruntime ")
    assert {"cpu", "usable_cores", "memory_bytes", "system", "python", "versions", "commit", "date"} <= record.keys()
    for threads, timing in enumerate(values["timings"], start=1):
        assert timing["threads"] == threads
        assert 0 < timing["min_ms"] <= timing["p50_ms"] <= timing["p90_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
        assert 6 <= len(timing["round_ms"]) <= timing["repeats"]
        assert timing["images_per_second"] > 0
    assert [timing["streams"] for timing in values["streams"]] == [1, 2, 3]
    assert values["loading"] == {"peak_bytes": 7_000_000, "load_seconds": 0.25, "first_seconds": 0.125}
    assert all(stage > 0 for stage in values["stages"].values())
    assert values["file_bytes"] == (bundle / "onnx-fp32" / "model.onnx").stat().st_size
    assert values["conditions"].keys() == set(Conditions.__dataclass_fields__)
    assert record["cpu"] in printed
    assert "7.0" in printed
    assert "rankings" not in values


def test_several_candidates_are_ranked_or_not_separable(few_layers, two_artefacts, tmp_path, parckit):
    path = tmp_path / "record.json"
    printed = parckit("bench", two_artefacts, few_layers, "--engines=onnxruntime,torch", *QUICK, "--record", path)
    values = json.loads(path.read_text())["values"]
    names = [entry["name"] for entry in values["candidates"]]
    assert names == [
        f"{two_artefacts}/onnx-fp32 on onnxruntime",
        f"{two_artefacts}/pairs on onnxruntime",
        f"{few_layers} on torch",
    ]
    (ranking,) = values["rankings"]
    # Two networks of a few operations are some hundred times faster than the trained one.
    assert ranking["places"][-1] == {"name": names[-1], "best": 3, "worst": 3}
    assert ("not separable" in printed) == bool(ranking["not_separable"])
    # A page shows all of them.
    assert [len(entry.timings) for entry in speeds_of(read_records(tmp_path))] == [1, 1, 1]


def test_batches_are_ranked_by_the_time_for_one_image(two_artefacts, tmp_path, parckit, monkeypatch):
    def pretend(candidates, schedule):
        """Let a run of two images take 1.5 times as long as that of one."""
        rows = [((2.0,) * 6, 1), ((3.0,) * 6, 2)]
        return {name: benchmark_of(rounds, batch=batch) for name, (rounds, batch) in zip(candidates, rows, strict=True)}

    monkeypatch.setattr(speed, "time_candidates", pretend)
    path = tmp_path / "record.json"
    options = ("--engines=onnxruntime", "--against", two_artefacts / "onnx-fp32", *QUICK, "--record", path)
    printed = parckit("bench", two_artefacts, *options)
    values = json.loads(path.read_text())["values"]
    first, second = (f"{two_artefacts}/{name} on onnxruntime" for name in ("pairs", "onnx-fp32"))
    assert [place["name"] for place in values["rankings"][0]["places"]] == [first, second]
    (ratio,) = values["ratios"]
    assert ratio["speedup"] == pytest.approx(2 / 1.5)
    assert "1 thread, one image: from the fastest to the slowest: 2, 1" in printed
    assert "1.333" in printed
    table = speed_tables(speeds_of(read_records(tmp_path)))[0]
    assert [row[3] for row in table.rows] == ["2", "1"]
    assert [row[-3:-1] for row in table.rows] == [("1", "2.00"), ("2", "1.50")]


def benchmark_of(rounds: tuple[float, ...], *, batch: int) -> Benchmark:
    names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms")
    facts = {"threads": 1, "batch_size": batch, "repeats": 6, "images_per_second": None, "round_ms": rounds}
    timing = Timing(**facts, **dict.fromkeys(names, rounds[0]))
    return Benchmark(timings=(timing,), streams=(), engine="onnxruntime 1", artefact="a")


def test_the_ratio_is_against_the_other(bundle, few_layers, tmp_path, parckit):
    path = tmp_path / "record.json"
    printed = parckit("bench", bundle, "--against", few_layers, *QUICK, "--record", path)
    (ratio,) = json.loads(path.read_text())["values"]["ratios"]
    assert ratio["candidate"] == f"{bundle}/onnx-fp32 on onnxruntime"
    assert ratio["against"] == f"{few_layers} on torch"
    assert ratio["low"] <= ratio["speedup"] <= ratio["high"]
    assert f"{ratio['speedup']:.3f}" in printed


def test_the_other_may_have_an_engine_and_an_artefact_of_its_own(two_artefacts, tmp_path, parckit, mistake):
    path = tmp_path / "record.json"
    other = two_artefacts / "onnx-fp32"
    quick = ("--artefact=pairs", "--against", other, *QUICK, "--record", path)
    parckit("bench", two_artefacts, "--against_runtime=onnxruntime", "--engines=onnxruntime", *quick)
    (ratio,) = json.loads(path.read_text())["values"]["ratios"]
    assert ratio["candidate"] == f"{two_artefacts}/pairs on onnxruntime"
    assert ratio["against"] == f"{two_artefacts}/onnx-fp32 on onnxruntime"
    message = mistake("bench", two_artefacts, "--against_runtime=torch", *quick)
    assert "no artefact fits against_runtime='torch'" in message
    assert "against_runtime='x': choose" in mistake("bench", two_artefacts, "--against_runtime=x", *quick)
    assert "--against is missing" in mistake("bench", two_artefacts, "--against_runtime=torch")


def test_what_fails_does_not_stop_the_others(two_artefacts, tmp_path, capsys, monkeypatch):
    def fail_for_pairs(candidate):
        if candidate.artefact.name == "pairs":
            raise EngineCrashError("onnxruntime crashed (SIGSEGV)")
        return Loading(peak_bytes=1, load_seconds=1.0, first_seconds=1.0)

    monkeypatch.setattr(probing, "loading", fail_for_pairs)
    path = tmp_path / "record.json"
    absent = str(tmp_path / "absent")
    argv = ["bench", str(two_artefacts), absent, "--engines=onnxruntime,mnn", *QUICK, f"--record={path}"]
    with pytest.raises(SystemExit) as ending:
        main(argv)
    assert ending.value.code == 1
    printed = capsys.readouterr()
    told = [line for line in printed.out.splitlines() if line.startswith("not measured: ")]
    assert [any(part in line for part in ("needs the package MNN", absent, "SIGSEGV")) for line in told] == [True] * 3
    failed = ["mnn", absent, f"{two_artefacts}/pairs on onnxruntime"]
    assert f"not measured: {', '.join(failed)}" in printed.err
    values = json.loads(path.read_text())["values"]
    assert values["artefact"] == "onnx-fp32"
    assert [*values["failures"]] == failed


def test_a_system_that_does_not_tell_the_memory_has_a_dash(two_artefacts, tmp_path, parckit, monkeypatch):
    monkeypatch.setattr(memory, "can_measure_memory", lambda: False)
    monkeypatch.setattr(memory, "peak_resident", lambda: pytest.fail("it cannot be measured"))
    # What the new process would do.
    monkeypatch.setattr(memory, "_measure", lambda file, wanted: memory._probe(wanted))
    monkeypatch.setattr(probing, "loading", memory.loading)
    path = tmp_path / "record.json"
    parckit("bench", two_artefacts / "pairs", *QUICK, "--record", path)
    assert json.loads(path.read_text())["values"]["loading"]["peak_bytes"] is None
    *_, costs = speed_tables(speeds_of(read_records(tmp_path)))
    assert dict(zip(costs.columns, costs.rows[0], strict=True))["Memory, MB"] == "-"
    contract = read_contract(two_artefacts)
    with pytest.raises(ParckitError, match="does not tell the peak memory"):
        memory.peak_memory(two_artefacts, contract.artefact("onnx-fp32"), contract.spec, engine="onnxruntime")


def test_nothing_to_measure_is_a_mistake(two_artefacts, tmp_path, mistake, monkeypatch):
    def fail(candidate):
        raise EngineCrashError("onnxruntime crashed (SIGSEGV)")

    monkeypatch.setattr(probing, "loading", fail)
    assert mistake("bench", two_artefacts / "pairs", *QUICK, code=1) == "onnxruntime crashed (SIGSEGV)"
    assert "needs the package MNN" in mistake("bench", two_artefacts, "--engines=mnn")


def test_a_bundle_with_several_artefacts_warns_once(two_artefacts, tmp_path, parckit, caplog):
    printed = parckit("bench", two_artefacts, "--threads=2", *QUICK, "--record", tmp_path / "record.json")
    assert caplog.text.count("several artefacts fit; taking onnx-fp32") == 1
    assert f"{two_artefacts}/onnx-fp32 on onnxruntime" in printed


def test_an_artefact_can_be_chosen(two_artefacts, tmp_path, parckit):
    path = tmp_path / "record.json"
    quick = (*QUICK, "--record", path)
    for selection in ((two_artefacts, "--artefact=pairs"), (two_artefacts / "pairs",)):
        assert f"{two_artefacts}/pairs on onnxruntime" in parckit("bench", *selection, *quick)
        values = json.loads(path.read_text())["values"]
        assert (values["artefact"], values["timings"][0]["batch_size"]) == ("pairs", 2)
    parckit("bench", two_artefacts, "--precision=fp32", "--runtime=onnxruntime", *quick)
    assert json.loads(path.read_text())["values"]["timings"][0]["batch_size"] == 1


def test_a_checkpoint_is_timed_on_torch(few_layers, tmp_path, parckit):
    path = tmp_path / "records" / "torch.json"
    parckit("bench", few_layers, *QUICK, "--record", path)
    record = json.loads(path.read_text())
    assert record["values"]["engine"].startswith("torch ")
    assert record["values"]["sha256"] == sha256_of(few_layers)
    assert [timing["threads"] for timing in record["values"]["timings"]] == [1]


def test_the_profile_lists_all_layers_and_is_drawn(two_artefacts, few_layers, tmp_path, parckit):
    path = tmp_path / "record.json"
    (tmp_path / "record_profile_3.png").write_bytes(b"of a former measurement of three candidates")
    parckit("bench", two_artefacts / "onnx-fp32", few_layers, "--profile", *QUICK, "--record", path)
    values = json.loads((tmp_path / "record_profile.json").read_text())["values"]
    profile, of_torch = values["profiles"]
    # It was watched, too.
    assert values["conditions"]["seconds"] > 0
    assert of_torch["candidate"] == f"{few_layers} on torch"
    # 3 x 4 weights, and a ballast of 3 x 1.
    assert sorted(layer["madds"] for layer in profile["layers"] if layer["madds"]) == [3, 12]
    assert profile["ceiling_gflops"] > 0
    for name in ("record_profile.png", "record_profile_2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "record_profile_3.png").exists()
    # The next measurement keeps the profiles.
    printed = parckit("bench", two_artefacts / "onnx-fp32", *QUICK, "--record", path)
    assert f"{tmp_path / 'record_profile.png'} is the profile of an earlier run" in printed
    assert [entry.title for entry in profiles_of(read_records(tmp_path))] == [
        "bundle/onnx-fp32 on onnxruntime",
        "best.ckpt on torch",
    ]


def test_a_profile_that_fails_replaces_the_former_one(two_artefacts, tmp_path, capsys, monkeypatch):
    def fail(candidate, **options):
        raise ParckitError("no profile today")

    monkeypatch.setattr(bench_profile, "profile", fail)
    (tmp_path / "record_profile.png").write_bytes(b"of a former measurement")
    with pytest.raises(SystemExit) as ending:
        main(["bench", str(two_artefacts / "pairs"), "--profile", *QUICK, "--record", str(tmp_path / "record.json")])
    assert ending.value.code == 1
    (record,) = (record for record in read_records(tmp_path) if record.name == "profile")
    failed = f"profile of {two_artefacts}/pairs on onnxruntime"
    assert (record.values["profiles"], record.values["failures"]) == ([], {failed: "no profile today"})
    assert (
        f"{tmp_path / 'record_profile.png'} was the profile of an earlier run and is removed" in capsys.readouterr().out
    )
    assert not (tmp_path / "record_profile.png").exists()


def test_a_busy_machine_is_told(two_artefacts, tmp_path, parckit, caplog, monkeypatch):
    for share, told in ((0.0, False), (0.5, True)):
        caplog.clear()
        monkeypatch.setattr(conditions, "_shares", lambda *_, used, share=share: (share, 0.0))
        monkeypatch.setattr(conditions, "_throttled", lambda: None)
        parckit("bench", two_artefacts / "pairs", *QUICK, "--record", tmp_path / "record.json")
        assert ("the machine was busy" in caplog.text) == told


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--threads=0"], "--threads 0"),
        (["--threads=1,x"], "--threads 1,x"),
        (["--threads=1,5"], "--threads 1,5: this process may use 4 cores"),
        (["--streams=x"], "--streams x"),
        (["--streams=65"], "--streams 65: must be at most 64"),
        (["--warmup=-1"], "warmup=-1"),
        (["--seconds=0"], "seconds=0"),
        (["--seconds=soon"], "--seconds"),
        (["--thread=1"], "--thread=1"),
        (["--artefact=nms"], "artefact='nms': the bundle has onnx-fp32"),
        (["--runtime=torch"], "no artefact fits runtime='torch'"),
        (["--engines=torch"], "no artefact fits the engines torch"),
        (["--engines=tensorflow"], "engines='tensorflow': choose from torch"),
        (["--board=foo"], "--board foo: has no effect without --board_log"),
        (["--engines=torch", "--runtime=torch"], "give one of them"),
        (["--image=absent.png"], "absent.png"),
        (["--profile", "--engines=torch"], "no artefact fits the engines torch"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, named, bundle, mistake):
    assert named in mistake("bench", bundle, *options)


def test_a_candidate_is_not_compared_with_itself(bundle, mistake):
    assert "is the only candidate" in mistake("bench", bundle, "--against", bundle)


def test_other_engines_have_no_profile(bundle, mistake, monkeypatch):
    monkeypatch.setattr("parckit.runtimes.engines.find_spec", lambda package: object())
    printed = mistake("bench", bundle, "--profile", "--engines=opencv")
    assert "--profile: is for onnxruntime, openvino and torch; the candidates run on opencv" in printed


def test_a_missing_bundle_is_named(mistake):
    assert mistake("bench", "no/such/bundle").startswith("no/such/bundle: ")


def test_a_folder_that_is_no_bundle_is_named(tmp_path, mistake):
    assert mistake("bench", tmp_path).startswith(f"{tmp_path}: ")


def test_a_record_that_nobody_asked_for_may_be_left_out(two_artefacts, parckit, monkeypatch):
    monkeypatch.setattr("parckit.options.values.find_obstacle", lambda _: "Read-only file system")
    record = two_artefacts.with_name("bundle_bench.json")
    record.unlink(missing_ok=True)
    printed = parckit("bench", two_artefacts, *QUICK)
    assert f"no record: {record} cannot be written (Read-only file system)" in printed
    assert not record.exists()
