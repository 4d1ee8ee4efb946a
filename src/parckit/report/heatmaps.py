"""Pictures of where a model looks: effective receptive fields side by side, and Grad-CAM over its image."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from parckit.measure.receptive_field import smallest_window
from parckit.report.figures import INK, ON_BLUE, house_style

_TILE = 2.7
"""Width of a picture, inches: four of them span the report."""

_LONGEST = 4.0
"""Longer side of a picture over its shorter, at most: figures of longer images would be endless, or have no room."""

_TILES_PER_ROW = 4

_CELLS = 96
"""Cells of a field's longer side: finer ones show the noise of the mean, and let an SVG grow to a megabyte."""

_FAINTEST = 1e-4
"""Share of the strongest cell that is drawn as black: below it noise of the mean would show."""

_LINE = 40
"""Characters that fit below a picture."""

_COLORS = "magma"  # its lightness rises evenly, so that it reads the same in grey and to the colour-blind

_LINES = ((0.5, "-"), (0.99, "--"))
"""Shares of a receptive field whose squares are drawn, and how."""

_OPACITY = 0.75
"""Of the strongest place: the picture must still show through."""


@house_style()
def receptive_fields(fields: Mapping[str, npt.NDArray[np.float64]]) -> Figure:
    """Draw receptive fields beside each other, each with the smallest squares that hold half and nearly all of it.

    The scale is logarithmic and each field's own: its strongest place is 1.

    Args:
        fields: contribution of each pixel, by the name of the model; at least one.

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
        axes.set_title(name, color=INK)
        axes.set_xlabel("\n".join(_frame(axes, field, share=share, line=line) for share, line in _LINES), loc="left")
    bar = figure.colorbar(ScalarMappable(scale, _COLORS), ax=tiles, shrink=0.8, aspect=30, format="{x:g}")
    bar.set_label("contribution, strongest place = 1")
    return figure


def _aspect(height: int, width: int) -> float:
    """Return the height of a picture over its width."""
    return min(max(height / width, 1 / _LONGEST), _LONGEST)


def _strength(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Average a field over cells, relative to the strongest; what is fainter than the scale becomes its end."""
    height, width = field.shape
    share = min(1.0, _CELLS / max(field.shape))
    # Pillow holds float32, whose range a product of small shares could leave.
    image = Image.fromarray((field / field.max()).astype(np.float32))
    cells = np.asarray(
        image.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    )
    return np.maximum(cells / cells.max(), np.float32(_FAINTEST))


def _frame(axes: Axes, field: npt.NDArray[np.float64], *, share: float, line: str) -> str:
    """Draw the smallest square with a share of a field; return the words for it."""
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
    """Draw an image, and beside it the same with what speaks for a class; a line surrounds the stronger half.

    Args:
        image: RGB pixels as they are to be shown.
        strength: 0..1 of each pixel.
        predictions: lines of text below the image.
        about: lines of text below what speaks for the class.

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
        axes.set_xlabel("\n".join(map(_shorten, words)), loc="left")
    overlaid.imshow(strength, cmap=_COLORS, vmin=0, vmax=1, alpha=_OPACITY * strength)
    # Of a single row or column matplotlib draws no contour.
    if strength.any() and min(strength.shape) > 1:
        overlaid.contour(strength, levels=[0.5], colors=ON_BLUE, linewidths=1.2)
    return figure


def _shorten(line: str) -> str:
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"
