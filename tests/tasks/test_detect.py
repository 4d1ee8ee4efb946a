"""How detectors are trained: by a loss of their outputs, or by one inside the network."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

import parckit
from box_files import coco, write_coco, write_picture
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import Objects, Scene
from parckit.networks import build_network
from parckit.tasks.detect import Detect

HEADS = {
    "tinydet": {"width": 8, "depth": 1},
    "mask_rcnn": {
        "width": 8,
        "hidden": 16,
        "mask_width": 8,
        "anchors": [8.0, 16.0, 32.0, 64.0, 128.0],
        "proposals": 20,
        "samples": 16,
        "threshold": 0.0,
    },
}


def spec_of(head: str) -> NetworkSpec:
    return NetworkSpec(
        task="detect",
        backbone="test_resnet",
        head=head,
        head_kwargs=HEADS[head],
        labels=("a", "b"),
        preprocessing=Preprocessing(size=(64, 64)),
    )


@pytest.mark.parametrize("head", HEADS)
def test_every_head_says_how_it_is_trained(head):
    torch.manual_seed(0)
    spec, task = spec_of(head), Detect()
    network = build_network(spec).train()
    task.begin(network, spec)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[:, 10:40, 10:40] = True
    objects = Objects(torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([1]), torch.tensor([False]), masks)
    images = torch.rand(2, 3, 64, 64)
    loss = task.loss(network, images, [Scene(objects), Scene(objects)])
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert task.has_validation_loss is (head == "tinydet")
    if task.has_validation_loss:
        losses = task.validation_losses(network.eval()(images), [Scene(objects), Scene(objects)])
        assert losses.shape == (2,)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe that trains Mask R-CNN on a few pictures."""
    content = {
        "task": {"name": "detect", "augment": {"crop": "none", "colour": 0.0}},
        "model": {"name": "test_resnet", "head": "mask_rcnn", "head_kwargs": HEADS["mask_rcnn"]},
        "data": {"source": "digit_scenes:9", "batch_size": 4, "workers": 0, "preprocessing": {"size": [64, 64]}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "limit_val_batches": 1},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_two_stage_detector_trains_and_is_validated_image_by_image(recipe, tmp_path):
    run = parckit.train(recipe, out=tmp_path / "run")
    assert run.monitor == "val_map"
    with run.metrics.open() as file:
        columns = next(csv.reader(file))
    assert {"val_map", "val_segm_map", "train_loss"} <= set(columns)
    assert "val_loss" not in columns
    scalars = parckit.evaluate(run.best, "digit_scenes:9").score.scalars
    assert {"map", "segm_map", "segm_map_50"} <= set(scalars)


def test_a_loss_that_a_head_lacks_cannot_be_monitored(recipe, tmp_path):
    with pytest.raises(InputError, match="monitor=val_loss: the head mask_rcnn has no validation loss; use val_map"):
        parckit.train(recipe, out=tmp_path / "run", monitor="val_loss")


def test_a_source_without_masks_is_refused_before_the_first_step(recipe, tmp_path):
    names = [f"{number}.png" for number in range(20)]
    for number, name in enumerate(names):
        write_picture(tmp_path / "cells" / "train" / name, seed=number)
    boxes = [{"image_id": number, "bbox": [1, 2, 20, 12]} for number in range(len(names))]
    content = coco(boxes, images=dict.fromkeys(names, (40, 30)))
    write_coco(tmp_path / "cells" / "annotations" / "instances_train.json", content)
    with pytest.raises(InputError, match=r"head=mask_rcnn: needs a mask of every object.*cells.*png") as error:
        parckit.train(recipe, out=tmp_path / "run", data={"source": str(tmp_path / "cells")})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
