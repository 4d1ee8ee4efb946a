import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import ParckitError, read_contract
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.memory import EngineCrashError, loading, peak_memory

MIB = 1 << 20


def peak_of(bundle: Path) -> int:
    contract = read_contract(bundle)
    return peak_memory(bundle, contract.artefacts[0], contract.spec, engine="onnxruntime")


def test_a_models_weights_are_in_its_peak_and_its_callers_are_not(tmp_path):
    # Touched, so that this process's peak is larger than the child's can be.
    mine = np.ones(64 * MIB)
    small, large = (peak_of(write_tiny_bundle(tmp_path / str(size), ballast=size * MIB)) for size in (0, 8))
    assert mine.sum() == mine.size
    # A session without weights needs a few MiB; 32 MiB of weights are held once at least, a few times at most.
    assert 0 < small < 32 * MIB
    assert 32 * MIB <= large - small <= 4 * 32 * MIB


def test_a_model_that_cannot_be_loaded_is_named_in_one_line(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    artefact = read_contract(bundle).artefacts[0]
    (bundle / artefact.main_file).write_bytes(b"no model")
    with pytest.raises(ParckitError, match=r"onnxruntime failed when it loaded or ran .*model\.onnx: .*") as caught:
        peak_memory(bundle, artefact, tiny_spec(), engine="onnxruntime")
    assert "\n" not in str(caught.value)


def test_an_engine_that_crashes_is_named(tmp_path, monkeypatch):
    """A module that is imported in the new process kills it, as a fault in an engine's code does."""
    (tmp_path / "onnxruntime.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineCrashError, match=r"onnxruntime crashed \(SIGSEGV\) when it loaded or ran .*model\.onnx"):
        peak_of(write_tiny_bundle(tmp_path / "bundle"))


def test_an_engine_that_hangs_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("parckit.measure.memory._LONGEST_SECONDS", 0.1)
    with pytest.raises(EngineCrashError, match=r"onnxruntime did not load and run .*model\.onnx within 0\.1 seconds"):
        peak_of(write_tiny_bundle(tmp_path / "bundle"))


def test_the_fresh_process_loads_no_torch():
    code = "import sys, parckit.measure.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.engines  # a new process imports torch, which takes ten seconds
def test_a_checkpoint_is_loaded_too():
    (candidate,) = find_candidates([Path("parcnet_xs.cifar10")], Wanted())
    cost = loading(candidate)
    # Its weights have 3 MB. torch itself, which is loaded before, would count a hundred.
    assert 3_000_000 < cost.peak_bytes < 100 * MIB
    assert cost.load_seconds > 0
    assert cost.first_seconds > 0
