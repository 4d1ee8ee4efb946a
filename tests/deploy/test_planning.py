"""Which artefacts an export makes, for which engines."""

import pytest

from bundles import tiny_spec
from parckit.contract import InputError
from parckit.deploy import ExportSettings
from parckit.deploy.planning import plan_conversions


def test_an_artefact_is_made_once_for_every_precision():
    (conversion,) = plan_conversions(tiny_spec(), ExportSettings())
    assert (conversion.artefact, conversion.precision, conversion.engines) == ("onnx-fp32", "fp32", ("onnxruntime",))


def test_names_that_no_engine_has_are_refused():
    with pytest.raises(InputError, match="engines='tensorflow': choose from torch, onnxruntime"):
        ExportSettings(engines=("tensorflow",))
