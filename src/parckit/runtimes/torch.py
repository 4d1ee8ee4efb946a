"""The torch engine, on the CPU: it runs checkpoints."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from parckit.contract import InputSpec, NetworkSpec
from parckit.networks import head_of, open_checkpoint
from parckit.runtimes.protocol import Images, Outputs, check_images


class TorchSession:
    """A torch network on the CPU, in eval mode. It takes images of every size that the network takes.

    Args:
        network: the network; set to eval mode.
        spec: what it is.
        name: of the checkpoint.
        threads: torch's threads while it runs, restored afterwards; None leaves them alone.
    """

    def __init__(self, network: nn.Module, spec: NetworkSpec, *, name: str = "", threads: int | None = None) -> None:
        head = head_of(spec)
        self.spec = spec
        self.input = InputSpec(shape=(None, spec.preprocessing.channels, None, None))
        self.outputs = head.outputs(spec)
        self.decoder = head.decoder(spec)
        self.engine = f"torch {torch.__version__}"
        self.artefact = name
        self.batch_size = 1
        self._network = network.eval()
        self._threads = threads

    def __call__(self, images: Images) -> Outputs:
        """Run the network; see `Session`."""
        check_images(images, self.input)
        # torch warns of arrays that it could not write to, and refuses negative strides.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        with torch_threads(self._threads), torch.inference_mode():
            outputs = self._network(batch)
        return tuple(output.numpy() for output in ((outputs,) if isinstance(outputs, Tensor) else outputs))


def open_file(path: Path, *, threads: int | None = None) -> TorchSession:
    """Open a checkpoint.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    network, spec = open_checkpoint(path)
    return TorchSession(network, spec, name=path.name, threads=threads)


@contextmanager
def torch_threads(threads: int | None) -> Generator[None]:
    """Give torch a number of threads, and restore the former one afterwards; None changes nothing."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
