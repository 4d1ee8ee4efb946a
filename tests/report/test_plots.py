import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from parckit.contract import printable
from parckit.measure.curve import CurveRow
from parckit.report.bars import average_precisions
from parckit.report.confusion import confusion_matrix
from parckit.report.curves import training_curve
from parckit.report.figures import save_figure

LABELS = {classes: [f"class {index}" for index in range(classes)] for classes in (2, 10, 36, 120)}


@pytest.fixture(autouse=True)
def settings_stay():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before


def words(figure: Figure, tmp_path) -> list[str]:
    """Return all texts of the drawn figure, in drawing order."""
    save_figure(figure, tmp_path / "figure.svg")
    root = ET.parse(tmp_path / "figure.svg").getroot()  # noqa: S314 our own file
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def confusion_of(classes: int) -> np.ndarray:
    confusion = np.diag(np.full(classes, 70))
    confusion[0, 1] = 30
    return confusion


@pytest.mark.parametrize(
    ("classes", "named", "counted"), [(2, True, True), (10, True, True), (36, True, False), (120, False, False)]
)
def test_confusion_matrix_says_as_much_as_fits(classes, named, counted, tmp_path):
    seen = words(confusion_matrix(confusion_of(classes), LABELS[classes]), tmp_path)
    assert ("class 1" in seen) == named
    assert ("30" in seen and seen.count("70") == classes) == counted


def test_the_background_of_a_detector_has_a_row_and_no_rates(tmp_path):
    # Of 10 cats 8 were found; 2 of the 10 boxes with a cat show none.
    confusion = np.array([[8, 0, 2], [0, 3, 0], [2, 0, 0]])
    seen = words(confusion_matrix(confusion, ("cat", "dog"), extra="background"), tmp_path)
    assert seen.count("background") == seen.count("cat") == 2
    rates = [word.split() for word in seen if word.count("\u2007") or word.count("100") == 3]
    assert rates == [["80", "80", "80"], ["100", "100", "100"]]
    with pytest.raises(ValueError, match="3 labels"):
        confusion_matrix(confusion[:2, :2], ("cat", "dog"), extra="background")


def test_average_precisions_show_the_worst_classes_first(tmp_path):
    precisions, images = np.array([90.0, np.nan, 40.5]), np.array([7, 0, 3])
    seen = words(average_precisions(precisions, images, ("cat", "dog", "owl")), tmp_path)
    assert [word for word in seen if word.endswith(")") and "images" not in word] == ["owl (3)", "cat (7)"]
    assert {"40.5", "90.0"} <= {*seen}
    many = average_precisions(np.linspace(0, 100, 120), np.ones(120, np.int64), LABELS[120])
    assert "the 40 lowest of 120 classes" in words(many, tmp_path)
    with pytest.raises(ValueError, match="0 not 0"):
        average_precisions(precisions, np.zeros(3, np.int64), ("cat", "dog", "owl"))


def test_confusion_cell_strength_is_the_share_of_its_row():
    confusion = np.array([[90, 10, 0], [0, 1, 0], [0, 0, 0]])
    figure = confusion_matrix(confusion, ["a", "b", "c"])
    opacity = np.asarray(figure.axes[0].images[0].get_array())[..., 3]
    # Tolerance: the same float64 formula in another order of operations.
    assert opacity[0] == pytest.approx([0.25 + 0.75 * 0.9**0.5, 0.25 + 0.75 * 0.1**0.5, 0], rel=1e-12)
    assert opacity[1].tolist() == [0, 1, 0]
    assert opacity[2].tolist() == [0, 0, 0]


def test_confusion_matrix_refuses_other_number_of_labels():
    with pytest.raises(ValueError, match=r"shape \(2, 2\); 10 labels"):
        confusion_matrix(confusion_of(2), LABELS[10])


def test_training_curve_draws_only_values_that_are_there():
    rows = [
        CurveRow(step=0, values={"train_loss": 2.0}),
        CurveRow(step=9, values={"val_loss": 1.5, "val_top1": 40.0}),
        CurveRow(step=10, values={"train_loss": float("nan"), "images/s": 9.0}),
        CurveRow(step=19, values={"val_loss": 1.0, "val_top1": 90.0}),
        CurveRow(step=29, values={"val_loss": 1.1, "val_top1": 80.0}),
    ]
    loss, top1 = training_curve(rows).axes
    training, validation = loss.lines
    assert list(training.get_xdata()) == [0]
    assert list(validation.get_xdata()) == [9, 19, 29]
    assert list(validation.get_ydata()) == [1.5, 1.0, 1.1]
    assert "best 90.00 at step 19" in top1.get_title(loc="left")


def test_training_curve_draws_any_metrics_of_validation(tmp_path):
    values = {"val_map_small": 20.0, "val_map_75": 40.0, "val_map": 30.0, "val_map_50": 50.0, "lr": 0.1}
    figure = training_curve([CurveRow(step=step, values=values) for step in (0, 9)])
    metrics, _ = figure.axes
    drawn = ["val_map", "val_map_50", "val_map_75"]
    assert [line.get_label() for line in metrics.lines] == drawn
    assert len({line.get_linestyle() for line in metrics.lines}) == len(drawn)
    assert {*drawn} <= set(words(figure, tmp_path))


def test_training_curve_refuses_rows_without_values():
    with pytest.raises(ValueError, match="the 1 rows hold no loss"):
        training_curve([CurveRow(step=0)])


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "$\\frac", "数字", "x" * 200])
def test_any_class_name_can_be_drawn(label, tmp_path):
    figure = confusion_matrix(np.eye(2, dtype=np.int64), [label, "other"])
    shown = label if len(label) <= 16 else label[:15] + "…"
    assert words(figure, tmp_path).count(shown) == 2


@pytest.mark.parametrize("label", ["\x1b[31m", "\udcff", "\uffff"])
def test_characters_that_no_picture_can_hold_are_escaped(label, tmp_path):
    figure = confusion_matrix(np.eye(2, dtype=np.int64), [label, "other"])
    assert words(figure, tmp_path).count(printable(label)) == 2
