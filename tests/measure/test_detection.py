import contextlib
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from box_files import BCCD, needs_bccd
from parckit.contract import InputError
from parckit.data import BoxTable, Objects, Scene, convert_boxes, open_boxes
from parckit.measure.box_pairs import compare_boxes
from parckit.measure.detection import DetectionMetric
from parckit.processing import BoxMasks, BoxPrediction
from two_processes import run_in_two_processes

NAMES = ("cat", "dog", "owl")


def objects(boxes, labels, crowd=()) -> Objects:
    return Objects(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        crowd=torch.tensor([index in crowd for index in range(len(labels))], dtype=torch.bool),
    )


def answer(boxes, labels, scores) -> BoxPrediction:
    return BoxPrediction(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        names=NAMES,
    )


def metric_of(*pairs: tuple[BoxPrediction, Objects]) -> DetectionMetric:
    metric = DetectionMetric(len(NAMES))
    for prediction, truth in pairs:
        metric.update([prediction], [Scene(truth, truth)])
    return metric


CAT, DOG = [10, 10, 50, 50], [60, 10, 100, 50]


def test_perfect_answers_have_full_marks_and_absent_classes_none():
    metric = metric_of((answer([CAT, DOG], [0, 1], [0.9, 0.8]), objects([CAT, DOG], [0, 1])))
    scalars, tables = metric.compute(), metric.tables()
    assert scalars["map"] == scalars["map_50"] == scalars["map_medium"] == 100
    assert "map_large" not in scalars
    np.testing.assert_array_equal(tables["class_ap"], [100, 100, np.nan])
    np.testing.assert_array_equal(tables["class_boxes"], [1, 1, 0])
    np.testing.assert_array_equal(tables["confusion"], np.diag([1, 1, 0, 0]))
    assert tables["precision"].shape == (101, 3)


def test_a_worse_box_counts_only_below_its_overlap():
    shifted = [10, 10, 50, 66]  # an intersection over union of 40 / 56
    scalars = metric_of((answer([shifted], [0], [0.9]), objects([CAT], [0]))).compute()
    assert scalars["map_50"] == 100
    assert scalars["map_75"] == 0
    # It passes the thresholds 0.5, 0.55, 0.6, 0.65 and 0.7 of the ten.
    assert scalars["map"] == pytest.approx(50)


def test_a_false_alarm_before_the_object_halves_the_precision():
    truth = objects([CAT], [0])
    false_alarm = answer([DOG, CAT], [0, 0], [0.9, 0.8])
    assert metric_of((false_alarm, truth)).compute()["map_50"] == pytest.approx(50)


def test_crowds_need_not_be_found_and_forgive():
    truth = objects([CAT, [60, 10, 100, 50]], [0, 0], crowd=[1])
    metric = metric_of((answer([CAT, [62, 12, 80, 40]], [0, 0], [0.8, 0.9]), truth))
    assert metric.compute()["map"] == 100
    tables = metric.tables()
    assert tables["class_boxes"].tolist() == [1, 0, 0]
    # The second box lies on the crowd, so it is no mistake. A box of another class there is one.
    assert tables["confusion"].sum() == 1
    other = metric_of((answer([[62, 12, 80, 40]], [1], [0.9]), truth))
    assert other.tables()["confusion"][-1].tolist() == [0, 1, 0, 0]


def test_pictures_without_objects_count_their_false_alarms():
    nothing = objects([], [])
    metric = metric_of((answer([DOG], [0], [0.95]), nothing), (answer([CAT], [0], [0.9]), objects([CAT], [0])))
    assert metric.compute()["map_50"] == pytest.approx(50)
    with pytest.raises(InputError, match="no object to evaluate"):
        metric_of((answer([], [], []), nothing)).compute()


def test_confusions_are_counted_with_the_background():
    prediction = answer([CAT, DOG, [0, 60, 30, 90]], [1, 1, 0], [0.9, 0.5, 0.4])
    truth = objects([CAT, DOG, [60, 60, 100, 100]], [0, 1, 2])
    counts = compare_boxes(prediction, truth).confusion(len(NAMES))
    expected = np.zeros((4, 4), int)
    expected[0, 1] = expected[1, 1] = 1  # the cat was taken for a dog
    expected[2, 3] = 1  # the owl was not found
    expected[3, 0] = 1  # a cat where there is nothing
    np.testing.assert_array_equal(counts, expected)


def test_a_metric_can_begin_anew():
    metric = metric_of((answer([DOG], [0], [0.9]), objects([CAT], [0])))
    assert metric.compute()["map"] == 0
    metric.reset()
    prediction, truth = answer([CAT], [0], [0.9]), objects([CAT], [0])
    metric.update([prediction], [Scene(truth, truth)])
    assert metric.compute()["map"] == 100
    assert metric.tables()["confusion"].sum() == 1


def with_masks(prediction: BoxPrediction, *, share: float = 1.0) -> BoxPrediction:
    """Add masks that fill this share of their boxes, from the left."""
    shares = np.zeros((len(prediction), 28, 28), np.float32)
    shares[:, :, : round(28 * share)] = 1
    return replace(prediction, masks=BoxMasks(shares=shares, boxes=prediction.boxes, picture_size=(60, 110)))


def with_filled_masks(truth: Objects) -> Objects:
    masks = torch.zeros(len(truth.labels), 60, 110, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, truth.boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return truth._replace(masks=masks)


def mask_scalars(*pairs: tuple[BoxPrediction, Objects]) -> dict[str, float]:
    metric = DetectionMetric(len(NAMES), masks=True)
    for prediction, truth in pairs:
        metric.update([prediction], [Scene(truth, truth)])
    assert set(metric.tables()) == set(metric_of(*pairs).tables())
    return metric.compute()


def test_masks_are_measured_beside_boxes():
    prediction, truth = answer([CAT, DOG], [0, 1], [0.9, 0.8]), objects([CAT, DOG], [0, 1])
    scalars = mask_scalars((with_masks(prediction), with_filled_masks(truth)))
    assert scalars["segm_map_50"] == scalars["segm_map_75"] == scalars["map"] == 100
    boxes_alone = metric_of((prediction, truth)).compute()
    assert {name: scalars[name] for name in boxes_alone} == boxes_alone
    # A mask of the left 60 % of a box has an IoU of 0.6 with the whole box.
    scalars = mask_scalars((with_masks(prediction, share=0.6), with_filled_masks(truth)))
    assert scalars["map"] == scalars["segm_map_50"] == 100
    assert scalars["segm_map_75"] == 0


def test_masks_in_a_picture_without_objects_are_false_alarms():
    prediction = with_masks(answer([CAT], [0], [0.9]))
    none = objects([], [])._replace(masks=torch.zeros(0, 60, 110, dtype=torch.bool))
    scalars = mask_scalars((prediction, none), (prediction, with_filled_masks(objects([CAT], [0]))))
    assert scalars["segm_map_50"] == scalars["map_50"] == pytest.approx(50, abs=1)


def test_no_masks_for_objects_score_nothing():
    nothing = with_masks(answer([], [], []))
    assert mask_scalars((nothing, with_filled_masks(objects([CAT], [0]))))["segm_map"] == 0


def test_objects_without_masks_leave_the_boxes():
    scalars = mask_scalars((with_masks(answer([CAT], [0], [0.9])), objects([CAT], [0])))
    assert scalars["map"] == 100
    assert "segm_map" not in scalars
    with pytest.raises(ValueError, match="predictions: have no masks"):
        mask_scalars((answer([CAT], [0], [0.9]), objects([CAT], [0])))


def noisy_answers(table: BoxTable, *, seed: int = 0) -> list[BoxPrediction]:
    """Return boxes near those of the table, some of a wrong class, and some where there is nothing."""
    rng = np.random.default_rng(seed)
    answers = []
    for index, truth in enumerate(table.targets):
        boxes, labels = truth.boxes.numpy(), truth.labels.numpy()
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        moved = boxes + rng.normal(0, 0.08, boxes.shape) * sides
        lost = rng.random(len(boxes)) < 0.2
        moved[lost] = rng.uniform(0, min(table.size(index)) / 2, (int(lost.sum()), 2)).repeat(2, axis=1)
        moved[lost, 2:] += 40
        wrong = rng.integers(0, len(table.labels), len(boxes))
        answers.append(
            BoxPrediction(
                boxes=moved.astype(np.float32),
                scores=rng.random(len(boxes)).astype(np.float32),
                labels=np.where(rng.random(len(boxes)) < 0.1, wrong, labels),
                names=table.labels,
            )
        )
    return answers


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
@pytest.mark.parametrize("source", ["digit_scenes:60", pytest.param("bccd", marks=needs_bccd)])
def test_pycocotools_gives_the_same_numbers_for_every_size(source, tmp_path):
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    if source == "bccd":
        shutil.unpack_archive(BCCD, tmp_path / "data")
    else:
        convert_boxes(source, tmp_path / "data", to="coco")
    file = tmp_path / "data" / "annotations" / "instances_train.json"
    table = open_boxes(str(file), split="all")
    answers = noisy_answers(table)
    metric = DetectionMetric(len(table.labels))
    metric.update(answers, [Scene(truth, truth) for truth in table.targets])
    with contextlib.redirect_stdout(None):
        index = coco.COCO(str(file))
        number_of = {image["file_name"]: number for number, image in index.imgs.items()}
        rows = [
            [number_of[table.pictures.file_name(picture)], *box[:2], *(box[2:] - box[:2]), score, label + 1]
            for picture, entry in enumerate(answers)
            for box, score, label in zip(entry.boxes, entry.scores, entry.labels, strict=True)
        ]
        reference = evaluation.COCOeval(index, index.loadRes(np.array(rows, np.float64)), "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    names = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
    scalars = metric.compute()
    # Both compute in float64; only torchmetrics' results are rounded to float32.
    assert [scalars.get(name, -100.0) for name in names] == pytest.approx(list(100 * reference.stats[:6]), abs=1e-4)


def _share_of_pictures(process: int, share: list[int], masks: bool) -> tuple[dict, dict]:
    truth = with_filled_masks(objects([CAT, DOG], [0, 1]))
    # The mask of the second process is 60 % of the cat, so its result differs from that of the first.
    prediction = with_masks(answer([CAT], [0], [0.9]), share=(1.0, 0.6)[process])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of a process without pictures
        metric = DetectionMetric(len(NAMES), masks=masks)
        for _ in range(share[process]):
            metric.update([prediction], [Scene(truth, truth)])
        return metric.compute(), metric.tables()


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("share", [[2, 1], [2, 0]])
def test_processes_with_different_numbers_of_pictures_have_the_same_result(share, masks, tmp_path):
    results = run_in_two_processes(_share_of_pictures, share, masks, folder=tmp_path)
    (scalars, tables), (others, other_tables) = results
    assert scalars == others
    for name, table in tables.items():
        np.testing.assert_array_equal(table, other_tables[name])
    # Cats are found and dogs are not.
    assert scalars["map"] == pytest.approx(50)
    assert tables["class_boxes"].tolist() == [sum(share), sum(share), 0]
    assert tables["confusion"].sum() == 2 * sum(share)
    if not masks:
        return
    truth = with_filled_masks(objects([CAT, DOG], [0, 1]))
    whole, part = (with_masks(answer([CAT], [0], [0.9]), share=width) for width in (1.0, 0.6))
    alone = mask_scalars(*[(whole, truth)] * share[0], *[(part, truth)] * share[1])
    assert scalars == pytest.approx(alone)
