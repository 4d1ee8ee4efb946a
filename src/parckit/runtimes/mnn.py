"""The MNN engine, on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.native_output import capturing_native_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

with capturing_native_output():  # it prints what the processor can do
    import MNN  # pyright: ignore[reportMissingImports]
    from MNN import expr, nn  # pyright: ignore[reportMissingImports]

_WINOGRAD = (3, 1)
"""MNN's hint WINOGRAD_MEMORY_LEVEL and its value. With the usual value, 3, MNN computes convolutions of 3x3 in large
tiles. For UPerNet on ParC-Net-XS, their rounding reached 5e-4 of the largest output; with small tiles it was 2e-6, and
the network was as fast."""


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"mnn {MNN.version()}"
    names = [output.name for output in artefact.outputs]
    settings: dict[str, object] = {
        "backend": "CPU",
        # On processors with half precision, "low" computes in it what is not int8, and "high" computes that in float32.
        "precision": "low" if artefact.precision == "fp16" else "high",
    }
    if threads is not None:
        # Only a manager of the runtime takes the number: MNN 3.6 ignores it as an argument of the loading function.
        settings["numThread"] = threads
    with capturing_native_output() as printed:
        runtime = nn.create_runtime_manager((settings,))
        runtime.set_hint(*_WINOGRAD)
        try:
            network = nn.load_module_from_file(str(path), [artefact.input.name], names, runtime_manager=runtime)
        except SystemError as error:  # MNN prints the reason
            raise cannot_load(path, engine=engine, reason=printed() or error) from error

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        batch = expr.const(np.ascontiguousarray(images), list(images.shape), expr.NCHW, expr.float)
        outputs = network.forward([batch])
        # Inside, channels lie in blocks of four.
        return [np.array(expr.convert(output, expr.NCHW).read()) for output in outputs]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
