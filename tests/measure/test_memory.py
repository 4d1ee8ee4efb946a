import subprocess
import sys

import numpy as np
import pytest

from bundles import write_tiny_graph
from parckit.contract import ParckitError
from parckit.measure.memory import peak_memory

MIB = 1 << 20


def test_a_models_weights_are_in_its_peak_and_its_callers_are_not(tmp_path):
    # Touched, so that this process's peak is larger than the child's can be.
    mine = np.ones(64 * MIB)
    write_tiny_graph(tmp_path / "small.onnx")
    write_tiny_graph(tmp_path / "large.onnx", ballast=8 * MIB)
    small, large = peak_memory(tmp_path / "small.onnx"), peak_memory(tmp_path / "large.onnx")
    assert mine.sum() == mine.size
    # A session without weights needs a few MiB; 32 MiB of weights are held once at least, a few times at most.
    assert 0 < small < 32 * MIB
    assert 32 * MIB <= large - small <= 4 * 32 * MIB


def test_a_model_that_cannot_be_loaded_is_named_in_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ParckitError, match=r"model\.onnx: .*failed") as caught:
        peak_memory(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_the_fresh_process_loads_no_torch():
    code = "import sys, parckit.measure.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
