"""A small network that segments, with random weights, and a session that runs it."""

import numpy as np
import torch
from torch import nn

from parckit.contract import DecoderSpec, InputSpec, NetworkSpec, OutputSpec, Preprocessing
from parckit.processing import SEGMENT
from parckit.runtimes import Images, Outputs

LABELS = ("background", "cat", "dog", "owl")


def pixel_network(*, classes: int = len(LABELS), seed: int = 0) -> nn.Module:
    """Return a network whose logits have a quarter of the input's size. It sees far, so borders of windows matter."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3),
        nn.Tanh(),
        nn.Conv2d(8, 8, 7, stride=2, padding=9, dilation=3),
        nn.Tanh(),
        nn.Conv2d(8, classes, 1),
    ).eval()
    for name, parameter in network.named_parameters():
        # Without biases, no class is more frequent than the others.
        parameter.data *= 0 if name.endswith("bias") else 3
    return network


class PixelSession:
    """Runs `pixel_network`; keeps the shapes of what it got."""

    def __init__(self, size: tuple[int, int], *, batch_size: int = 1, fit: str = "stretch") -> None:
        preprocessing = Preprocessing(size=size, fit=fit, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), fill=(9, 99, 199))
        self.spec = NetworkSpec(task="segment", backbone="none", head="x", labels=LABELS, preprocessing=preprocessing)
        self.input = InputSpec(shape=(batch_size, 3, *size))
        shape = (batch_size, len(LABELS), None, None)
        self.outputs = (OutputSpec(name="logits", dtype="float32", layout="NCHW", shape=shape),)
        self.decoder = DecoderSpec(name=SEGMENT)
        self.engine, self.artefact, self.batch_size = "by hand", "pixels", batch_size
        self.network = pixel_network()
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: Images) -> Outputs:
        self.shapes.append(images.shape)
        with torch.inference_mode():
            return (self.network(torch.from_numpy(np.ascontiguousarray(images))).numpy(),)
