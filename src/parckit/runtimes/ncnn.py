"""The ncnn engine, on the CPU. A network is two files: `.param` holds the layers, `.bin` the weights.

ncnn knows no batches, and calls inputs and outputs in0, out0, out1 and so on.
"""

# Where the package is absent, the type checker takes this file for it.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path

import ncnn  # pyright: ignore[reportMissingImports]
import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, InputError, NetworkSpec
from parckit.runtimes.native_output import capturing_native_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load, in_shape


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    layers, weights, *_ = (folder / file for file in artefact.files)
    engine = f"ncnn {ncnn.__version__}"
    network = ncnn.Net()
    in_half = artefact.precision == "fp16"
    options = network.opt
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = in_half
    if threads is not None:
        options.num_threads = threads
    with capturing_native_output() as printed:
        if network.load_param(str(layers)) or network.load_model(str(weights)):
            raise cannot_load(layers, engine=engine, reason=printed())
    shapes = [output.shape for output in artefact.outputs]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        extractor = network.create_extractor()
        image = np.ascontiguousarray(images[0])
        extractor.input(artefact.input.name, ncnn.Mat(image))
        return [_extract(extractor, index, shape, layers) for index, shape in enumerate(shapes)]

    return ArtefactSession(artefact, spec, engine=engine, run=run)


def _extract(extractor: ncnn.Extractor, index: int, shape: Sequence[int | None], path: Path) -> npt.NDArray[np.generic]:
    failed, output = extractor.extract(f"out{index}")
    if failed:
        raise InputError(f"{path}: ncnn cannot compute output {index} (error {failed})")
    return in_shape(np.array(output), shape)
