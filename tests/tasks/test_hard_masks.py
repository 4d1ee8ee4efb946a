"""Pictures and masks that break careless code, from files through training, evaluation and prediction."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import parckit
from box_files import write_picture
from mask_files import VOC_COLOURS, cut_in_half, quarters, write_mask
from parckit.contract import InputError
from parckit.measure.evaluation import EvaluationData
from parckit.processing import IGNORED
from parckit.tasks import Run

HEADS: Mapping[str, Mapping[str, object]] = {
    "lraspp": {},
    "deeplabv3": {"auxiliary": True},
    "upernet": {"auxiliary": True},
}
CLASSES = ("road", "car", "sky")

Train = Callable[..., Run]


def write_pixels(path: Path, pixels: np.ndarray | Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)


def write_hard(root: Path, *, split: str) -> None:
    """Write the hard pictures of a split and their masks."""
    pictures, masks = root / "images" / split, root / "masks" / split
    rng = np.random.default_rng(0)
    for name, size in (("plain", (40, 30)), ("point", (1, 1)), ("thin", (3, 2)), ("line", (1, 50))):
        write_picture(pictures / f"{name}.png", size=size)
        write_mask(masks / f"{name}.png", quarters(size=size))
    for name, mask in {
        "deep_mask": quarters().astype(np.uint16),
        "above": quarters(0, 3),
        "far_above": quarters().astype(np.uint16) * 700,
        "void": quarters(IGNORED, IGNORED),
        "one_class": quarters(2, 2),
        "other_size": quarters(size=(20, 15)),
    }.items():
        write_picture(pictures / f"{name}.png")
        write_mask(masks / f"{name}.png", mask)
    write_picture(pictures / "palette.png")
    write_mask(masks / "palette.png", quarters(), palette=VOC_COLOURS)
    write_picture(pictures / "turned.png", orientation=6)
    write_mask(masks / "turned.png", quarters())
    write_pixels(pictures / "grey.png", rng.integers(0, 256, (30, 40), dtype=np.uint8))
    write_pixels(pictures / "deep.png", rng.integers(0, 65536, (30, 40), dtype=np.uint16))
    write_pixels(pictures / "clear.png", rng.integers(0, 256, (30, 40, 4), dtype=np.uint8))
    write_pixels(pictures / "ink.jpg", Image.new("CMYK", (40, 30), (10, 200, 30, 0)))
    for name in ("grey", "deep", "clear", "ink"):
        write_mask(masks / f"{name}.png", quarters())
    (root / "classes.txt").write_text("\n".join(CLASSES))


def write_some(root: Path, mask: np.ndarray, *, split: str, count: int) -> None:
    """Write pictures that all have the same mask."""
    for number in range(count):
        write_picture(root / "images" / split / f"{split}{number}.png", seed=number)
        write_mask(root / "masks" / split / f"{split}{number}.png", mask)
    (root / "classes.txt").write_text("\n".join(CLASSES))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hard")
    for split in ("train", "val"):
        write_hard(folder, split=split)
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def run(source: Path, *, head: str = "lraspp", weights: object = None, **data: object) -> Run:
        """Train an epoch of a small network."""
        kwargs = {"width": 8, **HEADS[head]}
        return parckit.train(
            "segment/digit_scenes_upernet",
            out=tmp_path / "run",
            task={"class_weights": weights, "augment": {"scale": [0.5, 2.0], "flip": 0.5, "colour": 0.5}},
            model={"name": "test_resnet", "kwargs": {}, "head": head, "head_kwargs": kwargs},
            data={
                "source": str(source),
                "preprocessing": {"size": [64, 64], "fit": "contain"},
                "batch_size": 2,
                "workers": 0,
                **data,
            },
            trainer={"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
            ema=None,
            overwrite=True,
        )

    return run


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return torch.load(run.last, weights_only=True)["state_dict"]


@pytest.mark.parametrize("head", HEADS)
def test_hard_pictures_and_masks_are_trained_on_evaluated_and_answered(source: Path, head: str, train: Train):
    run = train(source, head=head, weights="sqrt")
    assert all(value.isfinite().all() for value in weights_of(run).values())
    score = parckit.evaluate(run.best, EvaluationData(source=str(source), split="val")).score
    assert np.isfinite(list(score.scalars.values())).all()
    predictor = parckit.load(run.best)
    for path in sorted((source / "images" / "val").iterdir()):
        with Image.open(path) as picture:
            upright = picture.size[::-1] if path.stem != "turned" else picture.size
        mask = predictor(path).mask
        assert mask.shape == upright
        assert mask.max() < len(CLASSES)


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_training_pictures_without_any_class_change_nothing(tmp_path: Path, weights: str | None, train: Train):
    write_some(tmp_path / "void", quarters(IGNORED, IGNORED), split="train", count=4)
    write_some(tmp_path / "void", quarters(), split="val", count=2)
    if weights is None:
        assert all(value.isfinite().all() for value in weights_of(train(tmp_path / "void")).values())
    else:
        with pytest.raises(InputError, match="no pixel"):
            train(tmp_path / "void", weights=weights)


def test_validation_pictures_without_any_class_are_refused(tmp_path: Path, train: Train):
    write_some(tmp_path / "void", quarters(), split="train", count=4)
    write_some(tmp_path / "void", quarters(IGNORED, IGNORED), split="val", count=2)
    with pytest.raises(InputError, match="no pixel to evaluate"):
        train(tmp_path / "void")


def test_the_first_validation_pictures_may_have_no_class(tmp_path: Path, train: Train):
    write_some(tmp_path / "some", quarters(), split="train", count=4)
    write_some(tmp_path / "some", quarters(IGNORED, IGNORED), split="val", count=6)
    write_mask(tmp_path / "some" / "masks" / "val" / "val5.png", quarters())
    assert np.isfinite(train(tmp_path / "some").value)


@pytest.mark.parametrize("weights", ["balanced", "sqrt"])
def test_one_class_in_all_masks_is_learned(tmp_path: Path, weights: str | None, train: Train):
    for split in ("train", "val"):
        write_some(tmp_path / "one", quarters(1, 1), split=split, count=4)
    run = train(tmp_path / "one", weights=weights)
    assert all(value.isfinite().all() for value in weights_of(run).values())


def test_a_class_table_of_one_class_is_refused(tmp_path: Path, train: Train):
    for split in ("train", "val"):
        write_some(tmp_path / "one", quarters(0, 0), split=split, count=4)
    (tmp_path / "one" / "classes.txt").write_text("road\n")
    with pytest.raises(InputError, match="only the class 'road'"):
        train(tmp_path / "one")


@pytest.mark.parametrize(("kind", "weights"), [("images", None), ("masks", "balanced")])
def test_broken_files_stop_the_training_or_are_skipped(tmp_path: Path, kind: str, weights: str | None, train: Train):
    for split in ("train", "val"):
        write_some(tmp_path / "data", np.random.default_rng(0).integers(0, 3, (30, 40), np.uint8), split=split, count=6)
        cut_in_half(tmp_path / "data" / kind / split / f"{split}2.png")
    with pytest.raises(InputError, match=rf"{kind}.*2\.png: .*data\.on_error skip leaves such images out"):
        train(tmp_path / "data", weights=weights)
    run = train(tmp_path / "data", weights=weights, on_error="skip", max_broken=0.5)
    assert all(value.isfinite().all() for value in weights_of(run).values())


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("above", quarters(0, 3), "unknown value: 300 pixels"),
        ("other_size", quarters(size=(20, 15)), "wrong size: 20x15 pixels"),
        ("deep", quarters().astype(np.uint16) * 700, "unknown value: 300 pixels"),
    ],
)
def test_faulty_masks_are_refused_if_asked(tmp_path: Path, name: str, mask: np.ndarray, message: str, train: Train):
    for split in ("train", "val"):
        write_some(tmp_path / "data", quarters(), split=split, count=3)
    # Batches have two pictures, and all four are drawn. The first test of this file trains on such masks.
    write_picture(tmp_path / "data" / "images" / "train" / f"{name}.png")
    write_mask(tmp_path / "data" / "masks" / "train" / f"{name}.png", mask)
    with pytest.raises(InputError, match=rf"{name}\.png: {message}"):
        train(tmp_path / "data", on_mask_fault="raise")
