"""Which options of Lightning's trainer a run accepts. An option that would give wrong numbers is refused."""

import math
from collections.abc import Callable, Mapping

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from parckit.contract import BEST, InputError

_REFUSED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "fast_dev_run": (bool, "keeps no checkpoint; try --trainer.max_epochs 1"),
    "overfit_batches": (bool, "takes other images for the validation; use --trainer.limit_train_batches"),
    "max_time": (
        lambda value: value is not None,
        "skips the rest of the epoch; `timeout --signal=TERM 8h parckit train ...` ends so that the run can go on"
        " exactly",
    ),
    "limit_test_batches": (lambda value: value is not None, "a training has no test; use `parckit eval`"),
    "limit_predict_batches": (lambda value: value is not None, "a training predicts nothing; use `parckit predict`"),
    "limit_train_batches": (lambda value: value == 0, "nothing would be learned"),
    "limit_val_batches": (lambda value: value == 0, f"{BEST} is chosen by validation"),
    "val_check_interval": (lambda value: value == 0, f"{BEST} is chosen by validation"),
    "precision": (lambda value: value == "16-true", "loses small updates of the weights; use 16-mixed"),
    "enable_checkpointing": (lambda value: value is False, "parckit always writes checkpoints"),
    "barebones": (bool, "keeps neither checkpoints nor logs"),
    "use_distributed_sampler": (bool, "parckit distributes the images to the processes itself"),
    "reload_dataloaders_every_n_epochs": (bool, "parckit draws other images in every epoch anyway"),
    "model_registry": (lambda value: value is not None, "parckit uploads no models"),
}
"""Option -> which values are refused, and why."""

_LEAST: Mapping[str, float] = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
}
"""Option -> smallest value."""

_MOST = 2**31 - 1
"""Larger numbers overflow in Lightning and torch."""

PROFILERS: Mapping[str, type[SimpleProfiler] | type[AdvancedProfiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
}
"""Name of a profiler -> its class."""

_FLOAT32 = ("32-true", "16-mixed", "bf16-mixed", 32, "32", 16, "16", "bf16")
"""Precisions with weights in float32. `16` and `bf16` are Lightning's short forms of `16-mixed` and `bf16-mixed`."""

_OTHER_WEIGHTS = ("64-true", "bf16-true", 64, "64")
"""Precisions with other weights."""

_CHOICES: Mapping[str, tuple[object, ...]] = {
    "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "strategy": ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    "precision": (None, *_FLOAT32, *_OTHER_WEIGHTS),
    "gradient_clip_algorithm": (None, "norm", "value"),
    "profiler": (None, *PROFILERS),
}
"""Option -> its values."""


def check_trainer(options: Namespace, *, has_ema: bool) -> None:
    """Refuse options of the trainer that cannot give right numbers.

    Args:
        options: the group `trainer` of a recipe.
        has_ema: whether the run averages weights.

    Raises:
        InputError: for the first such option.
    """
    for name, (is_refused, reason) in _REFUSED.items():
        if is_refused(options[name]):
            raise InputError(f"--trainer.{name} {_shown(options[name])}: {reason}")
    for name, least in _LEAST.items():
        value = options[name]
        if value is not None and not least <= value < math.inf:
            raise InputError(f"--trainer.{name} {value}: must be a finite number, at least {least}")
    for name, value in options.as_dict().items():
        if isinstance(value, int) and value > _MOST:
            raise InputError(f"--trainer.{name} {value}: must be at most {_MOST}")
    for name, values in _CHOICES.items():
        if options[name] not in values:
            known = ", ".join(str(value) for value in values if isinstance(value, str))
            raise InputError(f"--trainer.{name} {options[name]}: choose from {known}")
    _check_pairs(options, has_ema=has_ema)


def _check_pairs(options: Namespace, *, has_ema: bool) -> None:
    """Refuse options that do not go together."""
    algorithm, every = options.gradient_clip_algorithm, options.val_check_interval
    if algorithm is not None and not options.gradient_clip_val:
        raise InputError(f"--trainer.gradient_clip_algorithm {algorithm}: needs --trainer.gradient_clip_val")
    for unit in ("epochs", "steps"):
        least, most = options[f"min_{unit}"], options[f"max_{unit}"]
        if least is not None and most is not None and 0 <= most < least:
            raise InputError(f"--trainer.min_{unit} {least}: is more than --trainer.max_{unit} {most}")
    if options.accumulate_grad_batches > 1 and not isinstance(every, int | float | None):
        raise InputError(f"--trainer.val_check_interval {every}: give batches with --trainer.accumulate_grad_batches")
    if has_ema and options.precision in _OTHER_WEIGHTS:
        raise InputError(f"--trainer.precision {options.precision}: --ema needs weights in float32; try bf16-mixed")


def align_validation(trainer: Trainer, *, batches: int) -> None:
    """Let every validation follow an optimizer step: checkpoints hold no accumulated gradients.

    A share of an epoch is rounded down to whole steps.

    Args:
        trainer: not yet at work.
        batches: number of batches of an epoch in one process.

    Raises:
        InputError: if a number of batches does not fit.
    """
    step = min(trainer.accumulate_grad_batches, batches)
    if step == 1:
        return
    every = trainer.val_check_interval
    if isinstance(every, float):
        every = batches if every == 1.0 else max(1, int(batches * every) // step) * step
        trainer.val_check_interval = every
    # Without an interval in epochs, Lightning counts the batches of all epochs, and steps may not fill an epoch.
    counts_on = trainer.check_val_every_n_epoch is None
    follows_steps = every % step == 0 and not (counts_on and batches % step)
    follows_epochs = every % batches == 0 if counts_on else every == batches
    if not follows_steps and not follows_epochs:
        fits = f"must be a multiple of --trainer.accumulate_grad_batches, here {step} batches"
        raise InputError(f"--trainer.val_check_interval {every}: {fits}, or the {batches} batches of an epoch")


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
