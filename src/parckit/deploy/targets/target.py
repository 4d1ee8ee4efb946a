"""What a board's maker publishes about the networks that its compiler takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvLimits:
    """Limits of one Conv on the NPU; None where the source does not say one.

    Attributes:
        stride: largest stride along an axis.
        padding: largest padding at one side.
        dilation: largest dilation along an axis.
        channels: most input channels and most output channels of one group.
        weights: most weights of one output channel: channels of the group x height x width of the kernel.
    """

    stride: int | None = None
    padding: int | None = None
    dilation: int | None = None
    channels: int | None = None
    weights: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The published limits of a board, and how a network is exported for it.

    A limit that the source does not say is None or left out. It is not checked.

    Attributes:
        title: the board and its NPU.
        source: the documents, with version and address.
        unknown: what the source does not say, or what the check does not look at.
        opset: ONNX opset to export with. The IR version is the lowest one that allows it.
        opsets: lowest and highest opset that the compiler takes.
        highest_ir: highest IR version that it takes.
        batch_size: number of images that the network takes at once.
        kernels: operator -> its longest kernel along an axis. Exports split longer kernels of Conv.
        conv: further limits of Conv.
        operators: operators that run on the NPU; or, if the source does not say where, that are supported.
        on_cpu: operators that run, but on the board's CPU, which is slower; None if the source does not say.
        input_dims: number of dimensions of the network's input.
        rank: largest number of dimensions of a tensor.
        ranks: operator -> largest number of dimensions, where it differs from `rank`.
        types: element types of the tensors between operators.
        most_outputs: most outputs of a network.
    """

    title: str
    source: str
    unknown: str
    opset: int
    opsets: tuple[int, int]
    highest_ir: int | None = None
    batch_size: int = 1
    kernels: Mapping[str, int]
    conv: ConvLimits = field(default_factory=ConvLimits)
    operators: frozenset[str]
    on_cpu: frozenset[str] | None = None
    input_dims: int | None = None
    rank: int | None = None
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])
    types: frozenset[str] | None = None
    most_outputs: int | None = None

    @property
    def longest_kernel(self) -> int:
        """The longest kernel of a convolution along an axis."""
        return self.kernels["Conv"]

    def rank_of(self, operator: str) -> int | None:
        """Return the largest number of dimensions of an operator's tensors; None if it is not known."""
        return self.ranks.get(operator, self.rank)
