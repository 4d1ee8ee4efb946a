"""The writer of `.tflite` files in int8, with the quantizer of Google's AI Edge.

It starts from the float file in the bundle, because litert-torch makes it of the torch network, not of the ONNX graph.
So the scheme's ranges do not reach it: the quantizer runs the calibration pictures itself, and takes the lowest and
the highest number of every activation.
"""

import os
from dataclasses import replace
from pathlib import Path

from parckit.contract import Artefact, read_contract, sha256_of
from parckit.deploy.convert.program import without_warnings
from parckit.deploy.quantize.source import QuantizationSource
from parckit.deploy.quantize.writers import FLOAT_LITERT
from parckit.runtimes.native_output import capturing_native_output

with capturing_native_output(), without_warnings():
    from ai_edge_quantizer import qtyping, recipe  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.algorithm_manager import AlgorithmName  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.quantizer import Quantizer  # pyright: ignore[reportMissingImports]

FILE = "model.tflite"
_METHOD = "minmax"
_SIGNATURE = "serving_default"
"""Name that litert-torch gives the network's only function."""


def write(source: QuantizationSource, *, folder: Path) -> Artefact:
    """Write a network in int8.

    Returns:
        The artefact, not yet checked. Paths of its files are relative to `folder`.

    """
    bundle = source.file.parents[1]
    network = read_contract(bundle).artefact(FLOAT_LITERT)
    groups = source.pictures.groups(network.input.batch_size or 1)
    samples = [{network.input.name: group} for group in groups]
    with capturing_native_output(), without_warnings():
        quantizer = Quantizer(os.fspath(bundle / network.main_file), recipe.static_wi8_ai8())
        for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):  # they stay in float32
            quantizer.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
        ranges = quantizer.calibrate({_SIGNATURE: samples})
        quantizer.quantize(ranges).export_model(os.fspath(folder / FILE), overwrite=True)
    described = source.describe("tflite")
    return replace(
        described,
        input=network.input,
        outputs=network.outputs,
        options={**network.options, "calibrator": _METHOD, "seed": source.settings.seed},
        calibration=source.pictures.calibration(_METHOD),
        files={FILE: sha256_of(folder / FILE)},
    )
