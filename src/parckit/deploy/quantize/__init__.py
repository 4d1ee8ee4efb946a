"""Quantization: from a bundle with a float artefact to artefacts of precision int8."""
