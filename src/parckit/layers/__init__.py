"""Operators and blocks in plain torch: convolutions along an axis, and the parts of every family."""

from parckit.layers.along_axis import (
    Axis,
    AxisConv2d,
    axis_conv,
    resize_along,
)
from parckit.layers.axis_form import FORMS, Form, Padding
from parckit.layers.circular import CircularConv2d, PositionEmbedding
from parckit.layers.constant_axis import ConstantAxisConv2d
from parckit.layers.conv_norm import ConvNormSiLU
from parckit.layers.edgevit import EdgeViTBlock, ParCMixer, PatchEmbedding, SparseAttention
from parckit.layers.inverted_residual import InvertedResidual
from parckit.layers.oversized import OversizedConv2d
from parckit.layers.parc import ChannelGate, FeedForward, ParCBlock, ParCBranch
from parckit.layers.parc_conv import ParCConv2d
from parckit.layers.parc_stage import Fusion, ParCStage
from parckit.layers.parcv2 import (
    BifurcateGateUnit,
    CenteredL2Norm2d,
    OversizedMixer,
    ParCV2Block,
    ParCV2Downsample,
    ParCV2Stem,
)
from parckit.layers.training_only import TrainingOnly, remove_training_only

__all__ = [
    "FORMS",
    "Axis",
    "AxisConv2d",
    "BifurcateGateUnit",
    "CenteredL2Norm2d",
    "ChannelGate",
    "CircularConv2d",
    "ConstantAxisConv2d",
    "ConvNormSiLU",
    "EdgeViTBlock",
    "FeedForward",
    "Form",
    "Fusion",
    "InvertedResidual",
    "OversizedConv2d",
    "OversizedMixer",
    "Padding",
    "ParCBlock",
    "ParCBranch",
    "ParCConv2d",
    "ParCMixer",
    "ParCStage",
    "ParCV2Block",
    "ParCV2Downsample",
    "ParCV2Stem",
    "PatchEmbedding",
    "PositionEmbedding",
    "SparseAttention",
    "TrainingOnly",
    "axis_conv",
    "remove_training_only",
    "resize_along",
]
