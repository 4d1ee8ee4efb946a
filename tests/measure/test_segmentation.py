import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from parckit.contract import InputError
from parckit.data import PixelClasses
from parckit.measure.segmentation import SegmentationMetric, near_boundary
from parckit.processing import IGNORED, MaskPrediction
from two_processes import run_in_two_processes

CLASSES = 5


def scenes(count: int = 4, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return masks with areas of classes, and answers that are partly wrong; class 4 never occurs."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        size = (40 + 10 * number, 60)
        coarse = rng.integers(0, CLASSES - 1, (5, 6)).astype(np.uint8)
        truth = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.NEAREST)).copy()
        answer = np.roll(truth, (2, -3), axis=(0, 1))
        truth[rng.random(size) < 0.1] = IGNORED
        truth[-6:] = IGNORED
        pairs.append((truth, answer))
    return pairs


def metric_of(*pairs: tuple[np.ndarray, np.ndarray], classes: int = CLASSES) -> SegmentationMetric:
    metric = SegmentationMetric(classes)
    for truth, answer in pairs:
        prediction = MaskPrediction(mask=answer, names=tuple(map(str, range(classes))))
        metric.update([prediction], [PixelClasses(torch.empty(0), torch.from_numpy(truth))])
    return metric


def test_torchmetrics_and_a_plain_count_of_saved_masks_give_the_same_numbers(tmp_path):
    pairs = scenes()
    for number, (truth, answer) in enumerate(pairs):
        Image.fromarray(truth).save(tmp_path / f"{number}.truth.png")
        MaskPrediction(mask=answer, names=tuple("abcde")).to_image().save(tmp_path / f"{number}.answer.png")
    metric = metric_of(*pairs)
    scalars, tables = metric.compute(), metric.tables()
    # Read what was written, as somebody else would.
    saved = [
        [torch.from_numpy(np.array(Image.open(tmp_path / f"{number}.{kind}.png"))) for kind in ("answer", "truth")]
        for number in range(len(pairs))
    ]
    settings = {"num_classes": CLASSES, "ignore_index": IGNORED}
    for average, name in (("macro", "miou"), ("none", "class_iou")):
        theirs = MulticlassJaccardIndex(**settings, average=average)
        for answer, truth in saved:
            theirs.update(answer, truth)
        ours = scalars[name] if average == "macro" else np.nan_to_num(tables[name])
        np.testing.assert_allclose(ours, 100 * theirs.compute().numpy(), rtol=1e-5)  # theirs is float32
    for average, name in (("macro", "mean_accuracy"), ("micro", "pixel_accuracy")):
        theirs = MulticlassAccuracy(**settings, average=average)
        for answer, truth in saved:
            theirs.update(answer, truth)
        assert scalars[name] == pytest.approx(100 * float(theirs.compute()), rel=1e-5)
    # And the plain count.
    answers, truths = (np.concatenate([pair[side].numpy().ravel() for pair in saved]) for side in (0, 1))
    answers, truths = answers[truths != IGNORED], truths[truths != IGNORED]
    shared, both = (
        np.array([rule(answers == label, truths == label).sum() for label in range(CLASSES)])
        for rule in (np.logical_and, np.logical_or)
    )
    np.testing.assert_array_equal(tables["class_iou"][:4], (100 * shared / np.maximum(both, 1))[:4])
    assert np.isnan(tables["class_iou"][4])
    assert scalars["miou"] == pytest.approx((100 * shared / np.maximum(both, 1))[:4].mean())
    np.testing.assert_array_equal(tables["class_pixels"], np.bincount(truths, minlength=CLASSES))


def slow_boundary(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return the pixels of one class near its boundary: what an erosion takes away, as arXiv:2103.16562 has it."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), bool)
    return mask & ~ndimage.binary_erosion(mask, square, border_value=0)


def test_boundary_iou_is_that_of_eroded_masks():
    pairs = scenes(count=3)
    metric = metric_of(*pairs)
    expected = []
    for label in range(CLASSES):
        shared = both = 0
        for truth, answer in pairs:
            reach = max(1, round(0.02 * np.hypot(*truth.shape)))
            known = truth != IGNORED
            near = [slow_boundary(known & (mask == label), reach) for mask in (truth, answer)]
            shared += int((near[0] & near[1]).sum())
            both += int((near[0] | near[1]).sum())
        expected.append(100 * shared / both if both else np.nan)
    np.testing.assert_allclose(metric.tables()["class_boundary_iou"], expected)
    assert metric.compute()["boundary_iou"] == pytest.approx(np.nanmean(expected))
    assert 0 < metric.compute()["boundary_iou"] < metric.compute()["miou"]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 200), (70, 50)])
def test_all_of_a_single_class_has_only_the_border_as_boundary(size):
    mask = np.zeros(size, np.uint8)
    np.testing.assert_array_equal(near_boundary(mask), slow_boundary(mask == 0, max(1, round(0.02 * np.hypot(*size)))))


def test_perfect_answers_have_full_marks():
    truth = scenes()[0][0]
    scalars = metric_of((truth, np.where(truth == IGNORED, np.uint8(3), truth))).compute()
    assert scalars == {"miou": 100, "mean_accuracy": 100, "pixel_accuracy": 100, "boundary_iou": 100}


def test_pixels_without_an_answer_are_wrong():
    truth = np.array([[0, 0, 1, 1, IGNORED]], np.uint8)
    metric = metric_of((truth, np.array([[0, IGNORED, 1, 1, IGNORED]], np.uint8)), classes=2)
    assert metric.compute()["pixel_accuracy"] == 75
    assert metric.tables()["confusion"].tolist() == [[1, 0, 1], [0, 2, 0]]
    assert metric.tables()["class_iou"].tolist() == [50, 100]


def test_masks_without_a_class_are_refused_only_if_all_are():
    nothing = (np.full((4, 4), IGNORED, np.uint8), np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="no pixel to evaluate"):
        metric_of(nothing).compute()
    assert metric_of(nothing, (nothing[1], nothing[1])).compute()["miou"] == 100


def test_truth_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\), the answer \(4, 5\)"):
        metric_of((np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)))
    with pytest.raises(ValueError, match="no classes for the pixels of the picture"):
        SegmentationMetric(2).update(
            [MaskPrediction(mask=np.zeros((1, 1), np.uint8), names=("a", "b"))], [PixelClasses(torch.empty(0))]
        )


def _share_of_pictures(process: int, share: list[int]) -> dict[str, float]:
    first = sum(share[:process])
    return metric_of(*scenes()[first : first + share[process]]).compute()


# torchmetrics warns of a process without pictures.
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("share", [[1, 3], [4, 0]])
def test_several_processes_have_the_same_result_as_one(share, tmp_path):
    results = run_in_two_processes(_share_of_pictures, share, folder=tmp_path)
    assert results[0] == results[1] == metric_of(*scenes()).compute()
