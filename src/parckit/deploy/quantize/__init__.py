"""Quantization: from a bundle with a float artefact to artefacts of precision int8."""

from parckit.deploy.quantize.checking import AccuracyError
from parckit.deploy.quantize.quantizing import find_sensitivity, quantize
from parckit.deploy.quantize.scheme import Bits, Scheme, read_scheme, write_scheme
from parckit.deploy.quantize.sensitivity import NodeSensitivity, Sensitivity
from parckit.deploy.quantize.settings import Calibrator, QuantizeSettings

__all__ = [
    "AccuracyError",
    "Bits",
    "Calibrator",
    "NodeSensitivity",
    "QuantizeSettings",
    "Scheme",
    "Sensitivity",
    "find_sensitivity",
    "quantize",
    "read_scheme",
    "write_scheme",
]
