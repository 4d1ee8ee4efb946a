"""The teacher of a distillation: open it, and feed it with the student's images."""

import logging
import reprlib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parckit.contract import InputError, Preprocessing, read_class_names
from parckit.models import create_model, preprocessing_of
from parckit.networks import names_checkpoint, open_checkpoint
from parckit.tasks.weights import pretrained_labels

_log = logging.getLogger(__name__)

_REASON_CHARS = 300
"""Longest part of another library's message that is shown: enough for one or two keys, not for all keys of a model."""


class Teacher:
    """A frozen network that gets the student's images.

    It is not an nn.Module, because a module that another module holds becomes a submodule.

    Args:
        model: the network.
        preprocessing: what it expects of images.
        student: what the student expects of images.
        outputs: the teacher's output for every class of the student; None if both have the same order.

    Attributes:
        model: the network.
        resizes: whether the network takes images of only one size, so that images are resized to it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        preprocessing: Preprocessing,
        student: Preprocessing,
        outputs: Sequence[int] | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)
        # A grey image has no order of channels: it is repeated for a teacher that takes colours.
        self._swaps = {preprocessing.channel_order, student.channel_order} == {"rgb", "bgr"}
        student_mean, student_std, mean, std = (
            torch.tensor(values, dtype=torch.float64)
            for values in (student.mean, student.std, preprocessing.mean, preprocessing.std)
        )
        if self._swaps:
            student_mean, student_std = student_mean.flip(0), student_std.flip(0)
        self._scale = (student_std / std).float()[:, None, None]
        self._shift = ((student_mean - mean) / std).float()[:, None, None]
        self.resizes = bool(cast("Mapping[str, object]", model.pretrained_cfg).get("fixed_input_size"))
        self._size = preprocessing.size
        self._outputs = None if outputs is None else torch.tensor(outputs)

    def __deepcopy__(self, memo: dict[int, object]) -> "Teacher":
        """Return this object: it never changes, so the copy of the training module in a weight average can share it."""
        return self

    def logits(self, images: Tensor) -> Tensor:
        """Return the outputs for the student's images, in the order of the student's classes."""
        return self._reorder(self.model(self._translate(images)))

    def logits_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same outputs, and the last stage's map."""
        logits, last_map = logits_and_map(self.model, self._translate(images))
        return self._reorder(logits), last_map

    def _reorder(self, logits: Tensor) -> Tensor:
        """Bring the teacher's outputs into the order of the student's classes."""
        return logits if self._outputs is None else logits[:, self._outputs.to(logits.device)]

    def _translate(self, images: Tensor) -> Tensor:
        """Return the student's images normalised for the teacher; move the teacher to their device."""
        if self._scale.device != images.device:
            self.model.to(images.device)
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        images = images.flip(1) if self._swaps else images
        images = images.float() * self._scale + self._shift
        if self.resizes and self._size != images.shape[2:]:
            return F.interpolate(images, self._size, mode="bilinear", antialias=True)
        return images


def logits_and_map(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run a timm model once: (B, 3, H, W) -> logits (B, num_classes) and the last stage's map (B, C, H2, W2)."""
    last, maps = cast("tuple[Tensor, list[Tensor]]", model.forward_intermediates(images, indices=1))  # pyright: ignore[reportCallIssue]
    return model.forward_head(last), maps[0]  # pyright: ignore[reportCallIssue]


def open_teacher(
    name: str, *, weights: str | None, class_names: str | None, labels: Sequence[str]
) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return the teacher, what its images must look like, and the names of its outputs, if they are known.

    Args:
        name: a timm model or a checkpoint of parckit.
        weights: file with a state dict of the model; None: its pretrained weights.
        class_names: file with the names of the outputs; None: those in the checkpoint or of the pretrained weights.
        labels: class names of the data.

    Raises:
        InputError: if it cannot be opened, is no classifier, or has another number of classes.
    """
    if names_checkpoint(name):
        if weights is not None:
            raise InputError(f"teacher_weights={weights}: teacher={name} is a checkpoint and has weights")
        model, teacher_spec = open_checkpoint(Path(name))
        if teacher_spec.task != "classify":
            raise InputError(f"teacher={name}: its task is {teacher_spec.task!r}, not 'classify'")
        preprocessing, names = teacher_spec.preprocessing, teacher_spec.labels
    else:
        model = _create_teacher(name, weights=weights, classes=len(labels))
        preprocessing = preprocessing_of(model)
        # A file of weights does not say what its outputs mean, nor do data whose classes are only numbers.
        is_named = weights is None and tuple(labels) != tuple(map(str, range(len(labels))))
        names = pretrained_labels(model) if is_named else ()
    if class_names is not None:
        names = _read_teacher_classes(class_names, model)
    return model, preprocessing, names


def _read_teacher_classes(path: str, model: nn.Module) -> tuple[str, ...]:
    names = read_class_names(path)
    if len(names) != model.num_classes:
        raise InputError(
            f"teacher_classes={path}: has {len(names)} names, but the teacher has {model.num_classes} outputs"
        )
    return names


def match_outputs(names: Sequence[str], labels: Sequence[str], *, teacher: str) -> list[int] | None:
    """Return the teacher's output for every class of the data; None if both have the same order.

    Args:
        names: names of the teacher's outputs; empty if they are not known.
        labels: class names of the data.
        teacher: name of the teacher in messages.

    Raises:
        InputError: if the names are not those of the data.
    """
    if not names:
        _log.warning(
            "teacher=%s: the names of its classes are not known, so its outputs are taken in the order of the data's"
            " classes, %s; --task.distillation.teacher_classes FILE gives another order",
            teacher,
            reprlib.repr(tuple(labels)),
        )
        return None
    if set(names) != set(labels):
        theirs, ours = (f"{len(classes)}: {reprlib.repr(tuple(classes))}" for classes in (names, labels))
        hint = "--task.distillation.teacher_classes FILE can say what its outputs are called"
        raise InputError(f"teacher={teacher}: its classes ({theirs}) are not the data's ({ours}); {hint}")
    index_of = {name: index for index, name in enumerate(names)}
    return None if tuple(names) == tuple(labels) else [index_of[label] for label in labels]


def _create_teacher(name: str, *, weights: str | None, classes: int) -> nn.Module:
    if weights is not None and Path(weights).suffix == ".ckpt":
        raise InputError(f"teacher_weights={weights}: a checkpoint is a teacher by itself; use it as teacher")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"teacher_weights={weights}: no such file")
    # timm reads the file, because it knows the layouts in which a model's weights were published.
    local = {} if weights is None else {"source": "file", "file": weights, "num_classes": classes, "custom_load": False}
    try:
        # Without num_classes: for another number of classes timm would make a new, random classifier.
        model = create_model(name, pretrained=True, pretrained_cfg_overlay=local)
    # The hub, the network and damaged files can make their libraries raise almost any error.
    except Exception as error:
        arguments = f"teacher={name!r}" + ("" if weights is None else f", teacher_weights={weights}")
        expected = "its pretrained weights" if weights is None else f"its weights with {classes} classes"
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", _REASON_CHARS)
        raise InputError(f"{arguments}: cannot load {expected} ({reason})") from error
    if model.num_classes != classes:
        raise InputError(f"teacher={name!r}: has {model.num_classes} classes, the data have {classes}")
    return model
