"""The TensorRT engine, on a graphics processor of NVIDIA.

It was written after the documentation of TensorRT 10 and of cuda-bindings 13, and nobody has run it yet.
"""

# Where the package is absent, the type checker takes this file for it.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorrt  # pyright: ignore[reportMissingImports]
from cuda.bindings import runtime as cuda  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec, ParckitError
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked. Threads of the CPU do not matter.

    Raises:
        InputError: if the engine cannot load it.
    """
    del threads
    path, name = folder / artefact.main_file, f"tensorrt {tensorrt.__version__}"
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    plan = runtime.deserialize_cuda_engine(path.read_bytes())
    if plan is None:
        raise cannot_load(path, engine=name, reason="the plan was built for another processor or version")
    return ArtefactSession(artefact, spec, engine=name, run=_Run(plan, artefact))


class _Run:
    """Runs a plan. Memory on the graphics processor is taken once."""

    def __init__(self, plan: tensorrt.ICudaEngine, artefact: Artefact) -> None:
        self._context = plan.create_execution_context()
        self._input = artefact.input.name
        (self._stream,) = _call(cuda.cudaStreamCreate())
        shapes = {output.name: tuple(plan.get_tensor_shape(output.name)) for output in artefact.outputs}
        self._results = {output.name: np.empty(shapes[output.name], output.dtype) for output in artefact.outputs}
        batch = np.empty([size or 1 for size in artefact.input.shape], artefact.input.dtype)
        self._places = {
            name: _call(cuda.cudaMalloc(array.nbytes))[0]
            for name, array in {self._input: batch, **self._results}.items()
        }
        for name, place in self._places.items():
            self._context.set_tensor_address(name, place)

    def __call__(self, images: Images) -> Sequence[npt.NDArray[np.generic]]:
        batch = np.ascontiguousarray(images)
        to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(cuda.cudaMemcpy(self._places[self._input], batch.ctypes.data, batch.nbytes, to_device))
        if not self._context.execute_async_v3(self._stream):
            raise ParckitError("TensorRT could not run the plan")
        _call(cuda.cudaStreamSynchronize(self._stream))
        for name, array in self._results.items():
            _call(cuda.cudaMemcpy(array.ctypes.data, self._places[name], array.nbytes, to_host))
        return [array.copy() for array in self._results.values()]


def _call(answer: Sequence[object]) -> Sequence[object]:
    """Return what a function of CUDA gave besides its error code.

    Raises:
        ParckitError: if it failed.
    """
    error, *values = answer
    if error != cuda.cudaError_t.cudaSuccess:
        raise ParckitError(f"CUDA failed: {error}")
    return values
