"""Distillation: learn from a trained network, the teacher, in addition to the labels.

Soft: G. Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2. Hard: H. Touvron
et al., "Training data-efficient image transformers & distillation through attention" (arXiv:2012.12877), section 4.
Maps: after A. Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550), section 2.2, but with a cosine
distance instead of a squared distance, because the scale of the teacher's maps has no meaning for the student.
"""

import logging
import reprlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, read_class_names
from parckit.models import create_model, preprocessing_of
from parckit.networks import check_input, names_checkpoint, open_checkpoint
from parckit.tasks.weights import pretrained_labels

_log = logging.getLogger(__name__)

Kind = Literal["soft", "hard"]

_REASON_CHARS = 300
"""Longest part of another library's message that is shown: enough for one or two keys, not for all keys of a model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationSettings:
    """The teacher, and how much it counts.

    The loss is `(1 - weight) * supervised + weight * distilled + features * (1 - cosine)`.

    Attributes:
        teacher: name of a timm model, which is used with its pretrained weights; or a checkpoint of parckit.
        teacher_weights: file with a state dict of the model that `teacher` names, instead of the pretrained weights.
        teacher_classes: text file with the names of the teacher's classes, one per line, in the order of its outputs.
            None: the names in the checkpoint or of the pretrained weights. If there are none, the order of the data's
            classes is assumed, with a warning.
        kind: `"soft"` learns the teacher's probabilities, with the Kullback-Leibler divergence as loss; `"hard"` learns
            the teacher's most probable class, with cross-entropy as loss.
        temperature: for `"soft"`, the logits of both networks are divided by this number. The divergence is multiplied
            by its square, which keeps the size of the gradients. arXiv:2012.12877 uses 3.
        weight: share of the teacher in the loss on logits, in (0, 1]. For `"hard"`, arXiv:2012.12877 uses 0.5.
        features: weight of the cosine distance between the maps of the last stages; 0: no such loss. The student's map
            first goes through a linear projection, which is trained too but is no part of the network.
    """

    teacher: str
    teacher_weights: str | None = None
    teacher_classes: str | None = None
    kind: Kind = "soft"
    temperature: float = 3.0
    weight: float = 0.5
    features: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"distillation.kind={self.kind!r}: choose from {get_args(Kind)}")
        if self.temperature <= 0:
            raise InputError(f"distillation.temperature={self.temperature}: must be positive")
        if not 0 < self.weight <= 1:
            raise InputError(f"distillation.weight={self.weight}: a share of the loss, in (0, 1]")
        if self.features < 0:
            raise InputError(f"distillation.features={self.features}: must be 0 or more")


class Distiller(nn.Module):
    """The loss of a student that learns from labels and a teacher.

    Its only parameters are those of the projection. The teacher is not a submodule. It is frozen and in eval mode, and
    it is no part of checkpoints, averages, optimizers and the communication between processes.

    Args:
        distillation: the teacher and the kind of distillation.
        student: the network that is trained.
        spec: spec of the student. The teacher must have the same classes and take images of the same size.

    Attributes:
        projection: maps the student's last map to the teacher's number of channels; None without features.

    Raises:
        InputError: if the teacher cannot be loaded, or does not fit the student.
    """

    def __init__(self, distillation: DistillationSettings, *, student: nn.Module, spec: NetworkSpec) -> None:
        super().__init__()
        self._distillation = distillation
        model, preprocessing, names = _open_teacher(distillation, spec)
        if preprocessing.channels < spec.preprocessing.channels:
            raise InputError(f"teacher={distillation.teacher}: takes grey images, but the student colours")
        outputs = _match_outputs(names, spec.labels, teacher=distillation.teacher)
        self._teacher = _Teacher(model, preprocessing=preprocessing, student=spec.preprocessing, outputs=outputs)
        self._shown = replace(spec, backbone=distillation.teacher, backbone_kwargs={}, preprocessing=preprocessing)
        self.check_input(spec.preprocessing.size)
        self.projection: nn.Conv2d | None = None
        if distillation.features:
            widths = _map_width(student, name=spec.backbone), _map_width(model, name=distillation.teacher)
            self.projection = nn.Conv2d(*widths, kernel_size=1)

    def forward(self, student: nn.Module, images: Tensor, *, supervised: Callable[[Tensor], Tensor]) -> Tensor:
        """Run student and teacher on the same images and return the loss.

        Args:
            student: the network that this object was built for.
            images: images as the student gets them, normalised and mixed.
            supervised: returns the loss on the labels for the student's logits.

        Shape:
            images: (B, 3, H, W)
        """
        if self.projection is None:
            teacher_logits = self._teacher.logits(images)
            logits = student(images)
            return self._blend(supervised(logits), student=logits, teacher=teacher_logits)
        teacher_logits, teacher_map = self._teacher.logits_and_map(images)
        logits, student_map = _logits_and_map(student, images)
        loss = self._blend(supervised(logits), student=logits, teacher=teacher_logits)
        return loss + self._distillation.features * _cosine_distance(self.projection(student_map), teacher_map)

    def check_input(self, size: tuple[int, int]) -> None:
        """Check that the teacher takes images of a size.

        Args:
            size: (height, width), pixels.

        Raises:
            InputError: if it does not.
        """
        if not self._teacher.resizes:
            check_input(self._teacher.model, self._shown, size=size)

    def _blend(self, supervised: Tensor, *, student: Tensor, teacher: Tensor) -> Tensor:
        weight, temperature = self._distillation.weight, self._distillation.temperature
        student, teacher = student.float(), teacher.float()
        if self._distillation.kind == "hard":
            distilled = F.cross_entropy(student, teacher.argmax(1))
        else:
            log_p, log_q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
            distilled = temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        return (1 - weight) * supervised + weight * distilled


class _Teacher:
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

    def __deepcopy__(self, memo: dict[int, object]) -> "_Teacher":
        """Return this object: it never changes, so the copy of the training module in a weight average can share it."""
        return self

    def logits(self, images: Tensor) -> Tensor:
        return self._reorder(self.model(self._translate(images)))

    def logits_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, last_map = _logits_and_map(self.model, self._translate(images))
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


def _logits_and_map(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run a timm model once: (B, 3, H, W) -> logits (B, num_classes) and the last stage's map (B, C, H2, W2)."""
    last, maps = cast("tuple[Tensor, list[Tensor]]", model.forward_intermediates(images, indices=1))  # pyright: ignore[reportCallIssue]
    return model.forward_head(last), maps[0]  # pyright: ignore[reportCallIssue]


def _cosine_distance(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Return the mean distance over all positions; the teacher's map is resized to the student's."""
    if teacher_map.shape[2:] != student_map.shape[2:]:
        teacher_map = F.interpolate(teacher_map.float(), student_map.shape[2:], mode="bilinear", antialias=True)
    return 1 - F.cosine_similarity(student_map.float(), teacher_map.float(), dim=1).mean()


def _open_teacher(
    distillation: DistillationSettings, spec: NetworkSpec
) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return the teacher, what its images must look like, and the names of its outputs, if they are known."""
    name = distillation.teacher
    if names_checkpoint(name):
        if distillation.teacher_weights is not None:
            raise InputError(
                f"teacher_weights={distillation.teacher_weights}: teacher={name} is a checkpoint and has weights"
            )
        model, teacher_spec = open_checkpoint(Path(name))
        if teacher_spec.task != spec.task:
            raise InputError(f"teacher={name}: its task is {teacher_spec.task!r}, not {spec.task!r}")
        preprocessing, names = teacher_spec.preprocessing, teacher_spec.labels
    else:
        model = _create_teacher(name, weights=distillation.teacher_weights, classes=len(spec.labels))
        preprocessing = preprocessing_of(model)
        # A file of weights does not say what its outputs mean, nor do data whose classes are only numbers.
        is_named = distillation.teacher_weights is None and spec.labels != tuple(map(str, range(len(spec.labels))))
        names = pretrained_labels(model) if is_named else ()
    if distillation.teacher_classes is not None:
        names = _read_teacher_classes(distillation.teacher_classes, model)
    return model, preprocessing, names


def _read_teacher_classes(path: str, model: nn.Module) -> tuple[str, ...]:
    names = read_class_names(path)
    if len(names) != model.num_classes:
        raise InputError(
            f"teacher_classes={path}: has {len(names)} names, but the teacher has {model.num_classes} outputs"
        )
    return names


def _match_outputs(names: Sequence[str], labels: Sequence[str], *, teacher: str) -> list[int] | None:
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


def _map_width(model: nn.Module, *, name: str) -> int:
    stages = cast("list[Mapping[str, int]]", getattr(model, "feature_info", None) or [])
    if not stages or not callable(getattr(model, "forward_intermediates", None)):
        raise InputError(f"distillation.features: {name} does not return maps of its stages; only 0 is possible")
    return stages[-1]["num_chs"]
