"""The one LightningDataModule: training and validation images of any task."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final, get_args

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from parckit.contract import InputError, Preprocessing, read_class_names
from parckit.data import (
    Batch,
    BatchShape,
    DrawnImages,
    IndexedImages,
    MultiScale,
    OnBoxFault,
    OnError,
    OneSize,
    OnMaskFault,
    Progressive,
    Sampling,
    SeededBatches,
    Sizes,
    check_loading,
    describe_run,
    image_loader,
    match_classes,
    name_numbers,
    name_source,
    order_classes,
    train_loader,
)
from parckit.measure.evaluators import evaluator_of
from parckit.tasks.module import MIN_BATCH
from parckit.tasks.plan import RunPlan
from parckit.tasks.task import TrainingTask


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class DataSettings:
    """The data of a recipe, and what training does to them.

    Attributes:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, a list of files (`.csv`, `.txt`)
            or `hf://NAME`; or a list of these. Detection takes one source with boxes: `digit_scenes`, a COCO .json
            file, a YOLO data.yaml, or a folder of COCO, Pascal VOC or YOLO files. Segmentation takes one source with
            masks: `digit_scenes`, a COCO .json file, or a folder.
        preprocessing: input size, resize, normalisation; travels with every checkpoint and bundle.
        sizes: how training varies the images' size; None: it does not.
        repeats: an epoch shows each image that it uses this many times, each time augmented anew. It has the same
            number of steps, so it uses one image in `repeats` (repeated augmentation, arXiv:1902.05509).
        sampling: `natural` shows every image once in an epoch. `balanced` shows every class equally often: an image of
            a rare class several times, each time augmented anew, and only some of the images of frequent classes.
        batch_size: images per step and process; if sizes vary, at the base one.
        workers: loader processes; 0 loads in the training process.
        on_error: `raise` stops at a broken image or mask and names it, `skip` leaves it out and counts it.
        on_box_fault: `drop` drops or cuts faulty boxes, and tells how many there were; `raise` refuses a source with
            faulty boxes, and names the first.
        on_mask_fault: the same for faulty masks: `drop` leaves out pictures whose masks do not fit and ignores pixels
            of no class; `raise` refuses the source, or stops when it reads such a mask.
        class_names: text file with one class name per line, in the order of the network's outputs. It names the classes
            of a source that has only numbers. None: the source's names and their order.
        max_broken: if more than this share of the images of an epoch or a validation is broken, `skip` stops too.

    Raises:
        InputError: if `batch_size`, `workers` or `max_broken` is out of range, or `on_error` or `sampling` is unknown.
    """

    source: list[str] | str
    preprocessing: Preprocessing
    sizes: MultiScale | Progressive | None = None
    repeats: int = 1
    sampling: Sampling = "natural"
    batch_size: int = 64
    workers: int = 2
    on_error: OnError = "raise"
    on_box_fault: OnBoxFault = "drop"
    on_mask_fault: OnMaskFault = "drop"
    class_names: str | None = None
    max_broken: float = 0.1

    def __post_init__(self) -> None:
        check_loading(
            batch_size=self.batch_size,
            least=MIN_BATCH,
            workers=self.workers,
            on_error=self.on_error,
            max_broken=self.max_broken,
        )
        if self.sampling not in get_args(Sampling):
            raise InputError(f"sampling={self.sampling!r}: choose from {get_args(Sampling)}")


@final
class TrainingData(LightningDataModule):
    """Images of one source, split into training and validation.

    Args:
        settings: source, preprocessing and sizes.
        task: opens the source, and says what is done to a picture.
        seed: of order, sizes and augmentation.

    Attributes:
        settings: as given.
        labels: class names by index.
        train_images: number of training images.
        summary: what is trained and validated on, and what is left out: a few lines.

    Raises:
        InputError: if the source cannot be opened, or does not fill one training batch.
    """

    def __init__(self, settings: DataSettings, *, task: TrainingTask, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self._seed = seed
        self._sizes: Sizes = settings.sizes or OneSize()
        self._plan = RunPlan(batch_size=settings.batch_size)
        preprocessing = settings.preprocessing
        transform = task.train_transform(preprocessing)
        names = None if settings.class_names is None else read_class_names(settings.class_names)
        evaluator = evaluator_of(
            task.name, head=task.head, on_box_fault=settings.on_box_fault, on_mask_fault=settings.on_mask_fault
        )
        self._collate = evaluator.collate
        table = evaluator.open_table(settings.source, split="train")
        source = name_source(settings.source)
        table = table if names is None else order_classes(table, names, source=source)
        task.check_labels(table.labels, source=source)
        task.see_images(table, sampling=settings.sampling, on_error=settings.on_error)
        self._classes = task.image_classes(table) if settings.sampling == "balanced" else None
        self._train = DrawnImages(table, transform=transform, on_error=settings.on_error)
        self.labels, self.train_images = table.labels, len(self._train)
        self._make_batches()
        held_out = evaluator.open_table(settings.source, split="val")
        held_out = held_out if names is None else name_numbers(held_out, names, source=source)
        held_out = match_classes(held_out, table.labels, source=source)
        self.summary = describe_run(table, held_out)
        eval_transform = evaluator.transform(preprocessing)
        self._val = IndexedImages(held_out, transform=eval_transform, on_error=settings.on_error)
        self._plain = IndexedImages(table, transform=eval_transform, on_error=settings.on_error)

    def batches_per_epoch(self, *, processes: int) -> int:
        """Return how many batches a whole epoch has in each process."""
        return len(self._make_batches(processes=processes))

    def begin(self, plan: RunPlan) -> None:
        """Take the size of the run, where it begins, and this process's share of the images."""
        self._plan = plan

    @property
    def training_sizes(self) -> list[tuple[int, int]]:
        """Sizes (height, width) of the training images, pixels, from small to large."""
        return sorted(self._sizes.all_sizes(self.settings.preprocessing.size, epochs=self._plan.epochs))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled, augmented batches, all of them full for batch norm's sake.

        A run that resumes in the middle of an epoch gets only the batches that are left of it.
        """
        plan = self._plan
        batches = self._make_batches(process=plan.process, processes=plan.processes)
        batches.resume_at(plan.start.epochs, start=plan.start.batches)
        return train_loader(self._train, batches=batches, workers=self.settings.workers, collate=self._collate)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return every validation image once, over all processes."""
        return image_loader(
            self._val,
            batch_size=self.settings.batch_size,
            workers=self.settings.workers,
            collate=self._collate,
            process=self._plan.process,
            processes=self._plan.processes,
        )

    def calibration_batches(self, images: int) -> Iterator[Tensor]:
        """Yield at least so many training images, evenly chosen and without augmentation, in batches.

        All processes get the same images.

        Shape:
            (B, 3, H, W)
        """
        every = max(1, len(self._plain) // images)
        size = self.settings.batch_size
        for batch in image_loader(self._plain, batch_size=size, collate=self._collate, processes=every):
            if len(batch.targets):
                yield batch.images

    def _make_batches(self, *, process: int = 0, processes: int = 1) -> SeededBatches:
        return SeededBatches(
            len(self._train),
            batch=BatchShape(self.settings.batch_size, self.settings.preprocessing.size),
            sizes=self._sizes,
            repeats=self.settings.repeats,
            epochs=self._plan.epochs,
            seed=self._seed,
            classes=self._classes,
            process=process,
            processes=processes,
        )
