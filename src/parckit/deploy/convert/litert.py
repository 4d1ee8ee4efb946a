"""The converter to LiteRT (`.tflite`), with litert-torch.

In half precision, the weights of convolutions and linear layers are stored so; all arithmetic stays float32.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.program import without_warnings, write_program
from parckit.deploy.convert.source import Source
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output

with capturing_native_output(), without_warnings():
    import litert_torch  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer import qtyping  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.algorithm_manager import AlgorithmName  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.quantizer import Quantizer  # pyright: ignore[reportMissingImports]

FILE = "model.tflite"
_INPUT = "args_0"
"""litert-torch calls the inputs args_0, args_1 and so on, and the outputs output_0, output_1 and so on."""


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Write a fused network to a `.tflite` file, whose input is NCHW as torch's.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: what was asked for.
        precision: `"fp16"` stores the weights in half precision; LiteRT computes in float32.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if litert-torch cannot convert the network.
    """
    path = folder / FILE

    def write(network: nn.Module, example: Tensor) -> None:
        litert_torch.convert(network, (example,)).export(os.fspath(path))
        if precision == "fp16":
            _halve_weights(path)

    return write_program(
        source,
        path,
        write,
        tool="litert-torch",
        image=_INPUT,
        settings=settings,
        precision=precision,
        file_format="tflite",
    )


def _halve_weights(path: Path) -> None:
    """Store the weights of all layers for which this is possible in half precision."""
    quantizer = Quantizer(os.fspath(path))
    quantizer.add_weight_only_config(
        ".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
    )
    quantizer.quantize().export_model(os.fspath(path), overwrite=True)
