"""Logs have the layout of published ones of RDK X5 and of the documentation; their numbers are invented."""

from pathlib import Path

import pytest

from bundles import write_tiny_bundle
from parckit.cli.main import main
from parckit.contract import InputError, read_contract
from parckit.measure.board_log import BoardTiming, read_board_log
from parckit.report.content import write_page
from parckit.report.gather import gather

SO_FAR = "Frame count: {frames},  Thread Average: {mean} ms,  thread max latency: {longest} ms,  "
SO_FAR += "thread min latency: {shortest} ms,  FPS: {rate}"
PROGRESS = "\n".join(
    (
        SO_FAR.format(frames=200, mean=2.4, longest="2.900000", shortest="2.300000", rate=410.25),
        SO_FAR.format(frames=400, mean=2.5, longest="3.100000", shortest="2.200000", rate=398.5),
    )
)
LOG = """I0000 00:00:00.000000  4711 vlog_is_on.cc:197] RAW: Set VLOG level for "*" to 3
[BPU_PLAT]BPU Platform Version(1.3.6)! soc info(x5)
[HBRT] set log level as 0. version = 3.15.49.0
Load model to DDR cost 20.5ms.
{progress}

Running condition:
  Thread number is: {threads}
  Frame count   is: 400
  Program run time: 1010.250000 ms
Perf result:
  Frame totally latency is: 1000.000000 ms
  Average    latency    is: {mean} ms
  Frame      rate       is: {rate} FPS

"""
BRIEF = """Running condition:
- Thread number is: 8
- Frame count is: 200
Perf result:
- Frame totally latency is: 180.0 ms
- Average latency is: 0.9 ms
- Frame rate is: 1060.5 FPS
"""


def write_log(path: Path, *, threads: int, mean: float = 2.5, rate: float = 398.5) -> Path:
    path.write_text(LOG.format(progress=PROGRESS, threads=threads, mean=mean, rate=rate))
    return path


def test_a_log_becomes_a_timing(tmp_path):
    (timing,) = read_board_log(write_log(tmp_path / "perf.log", threads=4))
    assert timing == BoardTiming(threads=4, frames=400, mean_ms=2.5, min_ms=2.2, max_ms=3.1, images_per_second=398.5)


def test_a_log_may_hold_several_measurements_and_other_spaces(tmp_path):
    path = write_log(tmp_path / "perf.log", threads=1)
    path.write_text(path.read_text() + BRIEF)
    first, second = read_board_log(path)
    assert (first.threads, first.max_ms) == (1, 3.1)
    assert second == BoardTiming(threads=8, frames=200, mean_ms=0.9, images_per_second=1060.5)


def test_logs_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.log: no such file"):
        read_board_log(tmp_path / "no.log")
    path = write_log(tmp_path / "perf.log", threads=1)
    text = path.read_text()
    path.write_text(text[: text.index("Running")])
    with pytest.raises(InputError, match=r"perf\.log: has no 'Running condition:'"):
        read_board_log(path)
    path.write_text(text[: text.index("  Frame      rate")])
    with pytest.raises(InputError, match=r"perf\.log: a measurement has no line that fits"):
        read_board_log(path)


def test_logs_become_a_table_a_record_and_a_part_of_the_page(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    logs = [write_log(tmp_path / f"perf-{threads}.log", threads=threads, rate=400.0 * threads) for threads in (8, 1, 4)]
    main(["bench", str(bundle), "--board_log", ",".join(map(str, logs))])
    assert "3200.0" in capsys.readouterr().out
    findings = gather(bundle)
    (speed,) = findings.boards
    assert (speed.board, [timing.threads for timing in speed.timings]) == ("RDK X5", [1, 4, 8])
    assert speed.sha256 == read_contract(bundle).artefacts[0].sha256
    write_page(tmp_path / "page.html", findings)
    assert "Speed on a board" in (tmp_path / "page.html").read_text()
    with pytest.raises(SystemExit):
        main(["bench", str(bundle), "--board_log", f"{logs[0]},{logs[0]}"])
    assert "8 threads were measured twice" in capsys.readouterr().err
