"""What a converter starts from: a fused network and its description."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from parckit.contract import DecoderSpec, NetworkSpec, OutputSpec
from parckit.networks import head_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A network to convert.

    Attributes:
        network: the fused network in eval mode. A converter may change it.
        spec: describes the network; the size of its preprocessing becomes the size of the input.
        outputs: what the network returns, in order.
        decoder: how the outputs become an answer.
        work: folder for files that several converters share, such as the graph that both MNN and ncnn start from.
    """

    network: nn.Module
    spec: NetworkSpec
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec
    work: Path

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image, pixels."""
        preprocessing = self.spec.preprocessing
        return (preprocessing.channels, *preprocessing.size)


def source_of(network: nn.Module, spec: NetworkSpec, *, work: Path, decoder: DecoderSpec | None = None) -> Source:
    """Return the source of a fused network with the outputs and, if none is given, the decoder of its head."""
    head = head_of(spec)
    decoder = decoder or head.decoder(spec)
    return Source(network=network, spec=spec, outputs=head.outputs(spec), decoder=decoder, work=work)
