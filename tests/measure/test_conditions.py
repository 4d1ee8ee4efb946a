"""What else the machine did, read from files that are written by hand."""

import pytest

from parckit.measure import conditions
from parckit.measure.conditions import Conditions, watch

TICKS = 100


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that writes what Linux tells, and let `conditions` read it."""
    for folder in ("proc", "cpus/cpu0/cpufreq", "cpus/cpu1/cpufreq"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(conditions, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(conditions, "_CPUS", tmp_path / "cpus")
    monkeypatch.setattr(conditions, "_CGROUP", tmp_path / "cpu.stat")
    monkeypatch.setattr(conditions.os, "sysconf", lambda name: TICKS)
    monkeypatch.setattr(conditions.os, "sched_getaffinity", lambda process: {0, 1})

    def write(*, user: int, idle: int, steal: int = 0, throttled: int = 0) -> None:
        # user nice system idle iowait irq softirq steal guest guest_nice
        # The third core is not ours. Its neighbours are no matter of ours, and they are part of the first line.
        shares = [(user // 2, idle, steal), (user - user // 2, 0, 0), (9 * user, 0, 0)]
        cores = [f"cpu{core} {u} 0 0 {i} 0 0 0 {s} 7 7\n" for core, (u, i, s) in enumerate(shares)]
        total = f"cpu  {10 * user} 0 0 {idle} 0 0 0 {steal} 21 21\n"
        (tmp_path / "proc" / "stat").write_text(total + "".join(cores) + "intr 1 2\n")
        (tmp_path / "cpu.stat").write_text(f"usage_usec 5\nthrottled_usec {throttled}\n")
        for number, governor in enumerate(("powersave", "powersave")):
            (tmp_path / "cpus" / f"cpu{number}" / "cpufreq" / "scaling_governor").write_text(f"{governor}\n")

    return write


@pytest.fixture
def used(monkeypatch):
    """Let this process have used 3 seconds between two looks."""
    seconds = iter((10.0, 13.0))
    monkeypatch.setattr(conditions, "_used", lambda: next(seconds))


def test_neighbours_are_what_the_cores_did_beyond_this_process(machine, used):
    machine(user=1000, idle=1000)
    with watch() as seen:
        # 5 s of work, of which this process did 3; 4 s idle; 1 s stolen.
        machine(user=1500, idle=1400, steal=100, throttled=2_500_000)
    found_out = seen.conditions
    assert (found_out.others_share, found_out.steal_share) == pytest.approx((0.2, 0.1))
    assert found_out.throttled_seconds == 2.5
    assert found_out.governor == "powersave"
    assert found_out.is_busy
    for words in ("governor powersave", "other processes 20.0% of our cores", "stopped by the system for 2.5 s"):
        assert words in found_out.describe()


def test_a_quiet_machine_is_not_busy(machine, used):
    machine(user=1000, idle=1000)
    with watch() as seen:
        machine(user=1300, idle=1700)
    assert (seen.conditions.others_share, seen.conditions.steal_share, seen.conditions.is_busy) == (0, 0, False)


def test_a_system_that_tells_nothing_gives_none(tmp_path, monkeypatch):
    for name in ("_PROC", "_CPUS", "_CGROUP"):
        monkeypatch.setattr(conditions, name, tmp_path / "absent")
    with watch() as seen:
        pass
    shares = (seen.conditions.others_share, seen.conditions.steal_share, seen.conditions.throttled_seconds)
    assert shares == (None, None, None)
    assert not seen.conditions.is_busy
    assert "governor unknown" in Conditions().describe()
