"""What the keys of the official training files are in ours: the cvnets YAMLs that ParC-Net and MobileViT train from.

Written from recorded options, learning rates and batch sizes of the official trainings; the official code was not
opened. Keys that were not among them are named and meant as in Apple's published MobileViT YAMLs.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from parckit.cli.official_values import (
    averaging,
    betas,
    check_activation,
    crop,
    crop_pct,
    flag,
    flip,
    image_size,
    model_name,
    monitor,
    optimizer_name,
    resized_crop_pct,
    scales,
    source,
    sync_batchnorm,
    workers,
)

_NETWORK = "model.classification"
_AUGMENT = "image_augmentation"
_CROP = f"{_AUGMENT}.random_resized_crop"
_FLIP = f"{_AUGMENT}.random_horizontal_flip"
_VBS = "sampler.vbs"
_BS = "sampler.bs"


class Rule(NamedTuple):
    """Official keys that together make one of ours.

    Attributes:
        keys: the official ones; any of them sets ours.
        ours: None where parckit does anyway what `convert` does not refuse.
        convert: gets the values of `keys`, then those of `given`; None for what the file does not say.
        given: further official keys that ours depends on, without being said by it.
    """

    keys: tuple[str, ...]
    ours: str | None
    convert: Callable[..., object]
    given: tuple[str, ...] = ()


BASE: Mapping[str, object] = {
    "model.name": None,
    "model.kwargs": {},
    "model.optimizer.name": "adamw",
    "model.optimizer.decay_all": True,
    "model.schedule": {"warmup": 0, "warmup_unit": "steps", "cosine": "run", "per": "epoch"},
    "model.label_smoothing": 0.0,
    "data.source": "imagenet",
    "data.preprocessing": {"interpolation": "bilinear", "channel_order": "bgr"},
    "data.augment": {"crop": "none", "flip": 0.0},
    "trainer": {},
    "keep_best": 5,
}
"""What the official code does where a file says nothing else, OpenCV's channel order always; where the images are is a
guess that `--data` corrects."""

REQUIRED: Mapping[str, str] = {
    "model.name": f"{_NETWORK}.name",
    "data.batch_size": "dataset.train_batch_size0",
    "data.preprocessing.size": f"{_VBS}.crop_size_height and crop_size_width",
    "trainer.max_epochs": "scheduler.max_epochs",
    "model.optimizer.lr": "scheduler.cosine.max_lr",
}
"""Ours that nothing but the file can tell, and the official key that does."""

SWITCHES: tuple[tuple[str, str, str], ...] = (
    (rf"({_AUGMENT}\.\w+|ema|adjust_bn_momentum)\.", r"\1.enable", "True"),
    (r"(optim|scheduler)\.(\w+)\.", r"\1.name", r"\2"),
    (r"optim\.eps$", "optim.name", "adamw?"),
    (r"scheduler\.max_iterations$", "scheduler.is_iteration_based", "True"),
    (r"sampler\.vbs\.", "sampler.name", "variable_batch_sampler"),
    (r"sampler\.bs\.", "sampler.name", "batch_sampler"),
    (r"loss\.classification\.label_smoothing_factor$", "loss.classification.name", "label_smoothing"),
    (r"model\.classification\.mit\.", f"{_NETWORK}.name", "mobilevit"),
    (r"model\.classification\.(edgeformer|mobilenetv2|resnet)\.", f"{_NETWORK}.name", r"\1"),
)
"""Patterns of keys, the key that decides whether they mean anything, and the pattern of its values that do."""

IDLE: tuple[str, ...] = (
    f"{_NETWORK}.n_classes",  # follows from the data
    "*.activation.inplace",
    "dataset.name",
    "dataset.val_batch_size0",
    "dataset.eval_batch_size0",
    "dataset.pin_memory",
    "dataset.persistent_workers",
    "common.run_label",
    "common.log_freq",
    "common.auto_resume",  # says how a run is started: --resume auto
    "ddp.*",  # the launch decides how many processes there are
    "stats.name",
)
"""Patterns of keys without an effect on what is trained."""

SAME: Mapping[str, tuple[object, ...]] = {
    f"{_NETWORK}.pretrained": (None, ""),
    f"{_NETWORK}.edgeformer.ffn_dropout": (0,),
    f"{_NETWORK}.edgeformer.attn_dropout": (0,),
    f"{_NETWORK}.mit.ffn_dropout": (0,),
    f"{_NETWORK}.mit.attn_dropout": (0,),
    f"{_NETWORK}.mit.dropout": (0,),  # inside the blocks, where timm's MobileViT has none that can be set
    f"{_NETWORK}.mit.number_heads": (4,),
    f"{_NETWORK}.mit.no_fuse_local_global_features": (False,),
    f"{_NETWORK}.mit.conv_kernel_size": (3,),
    "model.normalization.momentum": (0.1,),
    "model.layer.global_pool": ("mean",),
    "model.layer.conv_init": ("kaiming_normal",),
    "model.layer.conv_init_std_dev": (None,),
    "model.layer.conv_weight_std": (False,),
    "model.layer.linear_init": ("trunc_normal",),
    "model.layer.linear_init_std_dev": (0.02,),
    "optim.adamw.amsgrad": (False,),
    "optim.adam.amsgrad": (False,),
    "scheduler.name": ("cosine",),
    "scheduler.is_iteration_based": (False,),
    "sampler.name": ("variable_batch_sampler", "batch_sampler"),
    f"{_VBS}.scale_inc": (False,),
    f"{_CROP}.aspect_ratio": ([3 / 4, 4 / 3],),
    f"{_AUGMENT}.center_crop.enable": (True,),
    f"{_AUGMENT}.resize.enable": (True,),
    "loss.category": ("classification",),
    "loss.classification.name": ("label_smoothing", "cross_entropy"),
    "dataset.category": ("classification",),
    "ema.copy_at_epoch": (-1,),
    "common.accum_after_epoch": (-1,),
    "common.resume": (None, ""),
}
"""Values that no key of ours need say: parckit does the same anyway."""

COPIED: Mapping[str, str] = {
    f"{_NETWORK}.classifier_dropout": "model.kwargs.drop_rate",
    f"{_NETWORK}.edgeformer.dropout": "model.kwargs.block_drop_rate",
    "optim.weight_decay": "model.optimizer.weight_decay",
    "optim.eps": "model.optimizer.options.eps",
    "optim.sgd.momentum": "model.optimizer.options.momentum",
    "scheduler.max_epochs": "trainer.max_epochs",
    "scheduler.warmup_iterations": "model.schedule.warmup",
    "scheduler.warmup_init_lr": "model.schedule.warmup_lr",
    "scheduler.cosine.max_lr": "model.optimizer.lr",
    "scheduler.cosine.min_lr": "model.schedule.min_lr",
    "loss.classification.label_smoothing_factor": "model.label_smoothing",
    "dataset.train_batch_size0": "data.batch_size",
    f"{_CROP}.scale": "data.augment.scale",
    f"{_CROP}.interpolation": "data.augment.interpolation",
    f"{_AUGMENT}.resize.interpolation": "data.preprocessing.interpolation",
    "common.accum_freq": "trainer.accumulate_grad_batches",
    "common.grad_clip": "trainer.gradient_clip_val",
    "common.k_best_checkpoints": "keep_best",
    "common.seed": "seed",
    "common.channels_last": "model.channels_last",
}
"""Official keys whose values are ours as they are."""

CONVERTED: tuple[Rule, ...] = (
    Rule(
        (
            f"{_NETWORK}.name",
            f"{_NETWORK}.edgeformer.mode",
            f"{_NETWORK}.mit.mode",
            f"{_NETWORK}.mobilenetv2.width_multiplier",
            f"{_NETWORK}.resnet.depth",
        ),
        "model.name",
        model_name,
    ),
    Rule((f"{_NETWORK}.activation.name", "model.activation.name"), None, check_activation, (f"{_NETWORK}.name",)),
    Rule(("model.normalization.name",), "trainer.sync_batchnorm", sync_batchnorm),
    Rule(("optim.name", "optim.sgd.nesterov"), "model.optimizer.name", optimizer_name),
    Rule(("optim.no_decay_bn_filter_bias",), "model.optimizer.decay_all", lambda spared: not flag(spared)),
    Rule(("optim.adamw.beta1", "optim.adamw.beta2"), "model.optimizer.options.betas", betas),
    Rule(("optim.adam.beta1", "optim.adam.beta2"), "model.optimizer.options.betas", betas),
    Rule((f"{_VBS}.crop_size_height", f"{_VBS}.crop_size_width"), "data.preprocessing.size", image_size),
    Rule((f"{_BS}.crop_size_height", f"{_BS}.crop_size_width"), "data.preprocessing.size", image_size),
    Rule((f"{_VBS}.crop_size_height", f"{_BS}.crop_size_height"), "data.preprocessing.crop_pct", crop_pct),
    Rule(
        (f"{_AUGMENT}.resize.size",),
        "data.preprocessing.crop_pct",
        resized_crop_pct,
        (f"{_VBS}.crop_size_height", f"{_BS}.crop_size_height"),
    ),
    Rule(
        (
            "sampler.name",
            f"{_VBS}.max_n_scales",
            f"{_VBS}.check_scale",
            f"{_VBS}.min_crop_size_height",
            f"{_VBS}.max_crop_size_height",
            f"{_VBS}.min_crop_size_width",
            f"{_VBS}.max_crop_size_width",
        ),
        "data.sizes",
        scales,
        (f"{_VBS}.crop_size_height", f"{_VBS}.crop_size_width"),
    ),
    Rule((f"{_CROP}.enable",), "data.augment.crop", crop),
    Rule((f"{_FLIP}.enable", f"{_FLIP}.p"), "data.augment.flip", flip),
    Rule(("dataset.root_train", "dataset.root_val"), "data.source", source),
    Rule(("dataset.workers",), "data.workers", workers),
    Rule(("ema.enable", "ema.momentum"), "ema", averaging),
    Rule(("common.mixed_precision",), "trainer.precision", lambda mixed: "16-mixed" if flag(mixed) else "32-true"),
    Rule(("stats.checkpoint_metric", "stats.checkpoint_metric_max"), "monitor", monitor),
)
"""The other keys."""
