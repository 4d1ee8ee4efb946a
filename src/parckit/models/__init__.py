"""Backbones, registered with timm by importing this package; folding for deployment; official weights."""

from parckit.models.build import build_model, check_input, create_model, preprocessing_of
from parckit.models.folding import fuse
from parckit.models.official import load_official_state_dict
from parckit.models.parcnet import ParCNet

__all__ = [
    "ParCNet",
    "build_model",
    "check_input",
    "create_model",
    "fuse",
    "load_official_state_dict",
    "preprocessing_of",
]
