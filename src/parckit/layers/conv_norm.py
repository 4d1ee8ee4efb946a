"""The convolution that the ParC-Net family is built of."""

from functools import partial

from timm.layers import ConvNormAct
from torch import nn

ConvNormSiLU = partial(ConvNormAct, act_layer=nn.SiLU)
"""Convolution without bias, BatchNorm, SiLU (`apply_act=False` leaves it out), padded to keep the size at stride 1."""
