"""Labelled data to evaluate on, and how a network sees them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from parckit.contract import NetworkSpec, read_class_names
from parckit.data import (
    Batch,
    IndexedImages,
    OnBoxFault,
    OnError,
    OnMaskFault,
    Split,
    Table,
    check_broken,
    check_loading,
    image_loader,
    match_classes,
    name_numbers,
    name_source,
)
from parckit.measure.evaluators import Evaluator, evaluator_of
from parckit.measure.subset import SubsetSession
from parckit.measure.through_windows import whole_mask_transform, window_settings
from parckit.processing import WindowSettings
from parckit.runtimes import Session, WindowSession


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationData:
    """Labelled data to evaluate on; on the command line `--data X` is short for `--data.source X`.

    Attributes:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, a list of files (`.csv`, `.txt`)
            or `hf://NAME`; or a list of these. Detection takes one source with boxes: `digit_scenes`, a COCO .json
            file, a YOLO data.yaml, or a folder of COCO, Pascal VOC or YOLO files. Segmentation takes one source with
            masks: `digit_scenes`, a COCO .json file, or a folder.
        split: part of the source. If there is no test part, val or a held-out part of train serves as test, with a
            warning.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        max_broken: if more than this share of the images is broken, `skip` stops too.
        on_box_fault: `drop` drops or cuts faulty boxes, and tells how many there were; `raise` refuses a source with
            faulty boxes, and names the first.
        batch_size: images per batch.
        workers: number of loader processes; 0 loads the images in this process.
        on_mask_fault: the same for faulty masks: `drop` leaves out pictures that cannot be used and ignores pixels of
            no class; `raise` refuses the source.
        tiles: networks that segment see pictures through overlapping tiles of this size, HEIGHTxWIDTH or one number in
            pixels of the (resized) picture; `input` stands for the size of the network's input. Where tiles overlap,
            their logits are averaged. None: every picture is fitted to the input as a whole.
        tile_overlap: least share of a tile's sides by which it overlaps the next one; a third by default, so that tiles
            of 512 pixels lie 341 pixels apart.
        shorter_side: before tiles are cut, a picture is resized so that its shorter side has this many pixels, and the
            longer side four times as many at most; None: it keeps its size.
        scales: pictures are seen at these scales, such as `[0.5, 0.75, 1, 1.25, 1.5, 1.75]`, and the probabilities are
            averaged; None: at scale 1 only.
        flip: also see them mirrored, left to right.
        classes: evaluate only the images of these classes, a list or names with commas between, and let only these
            classes be answers; None: all classes that the network knows.
        class_names: text file with the names of the source's classes, one per line, if the source has only numbers, as
            shards without a `classes.txt` have.

    Raises:
        InputError: if `batch_size`, `workers`, `max_broken` or a value for tiles is out of range, `on_error` is
            unknown, or there are values for tiles without `tiles`.
    """

    source: list[str] | str
    split: Split = "test"
    on_error: OnError = "raise"
    max_broken: float = 0.1
    on_box_fault: OnBoxFault = "drop"
    batch_size: int = 64
    workers: int = 0
    classes: list[str | int] | str | None = None
    class_names: str | None = None
    on_mask_fault: OnMaskFault = "drop"
    tiles: str | None = None
    tile_overlap: float | None = None
    shorter_side: int | None = None
    scales: tuple[float, ...] | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        check_loading(
            batch_size=self.batch_size,
            least=1,
            workers=self.workers,
            on_error=self.on_error,
            max_broken=self.max_broken,
        )
        self._windows()  # refuses wrong values

    def limit(self, session: Session) -> Session:
        """Return a session that sees pictures as wanted, and answers only with the classes that are evaluated.

        Raises:
            InputError: if the network lacks one of `classes`, or there are fewer than two, or it cannot answer tiles.
        """
        if windows := self._windows():
            session = WindowSession(session, windows)
        return session if self._only is None else SubsetSession(session, self._only)

    def _windows(self) -> WindowSettings | None:
        return window_settings(
            tiles=self.tiles,
            tile_overlap=self.tile_overlap,
            shorter_side=self.shorter_side,
            scales=self.scales,
            flip=self.flip,
        )

    @property
    def _only(self) -> list[str] | None:
        """The names in `classes`. YAML reads names such as 3 as numbers."""
        names = self.classes.split(",") if isinstance(self.classes, str) else self.classes
        return None if names is None else [str(name).strip() for name in names]

    def open(self, session: Session) -> IndexedImages:
        """Open the images, preprocessed as a session expects. Images of classes that the network lacks are left out.

        Raises:
            InputError: if the data cannot be opened, or have no image of the network's classes.
        """
        evaluator, windows = self._evaluator(session.spec), self._windows()
        make_transform = evaluator.transform if windows is None else partial(whole_mask_transform, windows)
        transform = make_transform(session.spec.preprocessing, wanted=session.input)
        return IndexedImages(self.table(session.spec), transform=transform, on_error=self.on_error)

    def table(self, spec: NetworkSpec) -> Table:
        """Open the images for a network, without any preprocessing.

        Raises:
            InputError: as `open`.
        """
        table = self._evaluator(spec).open_table(self.source, split=self.split)
        source = name_source(self.source)
        if self.class_names is not None:
            table = name_numbers(table, read_class_names(self.class_names), source=source)
        return match_classes(table, spec.labels, source=f"--data {source}", only=self._only)

    def _evaluator(self, spec: NetworkSpec) -> Evaluator:
        """Return how the network's task is evaluated."""
        return evaluator_of(spec.task, head=spec.head, on_box_fault=self.on_box_fault, on_mask_fault=self.on_mask_fault)

    def batches(self, dataset: IndexedImages, session: Session) -> Iterable[Batch]:
        """Load the images that `open` returned, in order."""
        collate = evaluator_of(session.spec.task, head=session.spec.head).collate
        # Whole pictures of different sizes do not fit into one batch.
        batch_size = self.batch_size if self.tiles is None else 1
        return image_loader(dataset, batch_size=batch_size, workers=self.workers, collate=collate)

    def check(self, batches: Iterable[Batch], *, images: int) -> Iterable[Batch]:
        """Return the batches, up to the one with which too many images are broken.

        Args:
            batches: batches of the data.
            images: number of images of all batches, with the broken ones.

        Raises:
            InputError: if too many images are broken.
        """
        skipped = 0
        for batch in batches:
            skipped += batch.skipped
            check_broken(
                "images",
                source=name_source(self.source),
                skipped=skipped,
                seen=images,
                expected=images,
                max_broken=self.max_broken,
            )
            yield batch
