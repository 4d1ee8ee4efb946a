import sys

import pytest

from parckit.deploy import ExportError
from parckit.deploy.convert import tools


def test_a_converter_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "_LONGEST_SECONDS", 0.1)
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(ExportError, match=r"^pnnx did not convert the network within 0\.1 seconds$"):
        tools.run_tool(command, name="pnnx", folder=tmp_path, makes=tmp_path / "model.param")


def test_what_a_converter_says_last_is_told_in_one_line(tmp_path):
    command = (sys.executable, "-c", "import sys; sys.exit('first\\n' + 5 * 'no such operator\\n')")
    with pytest.raises(ExportError, match=r"pnnx cannot convert the network: exit code 1 \(no such operator no such"):
        tools.run_tool(command, name="pnnx", folder=tmp_path, makes=tmp_path / "model.param")
