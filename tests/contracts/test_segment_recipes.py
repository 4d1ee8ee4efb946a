"""The first steps of the recipes of segmenters, each on the layout of its data set."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import parckit
from box_files import write_picture
from mask_files import quarters, write_mask, write_voc_lists, write_voc_masks
from parckit.tasks.recipe import recipes_folder

SIZE = (80, 60)
COUNTS = {"train": 4, "val": 2}


def write_voc(root: Path) -> None:
    for split, count in COUNTS.items():
        for number in range(count):
            write_voc_masks(root, f"{split}{number}", quarters(0, 15, size=SIZE))
    write_voc_lists(root, **{split: "\n".join(f"{split}{n}" for n in range(count)) for split, count in COUNTS.items()})


def write_ade20k(root: Path) -> None:
    for split, folder in (("train", "training"), ("val", "validation")):
        for number in range(COUNTS[split]):
            write_picture(root / "images" / folder / f"{number}.jpg", size=SIZE, seed=number)
            write_mask(root / "annotations" / folder / f"{number}.png", quarters(0, 150, size=SIZE))
    rows = [f"{number}\t0.1\t10\t1\tthing {number}" for number in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))


def write_streets(root: Path) -> None:
    for split, count in COUNTS.items():
        for number in range(count):
            write_picture(root / split / "images" / f"{number}.jpg", size=SIZE, seed=number)
            write_mask(root / split / "masks" / f"{number}.png", quarters(size=SIZE))
    (root / "classes.txt").write_text("road\ncar\n")


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "voc_deeplabv3_parcnet_s": write_voc,
    "ade20k_upernet_parc_convnext_xt": write_ade20k,
    "finetune_small_upernet": write_streets,
}
DRAWN = "digit_scenes_upernet"
"""The quickstart trains this recipe."""


def test_every_recipe_is_run():
    assert {path.stem for path in (recipes_folder() / "segment").glob("*.yaml")} == {*WRITERS, DRAWN}


@pytest.mark.parametrize("name", WRITERS)
def test_the_first_steps_run_on_the_layout_that_the_recipe_is_made_for(name, tmp_path):
    WRITERS[name](tmp_path / "data")
    run = parckit.train(
        f"segment/{name}",
        out=tmp_path / "run",
        data={
            "source": str(tmp_path / "data"),
            "batch_size": 2,
            "workers": 0,
            "on_mask_fault": "raise",
            "preprocessing": {"size": [64, 96]},
        },
        trainer={
            "max_epochs": 1,
            "limit_train_batches": 2,
            "num_sanity_val_steps": 0,
            "check_val_every_n_epoch": 1,
            "accelerator": "cpu",
            "precision": "32-true",
            "sync_batchnorm": False,
        },
    )
    assert run.monitor == "val_miou"
    assert 0 <= run.value <= 100
