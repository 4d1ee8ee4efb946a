"""The networks that the tests of engines run: every family of backbones, and every head over one of them."""

from backbones import SHALLOW, SLIM
from parckit.contract import NetworkSpec, Preprocessing

SIZE = (64, 96)
NETWORKS = {
    "parcnet": ("classify", "test_parcnet", "classifier"),
    "tinydet": ("detect", "test_parcnet", "tinydet"),
    "deeplabv3": ("segment", "test_parcnet", "deeplabv3"),
    "parcnetv2": ("classify", "test_parcnetv2", "classifier"),
    "edgevit": ("classify", "test_edgevit", "classifier"),
    "convnext": ("classify", "parc_convnext_xt", "classifier"),
    "resnet": ("classify", "parc_resnet50", "classifier"),
    "mobilenetv2": ("classify", "parc_mobilenetv2", "classifier"),
    "mobilevit": ("classify", "mobilevit_xxs", "classifier"),
    "ssd": ("detect", "test_parcnet", "ssd"),
    "lraspp": ("segment", "test_parcnet", "lraspp"),
    "upernet": ("segment", "test_parcnet", "upernet"),
}
"""Name -> task, backbone and head."""
ONE_A_TASK = tuple(NETWORKS)[:3]
UNRUN = ("coreml", "tensorrt", "hbm_runtime", "hobot_dnn", "rknn")
"""Engines that do not run here. CoreML needs macOS, TensorRT a graphics processor, the last three a board."""


def spec_of(name: str) -> NetworkSpec:
    task, backbone, head = NETWORKS[name]
    return NetworkSpec(
        task=task,
        backbone=backbone,
        backbone_kwargs=SLIM.get(backbone) or SHALLOW.get(backbone, {}),
        head=head,
        head_kwargs={"width": 8} if task == "segment" else {},
        labels=("ant", "bee", "cat", "dog"),
        preprocessing=Preprocessing(size=SIZE),
    )
