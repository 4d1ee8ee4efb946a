"""Threads of torch wait for each other in a way that leaves cores to other programs."""

import os
import subprocess
import sys

import pytest

USE = "import parckit; parckit.train"
SHOW = "import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment | variables, check=True, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux torch brings GNU's OpenMP")
@pytest.mark.parametrize("arguments", [("-m", "parckit.cli.main", "info", "test_parcnet"), ("-c", USE)], ids=str)
def test_the_command_and_train_in_a_script_change_how_threads_wait(arguments):
    shown = run(*arguments, OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown
    assert "GOMP_SPINCOUNT = '1000'" in shown


@pytest.mark.parametrize(
    ("code", "variables", "expected"),
    [
        (USE, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        (USE, {"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        ("import parckit; parckit.create_model", {}, "None None"),
        (f"import torch; {USE}", {}, "None None"),
    ],
)
def test_what_the_user_has_chosen_stays(code, variables, expected):
    assert run("-c", f"{code}; {SHOW}", **variables).stdout.strip() == expected
