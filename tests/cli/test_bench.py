import json
from pathlib import Path

import pytest

from parckit.cli import bench
from parckit.measure import latency
from parckit.runtimes import Session, open_session


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(bench, "usable_cores", lambda: 4)


def test_the_record_holds_timings_and_the_machine(bundle, parckit):
    printed = parckit("bench", bundle, "--threads=1,2", "--seconds=0.05", "--warmup=0.01")
    path = bundle.with_name("bundle_bench.json")
    assert f"record: {path}" in printed
    record = json.loads(path.read_text())
    assert record["name"] == "bench"
    assert record["threads"] == 2
    assert record["values"]["model"] == str(bundle)
    assert record["values"]["artefact"] == "onnx-fp32"
    assert record["values"]["engine"].startswith("onnxruntime ")
    assert {
        "cpu",
        "logical_cores",
        "usable_cores",
        "memory_bytes",
        "system",
        "python",
        "versions",
        "commit",
        "date",
    } <= record.keys()
    first, second = record["values"]["timings"]
    assert (first["threads"], second["threads"]) == (1, 2)
    for timing in (first, second):
        assert 0 < timing["min_ms"] <= timing["p50_ms"] <= timing["p90_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
        assert timing["repeats"] >= 1
        assert timing["images_per_second"] > 0
        assert f"{timing['p50_ms']:.2f}" in printed
    assert record["cpu"] in printed


def test_each_number_of_threads_is_passed_on(bundle, tmp_path, parckit, monkeypatch):
    opened = []

    def spy(path: Path, *, threads: int | None = None, **choice: str | None) -> Session:
        opened.append(threads)
        return open_session(path, threads=threads, **choice)

    monkeypatch.setattr(latency, "open_session", spy)
    parckit("bench", bundle, "--threads=3", "--seconds=0.01", "--warmup=0", "--record", tmp_path / "record.json")
    # Latency of one session with three threads, then throughput of three workers with one thread.
    assert opened == [3, 1, 1, 1]


def test_a_bundle_with_several_artefacts_warns_once(two_artefacts, tmp_path, parckit, caplog):
    record = tmp_path / "record.json"
    printed = parckit("bench", two_artefacts, "--threads=2", "--seconds=0.01", "--warmup=0", "--record", record)
    assert caplog.text.count("several artefacts fit; taking onnx-fp32") == 1
    assert f"{two_artefacts} (onnx-fp32 on onnxruntime" in printed


def test_an_artefact_can_be_chosen(two_artefacts, tmp_path, parckit):
    path = tmp_path / "record.json"
    quick = ("--seconds=0.01", "--warmup=0", "--record", path)
    printed = parckit("bench", two_artefacts, "--artefact=pairs", *quick)
    assert f"{two_artefacts} (pairs on onnxruntime" in printed
    values = json.loads(path.read_text())["values"]
    assert (values["artefact"], values["timings"][0]["batch_size"]) == ("pairs", 2)
    parckit("bench", two_artefacts, "--precision=fp32", "--runtime=onnxruntime", *quick)
    assert json.loads(path.read_text())["values"]["timings"][0]["batch_size"] == 1


def test_a_checkpoint_is_timed_on_torch(checkpoint, tmp_path, parckit):
    path = tmp_path / "records" / "torch.json"
    parckit("bench", checkpoint, "--seconds=0.01", "--warmup=0", "--record", path)
    record = json.loads(path.read_text())
    assert record["values"]["engine"].startswith("torch ")
    assert [timing["threads"] for timing in record["values"]["timings"]] == [1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--threads=0"], "--threads 0"),
        (["--threads=1,x"], "--threads 1,x"),
        (["--threads=1,5"], "--threads 1,5: this process may use 4 cores"),
        (["--warmup=-1"], "warmup=-1"),
        (["--seconds=0"], "seconds=0"),
        (["--seconds=soon"], "--seconds"),
        (["--thread=1"], "--thread=1"),
        (["--artefact=nms"], "artefact='nms': the bundle has onnx-fp32"),
        (["--runtime=torch"], "no artefact fits runtime='torch'"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, named, bundle, mistake):
    assert named in mistake("bench", bundle, *options)


def test_a_missing_bundle_is_named(mistake):
    assert mistake("bench", "no/such/bundle").startswith("no/such/bundle: ")


def test_a_folder_that_is_no_bundle_is_named(tmp_path, mistake):
    assert mistake("bench", tmp_path).startswith(f"{tmp_path}: ")


def test_a_record_that_nobody_asked_for_may_be_left_out(two_artefacts, parckit, monkeypatch):
    monkeypatch.setattr("parckit.options.values.find_obstacle", lambda _: "Read-only file system")
    record = two_artefacts.with_name("bundle_bench.json")
    record.unlink(missing_ok=True)
    printed = parckit("bench", two_artefacts, "--seconds=0.01", "--warmup=0")
    assert f"no record: {record} cannot be written (Read-only file system)" in printed
    assert not record.exists()
