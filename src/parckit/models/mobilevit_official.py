"""How official MobileViT checkpoints fit timm's `mobilevit_xs` and `mobilevit_s`.

Source: Mehta, Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", ICLR 2022,
arXiv:2110.02178. timm's models give the outputs of the official models at every size; only the names of weights differ.
"""

OFFICIAL_INPUT = {
    "channel_order": "bgr",
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "crop_pct": 256 / 288,
    "interpolation": "bilinear",
}
"""The input of the official checkpoints: OpenCV's channel order, value / 255, shorter side at 288, a crop of 256."""

OFFICIAL_NAMES = (
    (r"^conv_1\.", "stem."),
    (r"^conv_1x1_exp\.", "final_conv."),
    (r"^classifier\.", "head."),
    (r"^layer_(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"\.block\.exp_1x1\.", ".conv1_1x1."),
    (r"\.block\.conv_3x3\.", ".conv2_kxk."),
    (r"\.block\.red_1x1\.", ".conv3_1x1."),
    (r"\.local_rep\.conv_3x3\.", ".conv_kxk."),
    (r"\.local_rep\.conv_1x1\.block\.conv\.", ".conv_1x1."),
    (r"\.global_rep\.\d+\.(weight|bias)$", r".norm.\1"),
    (r"\.global_rep\.", ".transformer."),
    (r"\.pre_norm_mha\.0\.", ".norm1."),
    (r"\.pre_norm_mha\.1\.qkv_proj\.", ".attn.qkv."),
    (r"\.pre_norm_mha\.1\.out_proj\.", ".attn.proj."),
    (r"\.pre_norm_ffn\.0\.", ".norm2."),
    (r"\.pre_norm_ffn\.1\.", ".mlp.fc1."),
    (r"\.pre_norm_ffn\.4\.", ".mlp.fc2."),
    (r"\.fusion\.", ".conv_fusion."),
    (r"\.block\.conv\.", ".conv."),
    (r"\.block\.norm\.", ".bn."),
)
"""(pattern, replacement) pairs that turn official keys into timm's, applied in this order."""
