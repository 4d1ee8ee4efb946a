"""Threads of torch wait for each other in a way that leaves cores to other programs.

Nothing here waits for torch's import: `parckit.tasks` is empty, and its library of OpenMP is loaded alone.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EMPTY = "import sys, types; sys.modules['parckit.{0}'] = types.SimpleNamespace({1}=None); import parckit; parckit.{1}"
USE = EMPTY.format("tasks", "train")
COMMAND = "import sys; from parckit.cli.main import main; main(['list', '--help'])"
SHOW = "import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment | variables, check=True, capture_output=True, text=True)


def load_openmp() -> str:
    """Return code that loads the library that torch brings, which reads the variables then."""
    (torch,) = find_spec("torch").submodule_search_locations
    (library,) = Path(torch, "lib").glob("libgomp*")
    return f"import ctypes; ctypes.CDLL({str(library)!r})"


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux torch brings GNU's OpenMP")
@pytest.mark.parametrize(
    "code", [f"import atexit; atexit.register(lambda: exec({{load!r}})); {COMMAND}", f"{USE}; {{load}}"]
)
def test_the_command_and_train_in_a_script_change_how_threads_wait(code):
    shown = run(code.format(load=load_openmp()), OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown
    assert "GOMP_SPINCOUNT = '1000'" in shown


@pytest.mark.parametrize(
    ("code", "variables", "expected"),
    [
        (USE, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        (USE, {"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        (EMPTY.format("models", "create_model"), {}, "None None"),
        (f"import sys; sys.modules['torch'] = None; {USE}", {}, "None None"),
    ],
)
def test_what_the_user_has_chosen_stays(code, variables, expected):
    assert run(f"{code}; {SHOW}", **variables).stdout.strip() == expected
