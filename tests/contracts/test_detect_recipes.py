"""What the recipes of detectors promise, beside what every recipe does."""

import re
import shlex

import pytest

import parckit
from box_files import coco, write_coco, write_picture
from golden_fixtures import needs_shared, read_train_facts
from parckit.tasks import RunLength, ScheduleSettings, recipe_parser, recipes_folder

PAPERS = sorted(f"detect/{path.stem}" for path in (recipes_folder() / "detect").glob("coco_*.yaml"))


@pytest.fixture(scope="module")
def parser():
    return recipe_parser("detect")


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize(("statement", "processes"), [("Command", 4), ("CPU", 1), ("Nodes", 8)])
def test_every_launch_takes_as_many_images_a_step_as_the_learning_rate_is_for(name, statement, processes, parser):
    text = (recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8").replace("\n#   ", " ")
    head = dict(re.findall(r"^# (\w+): (.+)$", text, re.MULTILINE))
    line = head[statement].replace("COMMAND", head["Command"])
    config = parser.parse(shlex.split(line.partition("parckit train ")[2]))
    trainer = config.trainer
    assert int(trainer.devices) * trainer.num_nodes == processes
    assert config.data.batch_size * processes * trainer.accumulate_grad_batches == config.model.optimizer.lr_batch
    assert "Source" in head


@needs_shared
def test_ssd_trains_as_the_official_code_does(parser):
    config, facts = parser.parse(["--config=detect/coco_ssd_parcnet_s"]), read_train_facts()
    said, optimizer = facts["opts_det_ssd"], config.model.optimizer
    schedule = ScheduleSettings(**config.model.schedule.as_dict())
    # In the official points the iteration of a later epoch is any that lies beyond the warm-up.
    run = RunLength(steps=200 * 916, epochs=200)
    for epoch, step, lr in facts["lr_det_ssd"]["points"]:
        assert schedule.lr_at(step, epoch=epoch, peak=optimizer.lr, run=run) == pytest.approx(lr, rel=1e-12)
    assert (optimizer.name, optimizer.weight_decay) == (said["optim.name"], said["optim.weight_decay"])
    assert optimizer.decay_all is not said["optim.no_decay_bn_filter_bias"]
    assert 1 - config.ema.decay == pytest.approx(said["ema.momentum"], rel=1e-9)
    assert config.keep_best == said["common.k_best_checkpoints"]
    assert (config.trainer.precision == "16-mixed") is said["common.mixed_precision"]
    assert config.trainer.max_epochs == said["scheduler.max_epochs"]
    assert config.data.batch_size == said["dataset.train_batch_size0"]
    assert config.task.augment.flip == said["image_augmentation.random_horizontal_flip.p"]


# A cascade of the recipe's size would take half a minute.
SMALL = {"width": 16, "hidden": 32, "mask_width": 16, "proposals": 50, "samples": 32}


@pytest.mark.parametrize("name", [*PAPERS, "detect/finetune_small_tinydet"])
def test_the_first_steps_of_a_detector_run_on_a_file_of_coco(name, tmp_path):
    for split, count in (("train", 8), ("val", 2)):
        names = [f"{split}{number}.png" for number in range(count)]
        for number, picture in enumerate(names):
            write_picture(tmp_path / "coco" / f"{split}2017" / picture, size=(80, 60), seed=number)
        square = [5, 5, 45, 5, 45, 45, 5, 45]
        objects = [
            {"image_id": number, "bbox": [5, 5, 40, 40], "segmentation": [square], "area": 1600, "iscrowd": 0}
            for number in range(count)
        ]
        content = coco(objects, images=dict.fromkeys(names, (80, 60)))
        write_coco(tmp_path / "coco" / "annotations" / f"instances_{split}2017.json", content)
    run = parckit.train(
        name,
        out=tmp_path / "run",
        model={"head_kwargs": SMALL} if "cascade" in name else {},
        data={"source": str(tmp_path / "coco"), "batch_size": 2, "workers": 0, "preprocessing": {"size": [64, 96]}},
        trainer={
            "max_epochs": 1,
            "limit_train_batches": 2,
            "num_sanity_val_steps": 0,
            "accelerator": "cpu",
            "precision": "32-true",
            "sync_batchnorm": False,
        },
    )
    assert run.best.is_file()
