"""The metric of detection: COCO's average precision, and how often classes are confused."""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from faster_coco_eval import COCOeval_faster
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.detection.helpers import CocoBackend

from parckit.contract import InputError, NetworkSpec
from parckit.data import Objects, Scene
from parckit.measure.box_pairs import compare_boxes, objects_in_picture
from parckit.networks import head_of
from parckit.processing import BoxPrediction

_BACKEND = "faster_coco_eval"
"""What computes COCO's numbers: the same algorithm as pycocotools, and many times faster."""
_OVERLAPS = np.linspace(0.5, 0.95, 10).tolist()
_RECALLS = np.linspace(0, 1, 101).tolist()
"""COCO's thresholds in float64, as pycocotools has them. torchmetrics' own are rounded to float32; a recall of exactly
0.6 does not reach the rounded 0.6."""
_SCALARS = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_100")
"""torchmetrics' names of the scalars that we keep."""
_MASK_SCALARS = ("segm_map", "segm_map_50", "segm_map_75")
"""Those of masks."""


class _Scorer(COCOeval_faster):
    """faster-coco-eval's scorer, without the overlaps of all boxes in its results.

    torchmetrics would turn them into one tensor for every picture and class, which takes longer than everything else.
    """

    def summarize(self) -> None:
        """Compute the scalars, after which nothing needs the overlaps."""
        super().summarize()
        self.ious = {}


class _Backend(CocoBackend):
    """Gives torchmetrics this scorer."""

    @property
    def cocoeval(self) -> type[_Scorer]:
        """The class of the scorer."""
        return _Scorer


class _Coco(MeanAveragePrecision):
    """torchmetrics' metric, faster, and also where processes have different numbers of pictures.

    torchmetrics gathers one tensor for every picture, and waits for ever, or ends, if a process has fewer.
    """

    def __init__(self, kinds: tuple[Literal["bbox", "segm"], ...]) -> None:
        super().__init__(
            iou_type=kinds,
            iou_thresholds=_OVERLAPS,
            rec_thresholds=_RECALLS,
            backend=_BACKEND,
            extended_summary=True,
        )
        self._coco_backend = _Backend(_BACKEND)
        # COCO never looks at more than 100 boxes of a picture, and torchmetrics would warn of more.
        self.warn_on_many_detections = False

    def _sync_dist(self, dist_sync_fn: object = None, process_group: object = None) -> None:
        """Gather the boxes of all processes at once."""
        del dist_sync_fn
        group = cast("dist.ProcessGroup | None", process_group)
        states: dict[str, list[object]] = {name: getattr(self, name) for name in self._reductions}
        gathered: list[dict[str, list[object]]] = [{} for _ in range(dist.get_world_size(group))]
        dist.all_gather_object(gathered, states, group=group)
        for name in states:
            setattr(self, name, [entry for of_process in gathered for entry in of_process[name]])


class DetectionMetric(Metric):
    """Average precision as COCO defines it (cocodataset.org/#detection-eval).

    In training the boxes of all processes are gathered.

    Args:
        num_classes: number of classes.
        masks: measure masks, too; the answers must have some.
    """

    full_state_update = False

    def __init__(self, num_classes: int, *, masks: bool = False) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"num_classes={num_classes}: need at least 1")
        self._classes = num_classes
        self._coco = _Coco(("bbox", "segm") if masks else ("bbox",))
        self._has_masks = masks
        # torchmetrics names results by their kind only if there are several.
        self._prefix = "bbox_" if masks else ""
        counts = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64)
        self.add_state("_confusion", counts, dist_reduce_fx="sum")
        self._confusion: Tensor
        self.add_state("_without_masks", torch.tensor(0), dist_reduce_fx="sum")
        self._without_masks: Tensor
        self._results: dict[str, Tensor] | None = None
        self._counts = np.zeros(counts.shape, np.int64)

    def update(self, predictions: Sequence[BoxPrediction], targets: Sequence[Scene]) -> None:
        """Add the boxes of a batch.

        Args:
            predictions: boxes in pixels of the picture.
            targets: ground truth; the objects in pixels of the picture count.

        Raises:
            ValueError: if a target has no objects in pixels of the picture.
        """
        self._results = None
        for prediction, scene in zip(predictions, targets, strict=True):
            objects = objects_in_picture(scene)
            answer = {
                "boxes": torch.from_numpy(prediction.boxes),
                "scores": torch.from_numpy(prediction.scores),
                "labels": torch.from_numpy(prediction.labels),
            }
            wanted = {"boxes": objects.boxes.cpu(), "labels": objects.labels.cpu(), "iscrowd": objects.crowd.cpu()}
            # COCO sorts objects into small, medium and large by their masks, also where boxes are measured.
            sides = wanted["boxes"][:, 2:] - wanted["boxes"][:, :2]
            wanted["area"] = sides.prod(dim=1) if objects.areas is None else objects.areas.cpu()
            if self._has_masks:
                self._add_masks(answer, wanted, prediction=prediction, objects=objects)
            self._coco.update([answer], [wanted])
            confusion = compare_boxes(prediction, objects).confusion(self._classes)
            self._confusion += torch.from_numpy(confusion).to(self._confusion.device)

    def _add_masks(
        self, answer: dict[str, Tensor], wanted: dict[str, Tensor], *, prediction: BoxPrediction, objects: Objects
    ) -> None:
        """Add the masks of a picture to what torchmetrics gets."""
        masks = prediction.masks
        if masks is None:
            raise ValueError("predictions: have no masks")
        height, width = masks.picture_size
        grids = [masks.mask(index) for index in range(len(masks))]
        answer["masks"] = torch.from_numpy(np.array(grids, dtype=np.bool_).reshape(-1, height, width))
        if objects.masks is not None:
            wanted["masks"] = objects.masks.cpu()
        else:
            self._without_masks += len(objects.labels)
            wanted["masks"] = torch.zeros(len(objects.labels), height, width, dtype=torch.bool)

    def compute(self) -> dict[str, float]:
        """Return COCO's scalars in percent: `map`, `map_50`, `map_75`, by size, and `mar_100`.

        A scalar that has no object, such as `map_large` without large objects, is left out. Of masks there are
        `segm_map`, `segm_map_50` and `segm_map_75`, if all objects have a mask.

        Raises:
            InputError: if there is no object at all.
        """
        results = self._summary()
        # While this method runs, the counts are those of all processes.
        self._counts = self._confusion.cpu().numpy().copy()
        values = {name: 100 * float(results[f"{self._prefix}{name}"]) for name in _SCALARS}
        scalars = {name: value for name, value in values.items() if value >= 0}
        if "map" not in scalars:
            raise InputError("no object to evaluate: the pictures have no boxes")
        if not self._has_masks or self._without_masks > 0:
            return scalars
        return scalars | {name: 100 * float(results[name]) for name in _MASK_SCALARS}

    def tables(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the results of every class, the curves and the confusion matrix.

        `class_boxes`, (classes,), is the number of objects. `class_ap` and `class_ap_50`, (classes,), are average
        precisions in percent; NaN for a class without objects. `precision`, (101, classes), is the precision at the
        recalls 0, 0.01, ... 1, for an intersection over union of 0.5; NaN without objects. `confusion`,
        (classes + 1, classes + 1), counts objects by true class (row) and found class (column) for boxes with a score
        above 0.3; the last row and column stand for the background.

        All of them are results over all processes. So where there are several, every process must call this method, or
        have called `compute` before it.

        Raises:
            InputError: if there is no object at all.
        """
        self.compute()  # torchmetrics keeps the result, so this is computed once
        confusion = self._counts
        # (IoU thresholds, recalls, classes that occur, areas, numbers of boxes): all areas, the largest number.
        precision = self._summary()[f"{self._prefix}precision"].numpy()[..., 0, -1]
        seen = np.atleast_1d(self._summary()["classes"].numpy())
        whole = np.full((*precision.shape[:2], self._classes), np.nan)
        whole[:, :, seen] = np.where(precision < 0, np.nan, precision)
        return {
            "class_boxes": confusion[:-1].sum(axis=1),
            "class_ap": 100 * whole.mean(axis=(0, 1)),
            "class_ap_50": 100 * whole[0].mean(axis=0),
            "precision": whole[0],
            "confusion": confusion,
        }

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self._coco.reset()
        self._results = None

    def _summary(self) -> dict[str, Tensor]:
        if self._results is None:
            self._results = cast("dict[str, Tensor]", self._coco.compute())
        return self._results


def detection_metric(spec: NetworkSpec) -> DetectionMetric:
    """Return an empty metric for a network; it measures masks if the network gives some."""
    return DetectionMetric(len(spec.labels), masks=head_of(spec).has_masks)
