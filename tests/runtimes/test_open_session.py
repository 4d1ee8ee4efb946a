import subprocess
import sys

import pytest

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import InputError
from parckit.models import build_model
from parckit.runtimes import open_session
from parckit.runtimes.torch import save_weights


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def checkpoint(tmp_path):
    save_weights(build_model(tiny_spec()), tiny_spec(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
def test_a_folder_opens_in_onnxruntime(bundle, runtime):
    assert open_session(bundle, runtime=runtime).engine.startswith("onnxruntime ")


@pytest.mark.parametrize("runtime", [None, "torch"])
def test_a_file_opens_in_torch(checkpoint, runtime):
    assert open_session(checkpoint, runtime=runtime, threads=1).engine.startswith("torch ")


def test_a_runtime_that_cannot_open_the_path_is_refused(bundle, checkpoint):
    with pytest.raises(InputError, match=r"bundle: runtime='torch' opens a \.ckpt"):
        open_session(bundle, runtime="torch")
    with pytest.raises(InputError, match=r"w\.safetensors: runtime='onnxruntime' opens a bundle"):
        open_session(checkpoint, runtime="onnxruntime")


def test_unknown_runtimes_and_paths_are_refused(bundle):
    with pytest.raises(InputError, match="runtime='tensorrt'"):
        open_session(bundle, runtime="tensorrt")
    with pytest.raises(InputError, match="no such file or folder"):
        open_session(bundle / "absent")


def test_onnxruntime_needs_no_torch(bundle):
    code = (
        "import sys; from pathlib import Path; from parckit.runtimes import open_session;"
        "open_session(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(bundle)], check=False).returncode == 0
