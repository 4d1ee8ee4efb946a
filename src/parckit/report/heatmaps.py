"""Pictures of where a model looks: effective receptive fields side by side, and Grad-CAM drawn over an image."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from parckit.contract import printable
from parckit.measure.receptive_field import smallest_window
from parckit.report.figures import INK, ON_BLUE, house_style, shorten

_TILE = 2.7
"""Width of a picture, inches. Four pictures fill the width of a report."""

_LONGEST = 4.0
"""Largest ratio of the longer to the shorter side of a picture. Figures of more extreme images are drawn distorted."""

_TILES_PER_ROW = 4

_CELLS = 96
"""Number of cells along the longer side of a field. Smaller cells would show noise and make an SVG too large."""

_FAINTEST = 1e-4
"""Cells below this share of the strongest cell are drawn in the darkest colour. Their values are mostly noise."""

_LINE = 40
"""Number of characters that fit below a picture."""

_COLORS = "magma"
"""A colour map whose lightness rises evenly, so it can be read in grey and by colour-blind people."""

_LINES = ((0.5, "-"), (0.99, "--"))
"""Shares of a receptive field whose smallest squares are drawn, and the line style of each square."""

_OPACITY = 0.75
"""Opacity of the map at its strongest place, so that the image stays visible below it."""


@house_style()
def receptive_fields(fields: Mapping[str, npt.NDArray[np.float64]]) -> Figure:
    """Draw receptive fields side by side, with the smallest squares that hold 50 % and 99 % of each field.

    The scale is logarithmic and relative: the strongest place of every field is 1.

    Args:
        fields: name of the model -> contribution of every pixel; at least one model.

    Shape:
        fields: (H, W) each
    """
    rows = -(-len(fields) // _TILES_PER_ROW)
    columns = min(len(fields), _TILES_PER_ROW)
    height, width = next(iter(fields.values())).shape
    figure = Figure(figsize=(_TILE * columns + 0.9, (_TILE * _aspect(height, width) + 0.6) * rows))
    tiles = figure.subplots(rows, columns, squeeze=False)
    for axes in tiles.flat[len(fields) :]:
        axes.set_axis_off()
    scale = LogNorm(_FAINTEST, 1)
    for axes, (name, field) in zip(tiles.flat, fields.items(), strict=False):
        edges = (-0.5, field.shape[1] - 0.5, field.shape[0] - 0.5, -0.5)
        axes.imshow(_strength(field), cmap=_COLORS, norm=scale, interpolation="nearest", extent=edges)
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.set_title(printable(name), color=INK)
        axes.set_xlabel("\n".join(_frame(axes, field, share=share, line=line) for share, line in _LINES), loc="left")
    bar = figure.colorbar(ScalarMappable(scale, _COLORS), ax=tiles, shrink=0.8, aspect=30, format="{x:g}")
    bar.set_label("contribution, strongest place = 1")
    return figure


def _aspect(height: int, width: int) -> float:
    """Return the height of a picture divided by its width, limited to what a figure can show."""
    return min(max(height / width, 1 / _LONGEST), _LONGEST)


def _strength(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Average a field over cells, and divide it by the strongest cell. Values below the scale are raised to its end."""
    height, width = field.shape
    share = min(1.0, _CELLS / max(field.shape))
    # Pillow works in float32. Without the division by the maximum, small contributions could underflow.
    image = Image.fromarray((field / field.max()).astype(np.float32))
    cells = np.asarray(
        image.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    )
    return np.maximum(cells / cells.max(), np.float32(_FAINTEST))


def _frame(axes: Axes, field: npt.NDArray[np.float64], *, share: float, line: str) -> str:
    """Draw the smallest square that holds a share of a field. Return a line of text about it."""
    window = smallest_window(field, share=share)
    corner = (window.left - 0.5, window.top - 0.5)
    axes.add_patch(Rectangle(corner, window.width, window.height, fill=False, edgecolor=ON_BLUE, linestyle=line))
    return f"{share:.0%} within {window.height}x{window.width} pixels"


@house_style()
def activation_map(
    image: npt.NDArray[np.uint8],
    strength: npt.NDArray[np.float32],
    *,
    predictions: Sequence[str],
    about: Sequence[str],
) -> Figure:
    """Draw an image, and beside it the same image with a map over it. A line surrounds values of at least 0.5.

    Args:
        image: RGB pixels.
        strength: how much every pixel supports a class, from 0 to 1.
        predictions: lines of text below the image.
        about: lines of text below the image with the map.

    Shape:
        image: (H, W, 3)
        strength: (H, W)
    """
    height, width = strength.shape
    lines = max(len(predictions), len(about))
    figure = Figure(figsize=(2 * _TILE, _TILE * _aspect(height, width) + 0.2 * lines))
    plain, overlaid = figure.subplots(1, 2)
    for axes, words in ((plain, predictions), (overlaid, about)):
        axes.imshow(image)
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel("\n".join(shorten(line, length=_LINE) for line in words), loc="left")
    overlaid.imshow(strength, cmap=_COLORS, vmin=0, vmax=1, alpha=_OPACITY * strength)
    # matplotlib cannot draw a contour in a single row or column.
    if strength.any() and min(strength.shape) > 1:
        overlaid.contour(strength, levels=[0.5], colors=ON_BLUE, linewidths=1.2)
    return figure
