"""Learning from a trained network, the teacher, beside the labels.

Soft: G. Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2. Hard: H. Touvron
et al., "Training data-efficient image transformers & distillation through attention" (arXiv:2012.12877), section 4.
Maps: after A. Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550), section 2.2, with a cosine in place
of the square, since the teacher's scale means nothing to the student.
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

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import read_class_names
from parckit.models import create_model, preprocessing_of
from parckit.networks import check_input, names_checkpoint, open_checkpoint
from parckit.tasks.weights import pretrained_labels

_log = logging.getLogger(__name__)

Kind = Literal["soft", "hard"]

_REASON_CHARS = 300
"""Shown of another library's message: a mis-sized tensor or two, not all keys of a model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationSettings:
    """Who teaches, and how much it counts.

    The loss is `(1 - weight) * supervised + weight * distilled + features * (1 - cosine)`.

    Attributes:
        teacher: name of a timm model, with its pretrained weights; or a checkpoint that parckit wrote.
        teacher_weights: file of a state dict for the model that `teacher` names, in place of the pretrained weights.
        teacher_classes: text file with the names of the teacher's classes, one per line, in the order of its outputs.
            None: the names in the checkpoint or of the pretrained weights. If there are none, the order of the data's
            classes is assumed, with a warning.
        kind: `"soft"` learns the teacher's probabilities, by their Kullback-Leibler divergence; `"hard"` the class that
            it finds most probable, by cross-entropy.
        temperature: divides the logits of both for `"soft"`; the divergence is multiplied by its square, which keeps
            the gradients' size. 3 is what arXiv:2012.12877 takes.
        weight: share of the teacher in the loss on logits, in (0, 1]; a half is what arXiv:2012.12877 takes for
            `"hard"`.
        features: weight of the cosine distance between the last stages' maps, the student's after a linear projection
            that is trained along and is no part of the model; 0 leaves it out.
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

    Its only parameters are those of the projection. The teacher is no submodule: it is frozen and in eval mode, and
    stays out of checkpoints, averages, optimizers and what processes send each other.

    Args:
        distillation: who teaches, and how.
        student: the network to be trained.
        spec: the student's: its classes must be the teacher's, and the teacher must take images of its size.

    Attributes:
        projection: from the student's last map to the teacher's width; None without features.

    Raises:
        InputError: if the teacher cannot be had, or does not go with the student.
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
            student: the network that this was built for.
            images: normalised for the student; mixed, if they are mixed.
            supervised: from the student's logits to the loss on the labels.

        Shape:
            images: (B, 3, H, W)
        """
        if self.projection is None:
            wanted = self._teacher.logits(images)
            logits = student(images)
            return self._blend(supervised(logits), student=logits, teacher=wanted)
        wanted, wanted_map = self._teacher.logits_and_map(images)
        logits, own_map = _logits_and_map(student, images)
        loss = self._blend(supervised(logits), student=logits, teacher=wanted)
        return loss + self._distillation.features * _cosine_distance(self.projection(own_map), wanted_map)

    def check_input(self, size: tuple[int, int]) -> None:
        """Try the teacher on images of a size.

        Args:
            size: (height, width), pixels.

        Raises:
            InputError: if it cannot take them.
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
    """A frozen network that is handed the student's images.

    It is no nn.Module, since one that is kept in another becomes part of it.

    Args:
        model: the network.
        preprocessing: what it expects of images.
        student: what the student expects of images.
        outputs: the teacher's output for every class of the student; None if both have the same order.

    Attributes:
        model: the network.
        resizes: whether it takes images of one size only, to which they are brought.
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
        mean, std, own_mean, own_std = (
            torch.tensor(values, dtype=torch.float64)
            for values in (student.mean, student.std, preprocessing.mean, preprocessing.std)
        )
        if self._swaps:
            mean, std = mean.flip(0), std.flip(0)
        self._scale = (std / own_std).float()[:, None, None]
        self._shift = ((mean - own_mean) / own_std).float()[:, None, None]
        self.resizes = bool(cast("Mapping[str, object]", model.pretrained_cfg).get("fixed_input_size"))
        self._size = preprocessing.size
        self._outputs = None if outputs is None else torch.tensor(outputs)

    def __deepcopy__(self, memo: dict[int, object]) -> "_Teacher":
        """Return itself: what never changes can be shared, and a weight average copies the whole training module."""
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
        """Turn images normalised for the student into what the teacher expects, and follow them to their device."""
        if self._scale.device != images.device:
            self.model.to(images.device)
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        images = images.flip(1) if self._swaps else images
        images = images.float() * self._scale + self._shift
        if self.resizes and self._size != images.shape[2:]:
            return F.interpolate(images, self._size, mode="bilinear", antialias=True)
        return images


def _logits_and_map(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run a timm model once: (B, 3, H, W) -> (B, num_classes) and its last stage's (B, C, H2, W2)."""
    last, maps = cast("tuple[Tensor, list[Tensor]]", model.forward_intermediates(images, indices=1))  # pyright: ignore[reportCallIssue]
    return model.forward_head(last), maps[0]  # pyright: ignore[reportCallIssue]


def _cosine_distance(own: Tensor, wanted: Tensor) -> Tensor:
    """Average over all places of two maps, the wanted one resized to the other."""
    if wanted.shape[2:] != own.shape[2:]:
        wanted = F.interpolate(wanted.float(), own.shape[2:], mode="bilinear", antialias=True)
    return 1 - F.cosine_similarity(own.float(), wanted.float(), dim=1).mean()


def _open_teacher(
    distillation: DistillationSettings, spec: NetworkSpec
) -> tuple[nn.Module, Preprocessing, tuple[str, ...]]:
    """Return the teacher, what its images must look like, and the names of its outputs, if they are known."""
    name = distillation.teacher
    if names_checkpoint(name):
        if distillation.teacher_weights is not None:
            raise InputError(f"teacher_weights={distillation.teacher_weights}: teacher={name} holds its own weights")
        model, teacher_spec = open_checkpoint(Path(name))
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
            "teacher=%s: the names of its classes are not known; its outputs are taken in the data's order of classes,"
            " %s; --task.distillation.teacher_classes FILE gives another order",
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
        raise InputError(f"teacher_weights={weights}: a checkpoint says itself what it is; give it as teacher")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"teacher_weights={weights}: no such file")
    # timm's own reader of files: it knows the layouts that a model's weights were published in.
    local = {} if weights is None else {"source": "file", "file": weights, "num_classes": classes, "custom_load": False}
    try:
        # Told of other classes than the pretrained weights', timm would make a fresh classifier.
        model = create_model(name, pretrained=True, pretrained_cfg_overlay=local)
    except Exception as error:  # Hub, network and damaged files raise whatever their libraries do.
        given = f"teacher={name!r}" + ("" if weights is None else f", teacher_weights={weights}")
        wanted = "its pretrained weights" if weights is None else f"weights of it with {classes} classes"
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", _REASON_CHARS)
        raise InputError(f"{given}: cannot load {wanted} ({reason})") from error
    if model.num_classes != classes:
        raise InputError(f"teacher={name!r}: tells {model.num_classes} classes apart, the data have {classes}")
    return model


def _map_width(model: nn.Module, *, name: str) -> int:
    stages = cast("list[Mapping[str, int]]", getattr(model, "feature_info", None) or [])
    if not stages or not callable(getattr(model, "forward_intermediates", None)):
        raise InputError(f"distillation.features: {name} gives no maps of its stages; only 0 is possible")
    return stages[-1]["num_chs"]
