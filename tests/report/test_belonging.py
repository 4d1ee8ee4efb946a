import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bundles import LABELS, write_tiny_bundle
from parckit.contract import read_contract, sha256_of
from parckit.measure.profiling import Profile
from parckit.measure.records import read_records, write_record
from parckit.measure.timings import Timing
from parckit.report.belonging import Networks
from parckit.report.content import make_report
from parckit.report.gather import gather
from parckit.report.recorded_speed import speeds_of

NAMES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms")
TIMING = Timing(threads=1, batch_size=1, repeats=9, images_per_second=400.0, **dict.fromkeys(NAMES, 2.5))
PROFILE = Profile(threads=1, layers=(), run_ms=1.0, ceiling_gflops=1.0)
NETWORK = {"model": "somewhere/bundle", "artefact": "onnx-fp32", "engine": "onnxruntime 1.0"}
RECORDS = {
    "eval": {
        **NETWORK,
        "labels": list(LABELS),
        "scalars": {"top1": 75.0},
        "images": 4,
        "data": {"source": "photos", "served": "val"},
    },
    "bench": {**NETWORK, "timings": [asdict(TIMING)]},
    "board": {**NETWORK, "board": "X5", "board_timings": []},
    "profile": {**NETWORK, "name": "only", "profiles": [{"candidate": "only", **asdict(PROFILE)}]},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle")


def test_records_of_a_former_network_are_left_out_with_a_warning(bundle, tmp_path, caplog):
    (now,) = read_contract(bundle).artefacts
    for kind, values in RECORDS.items():
        for name, digest in (("now", {"sha256": now.sha256}), ("former", {"sha256": "0" * 64}), ("older", {})):
            write_record(tmp_path / f"{name}_{kind}.json", kind, values | digest, seed=None, threads=None)
    gone = {"sha256": now.sha256, "artefact": "removed"}
    write_record(tmp_path / "gone.json", "bench", RECORDS["bench"] | gone, seed=None, threads=1)
    findings = gather(bundle)
    for kind in RECORDS:
        assert f"former_{kind}.json: bundle/onnx-fp32 is left out, because it was another network" in caplog.text
        assert f"older_{kind}.json: bundle/onnx-fp32 may have been another network" in caplog.text
    assert "gone.json: bundle/removed is left out, because it is no longer in the bundle" in caplog.text
    assert len(caplog.records) == 9
    for entries in (findings.accuracies, findings.speeds, findings.boards, findings.profiles):
        assert [entry.record.partition("_")[0] for entry in entries] == ["now", "older"]


def test_a_network_of_the_same_name_in_one_record_is_no_former_one(bundle, tmp_path, caplog):
    (now,) = read_contract(bundle).artefacts
    entries = [RECORDS["bench"] | {"model": f"{place}/bundle"} for place in ("here", "there")]
    candidates = [entry | {"sha256": digest} for entry, digest in zip(entries, (now.sha256, "0" * 64), strict=True)]
    write_record(tmp_path / "both.json", "bench", {"candidates": candidates}, seed=None, threads=1)
    assert [speed.sha256 for speed in gather(bundle).speeds] == [now.sha256]
    assert not caplog.records


def test_records_of_a_run_belong_to_its_checkpoints(tmp_path, caplog):
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    for name, digest in (("now", sha256_of(tmp_path / "last.ckpt")), ("former", "0" * 64)):
        values = RECORDS["bench"] | {"model": "x/last.ckpt", "artefact": "last.ckpt", "sha256": digest}
        write_record(tmp_path / f"{name}.json", "bench", values, seed=None, threads=1)
    other = RECORDS["bench"] | {"model": "elsewhere", "sha256": "0" * 64}
    write_record(tmp_path / "other.json", "bench", other, seed=None, threads=1)
    networks = Networks(bundles={}, folder=tmp_path, only_these=False)
    speeds = networks.belonging(speeds_of(read_records(tmp_path)))
    assert [speed.record for speed in speeds] == ["now.json", "other.json"]
    assert "former.json: last.ckpt is left out, because it was another network" in caplog.text


def test_a_page_tells_the_versions_and_the_machine_of_every_record(bundle, tmp_path):
    (now,) = read_contract(bundle).artefacts
    former = {"cpu": "Board", "usable_cores": 1, "python": "3.1", "versions": {"onnxruntime": "0.9"}}
    former |= {"date": "2001-02-03", "commit": "abc", "dirty": True}
    digest = {"sha256": now.sha256}
    for name, kind, facts in (("a", "eval", digest), ("b", "bench", digest), ("c", "bench", {})):
        path = tmp_path / f"{name}.json"
        write_record(path, kind, RECORDS[kind] | facts, seed=None, threads=None)
        path.write_text(json.dumps(json.loads(path.read_text()) | former))
    write_record(tmp_path / "of_another.json", "bench", RECORDS["bench"] | {"model": "x"}, seed=None, threads=1)
    facts = make_report(gather(bundle)).provenance.facts
    assert [*facts] == ["Page written", "a.json, b.json", "c.json", "Exported with"]
    measured = "2001-02-03, Board, 1 core; Python 3.1, onnxruntime 0.9, commit abc (with changes)"
    assert facts["a.json, b.json"] == measured
    assert facts["c.json"] == f"{measured}; without sha256, so it may be about another network"
