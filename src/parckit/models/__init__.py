"""Backbones, registered with timm by importing this package; folding for deployment; official weights."""

import parckit.models.folding_parc  # noqa: F401  # registers folding rules  # pyright: ignore[reportUnusedImport]
import parckit.models.folding_pool  # noqa: F401  # registers folding rules  # pyright: ignore[reportUnusedImport]
import parckit.models.folding_v2  # noqa: F401  # registers folding rules  # pyright: ignore[reportUnusedImport]
from parckit.models.build import (
    build_backbone,
    build_on_meta,
    copy_model,
    create_model,
    preprocessing_of,
    shadow_of,
    try_images,
)
from parckit.models.edgevit import EdgeViT
from parckit.models.folding import FUSED_PREFIX, fuse
from parckit.models.official import (
    check_official_keys,
    expect_official_input,
    load_any_state_dict,
    load_official_state_dict,
    rename_official_key,
    unwrap_state_dict,
    weights_in,
)
from parckit.models.parcifying import Parcified, ParCReport, Replacement, parcify
from parckit.models.parcnet import ParCNet
from parckit.models.parcnetv2 import ParCNetV2
from parckit.models.stages import stages_of
from parckit.models.state_dicts import compare_keys, describe_faults

__all__ = [
    "FUSED_PREFIX",
    "EdgeViT",
    "ParCNet",
    "ParCNetV2",
    "ParCReport",
    "Parcified",
    "Replacement",
    "build_backbone",
    "build_on_meta",
    "check_official_keys",
    "compare_keys",
    "copy_model",
    "create_model",
    "describe_faults",
    "expect_official_input",
    "fuse",
    "load_any_state_dict",
    "load_official_state_dict",
    "parcify",
    "preprocessing_of",
    "rename_official_key",
    "shadow_of",
    "stages_of",
    "try_images",
    "unwrap_state_dict",
    "weights_in",
]
