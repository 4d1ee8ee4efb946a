"""Operators and blocks in plain torch: circular convolution and the ParC block."""

from parckit.layers.circular import (
    Axis,
    CircularConv2d,
    Form,
    PositionEmbedding,
    circular_conv,
    circular_conv_reference,
    resize_along,
)
from parckit.layers.conv_norm import ConvNormSiLU
from parckit.layers.inverted_residual import InvertedResidual
from parckit.layers.parc import ChannelGate, FeedForward, ParCBlock, ParCBranch
from parckit.layers.parc_stage import Fusion, ParCStage

__all__ = [
    "Axis",
    "ChannelGate",
    "CircularConv2d",
    "ConvNormSiLU",
    "FeedForward",
    "Form",
    "Fusion",
    "InvertedResidual",
    "ParCBlock",
    "ParCBranch",
    "ParCStage",
    "PositionEmbedding",
    "circular_conv",
    "circular_conv_reference",
    "resize_along",
]
