"""Distillation: learn from a trained network, the teacher, in addition to the labels.

Soft: G. Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2. Hard: H. Touvron
et al., "Training data-efficient image transformers & distillation through attention" (arXiv:2012.12877), section 4.
Maps: after A. Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550), section 2.2, but with a cosine
distance instead of a squared distance, because the scale of the teacher's maps has no meaning for the student.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec
from parckit.networks import check_input
from parckit.tasks.teacher import Teacher, logits_and_map, match_outputs, open_teacher

Kind = Literal["soft", "hard"]


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
        model, preprocessing, names = open_teacher(
            distillation.teacher,
            weights=distillation.teacher_weights,
            class_names=distillation.teacher_classes,
            labels=spec.labels,
        )
        if preprocessing.channels < spec.preprocessing.channels:
            raise InputError(f"teacher={distillation.teacher}: takes grey images, but the student colours")
        outputs = match_outputs(names, spec.labels, teacher=distillation.teacher)
        self._teacher = Teacher(model, preprocessing=preprocessing, student=spec.preprocessing, outputs=outputs)
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
        logits, student_map = logits_and_map(student, images)
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


def _cosine_distance(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Return the mean distance over all positions; the teacher's map is resized to the student's."""
    if teacher_map.shape[2:] != student_map.shape[2:]:
        teacher_map = F.interpolate(teacher_map.float(), student_map.shape[2:], mode="bilinear", antialias=True)
    return 1 - F.cosine_similarity(student_map.float(), teacher_map.float(), dim=1).mean()


def _map_width(model: nn.Module, *, name: str) -> int:
    stages = cast("list[Mapping[str, int]]", getattr(model, "feature_info", None) or [])
    if not stages or not callable(getattr(model, "forward_intermediates", None)):
        raise InputError(f"distillation.features: {name} does not return maps of its stages; only 0 is possible")
    return stages[-1]["num_chs"]
