"""A training file in the layout of the official code, written from what was recorded of the training of ParC-Net-S."""

import copy
import functools
from collections.abc import Mapping

import yaml

PARCNET_S = """
common: {run_label: run_1, accum_freq: 1, accum_after_epoch: -1, auto_resume: true, mixed_precision: true}
dataset:
  root_train: /data/imagenet/train
  root_val: /data/imagenet/val
  name: imagenet
  category: classification
  train_batch_size0: 128
  val_batch_size0: 100
  eval_batch_size0: 100
  workers: 8
  persistent_workers: false
  pin_memory: true
image_augmentation:
  random_resized_crop: {enable: true, interpolation: bilinear}
  random_horizontal_flip: {enable: true}
sampler:
  name: variable_batch_sampler
  vbs:
    crop_size_width: 256
    crop_size_height: 256
    max_n_scales: 5
    min_crop_size_width: 160
    max_crop_size_width: 320
    min_crop_size_height: 160
    max_crop_size_height: 320
    check_scale: 32
loss:
  category: classification
  classification: {name: label_smoothing, label_smoothing_factor: 0.1}
optim:
  name: adamw
  weight_decay: 0.025
  no_decay_bn_filter_bias: false
  adamw: {beta1: 0.9, beta2: 0.999}
scheduler:
  name: cosine
  is_iteration_based: false
  max_epochs: 300
  warmup_iterations: 3000
  warmup_init_lr: 0.0004
  cosine: {max_lr: 0.004, min_lr: 0.0004}
model:
  classification:
    name: edgeformer
    classifier_dropout: 0.2
    edgeformer: {mode: small, ffn_dropout: 0.0, dropout: 0.1}
    activation: {name: swish}
  normalization: {name: batch_norm_2d, momentum: 0.1}
  activation: {name: swish}
  layer: {global_pool: mean, conv_init: kaiming_normal, linear_init: trunc_normal, linear_init_std_dev: 0.02}
ema: {enable: true, momentum: 0.0005}
ddp: {enable: true, rank: 0, world_size: -1, dist_port: 30786}
stats: {name: [loss, top1, top5], checkpoint_metric: top1, checkpoint_metric_max: true}
"""


def official(changes: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the file's content with some keys, written with dots, set to other values; `...` leaves a key out."""
    content = copy.deepcopy(_read())
    for key, value in (changes or {}).items():
        *groups, last = key.split(".")
        inner = content
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
        if value is ...:
            del inner[last]
    return content


@functools.cache
def _read() -> dict[str, object]:
    return yaml.safe_load(PARCNET_S)
