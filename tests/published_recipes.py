"""How the ImageNet recipes are to train: what papers and official scripts say, by recipe."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """How one recipe is to train.

    Attributes:
        settings: values by their place in a recipe, all but the schedule.
        rates: learning rates by the time, in epochs.
    """

    settings: Mapping[str, object]
    rates: Mapping[float, float]


def _constant_inside_epochs(rates: Mapping[int, float]) -> Mapping[float, float]:
    return {epoch + share: rate for epoch, rate in rates.items() for share in (0.0, 0.9)}


_PLAIN: Mapping[str, object] = {
    "data.source": "imagenet",
    "data.sizes": None,
    "data.repeats": 1,
    "data.preprocessing.size": (224, 224),
    "data.preprocessing.crop_pct": 0.875,
    "data.preprocessing.interpolation": "bilinear",
    "data.preprocessing.mean": (0.485, 0.456, 0.406),
    "data.preprocessing.std": (0.229, 0.224, 0.225),
    "data.preprocessing.channel_order": "rgb",
    "task.augment.crop": "random_resized",
    "task.augment.scale": (0.08, 1.0),
    "task.augment.flip": 0.5,
    "task.augment.policy": "none",
    "task.augment.interpolation": None,
    "task.augment.erasing": 0.0,
    "task.augment.until": 1.0,
    "task.mixing": None,
    "task.label_smoothing": 0.1,
    "model.optimizer.decay_all": False,
    "model.optimizer.layer_decay": None,
    "model.optimizer.options": {},
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip_val": None,
    "trainer.precision": None,
    "trainer.max_epochs": 300,
    "ema": None,
}

_HEAVY: Mapping[str, object] = {key: value for key, value in _PLAIN.items() if key not in {"task.mixing", "ema"}} | {
    "data.preprocessing.interpolation": "bicubic",
    "task.augment.policy": "rand-m9-mstd0.5-inc1",
    "task.augment.interpolation": "bicubic",
    "task.augment.erasing": 0.25,
    "task.mixing.mixup": 0.8,
    "task.mixing.cutmix": 1.0,
    "task.mixing.switch": 0.5,
    "model.optimizer.name": "adamw",
    "model.optimizer.weight_decay": 0.05,
}


def _parcnet(weight_decay: float) -> Published:
    # golden/README.md, sections 6.1 and 9.1. The batch is that of 8 GPUs.
    settings = {
        "model.kwargs": {"drop_rate": 0.2, "block_drop_rate": 0.1},
        "model.optimizer.name": "adamw",
        "model.optimizer.lr": 4e-3,
        "model.optimizer.lr_batch": 8 * 128,
        "model.optimizer.weight_decay": weight_decay,
        "model.optimizer.decay_all": True,
        "data.batch_size": 128,
        "data.sizes.sides": (160, 192, 256, 288, 320),
        "data.sizes.base": 256,
        "data.preprocessing.size": (256, 256),
        "data.preprocessing.crop_pct": 256 / 288,
        "data.preprocessing.mean": (0.0, 0.0, 0.0),
        "data.preprocessing.std": (1.0, 1.0, 1.0),
        "data.preprocessing.channel_order": "bgr",
        "trainer.precision": "16-mixed",
        "trainer.sync_batchnorm": False,
        "ema.decay": 0.9995,
        "ema.ramp": False,
        "keep_best": 5,
        "monitor": "val_top1",
    }
    plain = {key: value for key, value in _PLAIN.items() if key not in {"data.sizes", "ema"}}
    middle = (4e-3 + 4e-4) / 2  # of the warm-up, which takes 3,000 steps, and of the cosine
    rates = {0: 4e-4, 1500 / (1_281_167 // 1024): middle} | _constant_inside_epochs({150: middle})
    return Published(settings=plain | settings, rates=rates)


# 8 GPUs, 128 images each, four batches a step.
_4096_IMAGES: Mapping[str, object] = {
    "model.optimizer.lr": 4e-3,
    "model.optimizer.lr_batch": 4096,
    "data.batch_size": 128,
    "trainer.accumulate_grad_batches": 4,
}


def _parcnetv2(drop_path_rate: float) -> Published:
    # The official scripts and timm 0.6.12 (golden/README.md, sections 6.5 and 9.3); XT's drop path is ours.
    settings = {
        "model.kwargs": {"drop_path_rate": drop_path_rate},
        "task.augment.interpolation": "random",
        "trainer.max_epochs": 310,
        "ema": None,
    }
    rates = {0: 1e-6, 10: (1e-6 + 4e-3) / 2, 150: (4e-3 + 1e-5) / 2, 300: 1e-5, 309: 1e-5}
    return Published(settings=_HEAVY | _4096_IMAGES | settings, rates=_constant_inside_epochs(rates))


# arXiv:2201.03545, appendix A.1, ConvNeXt-T, with the EMA of its documented commands (golden/README.md, section 9.4).
_CONVNEXT = Published(
    settings=_HEAVY | _4096_IMAGES | {"model.kwargs": {"drop_path_rate": 0.1}, "ema.decay": 0.9999, "ema.ramp": False},
    rates={0: 0.0, 10.5: 2.1e-3, 20: 4e-3, 160: (4e-3 + 1e-6) / 2, 300: 1e-6},
)

# The official defaults (golden/EDGEVIT.md, section 6); the official schedule runs one epoch behind.
_EDGEVIT = Published(
    settings=_HEAVY
    | {
        "model.kwargs": {"drop_path_rate": 0.1},
        "model.optimizer.lr": 2e-3,
        "model.optimizer.lr_batch": 2048,
        "data.batch_size": 256,
        "data.repeats": 3,
        "trainer.precision": "16-mixed",
        "ema.decay": 0.99996,
        "ema.ramp": False,
    },
    rates=_constant_inside_epochs({0: 1e-6, 1: 4.008e-4, 4: 1.6002e-3, 5: 1.9986364e-3, 150: 1.005e-3}),
)

# GluonCV's mobilenetv2_1.0.sh (dmlc/web-data): 4 GPUs with 64 images each; the dropout is the official hybrid's.
_MOBILENETV2 = Published(
    settings=_PLAIN
    | {
        "model.kwargs": {"drop_rate": 0.2},
        "model.optimizer.name": "sgd",
        "model.optimizer.lr": 0.05,
        "model.optimizer.lr_batch": 256,
        "model.optimizer.weight_decay": 4e-5,
        "model.optimizer.options": {"momentum": 0.9},
        "data.batch_size": 32,
        "trainer.max_epochs": 150,
    },
    rates={0: 0.0, 2.5: 0.025, 5: 0.05, 77.5: 0.025, 150: 0.0},
)

PUBLISHED: Mapping[str, Published] = {
    "parcnet_xs": _parcnet(0.025),
    "parcnet_s": _parcnet(0.025),
    "parcnet_h": _parcnet(0.05),
    "parcnetv2_xt": _parcnetv2(0.1),
    "parcnetv2_tiny": _parcnetv2(0.2),
    "parcnetv2_small": _parcnetv2(0.3),
    "parcnetv2_base": _parcnetv2(0.4),
    "parc_convnext_xt": _CONVNEXT,
    "parc_resnet50": _CONVNEXT,
    "parc_edgevit_xs": _EDGEVIT,
    "parc_mobilenetv2": _MOBILENETV2,
}
