"""Quantization: artefacts of precision int8."""
