"""How a layer differs, in words; `test_export.py` runs whole searches."""

from types import SimpleNamespace
from typing import cast

from parckit.deploy.divergence import Suspect, _fault_of
from parckit.measure.parity import Difference


def test_a_cosine_that_is_too_low_looks_lower():
    suspect = cast("Suspect", SimpleNamespace(conversion=SimpleNamespace(precision="fp32")))
    difference = Difference(output="x", max_abs=0, tolerance=1, figures={"cosine": 0.9999899})
    assert _fault_of(difference, suspect, "cosine") == "with a lowest cosine of 0.9999899, accepted is 0.99999"
