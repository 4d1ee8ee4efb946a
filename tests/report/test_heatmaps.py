import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from parckit.report import heatmaps
from parckit.report.figures import save_figure


def field_of(height: int, width: int) -> np.ndarray:
    field = np.zeros((height, width))
    field[2:4, 3:5] = 0.25
    return field


@pytest.mark.parametrize(("fields", "tiles"), [(1, 1), (4, 4), (5, 8)])
def test_every_field_has_its_place_and_its_words(fields, tiles, tmp_path):
    figure = heatmaps.receptive_fields({f"model {i}": field_of(12, 16) for i in range(fields)})
    *axes, bar = figure.axes
    assert len(axes) == tiles
    assert [tile.get_title(loc="left") for tile in axes[:fields]] == [f"model {i}" for i in range(fields)]
    assert axes[0].get_xlabel() == "50% within 2x2 pixels\n99% within 2x2 pixels"
    assert not any(tile.axison for tile in axes[fields:])
    assert "strongest place = 1" in bar.get_ylabel()
    save_figure(figure, tmp_path / "erf.png")


def test_the_squares_stand_where_the_field_is():
    figure = heatmaps.receptive_fields({"model": field_of(12, 16)})
    frames = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    # Pixel (2, 3) covers 1.5..2.5 by 2.5..3.5.
    assert [frame.get_bbox().bounds for frame in frames] == [(2.5, 1.5, 2, 2)] * 2
    assert len({frame.get_linestyle() for frame in frames}) == 2


def test_a_field_is_drawn_relative_to_its_strongest_place():
    figure = heatmaps.receptive_fields({"model": field_of(12, 16)})
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    assert drawn.shape == (12, 16)
    assert drawn.max() == 1
    # The end of the scale, in float32. The logarithm of 0 would be minus infinity.
    assert drawn.min() == np.float32(1e-4)


def test_a_large_field_is_drawn_in_cells_where_it_is():
    field = np.zeros((96, 192))
    field[20:22, 40:42] = 1
    field[60, 100] = 1
    (shown,) = heatmaps.receptive_fields({"model": field}).axes[0].images
    cells = np.asarray(shown.get_array())
    assert cells.shape == (48, 96)
    # Pillow's box filter works in float32.
    assert cells[10, 20] == 1
    assert cells[30, 50] == pytest.approx(0.25, rel=1e-6)
    assert shown.get_extent() == [-0.5, 191.5, 95.5, -0.5]


def activation(strength: np.ndarray, **kwargs) -> Figure:
    image = np.full((*strength.shape, 3), 200, dtype=np.uint8)
    return heatmaps.activation_map(image, strength, **{"predictions": ["90 % cat"], "about": ["for cat"]} | kwargs)


def test_what_speaks_for_a_class_lies_over_the_image(tmp_path):
    strength = np.linspace(0, 1, 120, dtype=np.float32).reshape(10, 12)
    figure = activation(strength)
    plain, overlaid = figure.axes
    assert (plain.get_xlabel(), overlaid.get_xlabel()) == ("90 % cat", "for cat")
    assert len(plain.images) == 1
    assert len(overlaid.images) == 2
    assert overlaid.collections  # the line around values of at least 0.5
    save_figure(figure, tmp_path / "cam.png")


def test_where_nothing_speaks_for_a_class_the_image_stays_bare(tmp_path):
    figure = activation(np.zeros((10, 12), dtype=np.float32))
    assert not figure.axes[1].collections
    save_figure(figure, tmp_path / "cam.png")


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (5000, 2)])
def test_an_image_of_any_shape_can_be_drawn(size, tmp_path):
    strength = np.ones(size, dtype=np.float32)
    strength[0, 0] = 0
    for figure in (activation(strength), heatmaps.receptive_fields({"model": strength.astype(np.float64)})):
        save_figure(figure, tmp_path / "figure.png")
        width, height = figure.get_size_inches()
        assert height <= 5 * width


@pytest.mark.parametrize("label", ["<b>", "$\\frac", "数字", "a & b", "x" * 200])
def test_any_label_can_be_drawn(label, tmp_path):
    figure = activation(np.eye(8, dtype=np.float32), predictions=[label])
    assert figure.axes[0].get_xlabel() == (label if len(label) <= 40 else "x" * 39 + "…")
    save_figure(figure, tmp_path / "cam.svg")
