"""The style of figures, and functions that turn figures into files and data URIs.

Figures are made without pyplot, so no global state is left behind. They show no information by colour alone.

The colours come from the Okabe-Ito palette, which colour-blind people can distinguish. An SVG keeps words as text in
the viewer's fonts, and follows the viewer's light or dark colour scheme. A raster picture always has a light
background.
"""

import io
import warnings
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from parckit.contract import InputError, printable, replacing
from parckit.report.fonts import families_for

PAPER, INK, MUTED, RULE = "#fdfdfd", "#1c2530", "#5b6673", "#dfe3e8"
BLUE, ORANGE = "#0072b2", "#d55e00"
ON_BLUE = "#ffffff"

_DARK = {
    PAPER: "#171c23",
    INK: "#e8ecf1",
    MUTED: "#a3adb9",
    RULE: "#343c46",
    BLUE: "#56b4e9",
    ORANGE: "#f08a4b",
}
"""Colour on a light page -> colour on a dark page. `ON_BLUE` is missing because it lies on filled cells."""

_STYLE: dict[str, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "font.size": 9,
    "grid.color": RULE,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    # With a fixed salt, equal figures give equal bytes.
    "svg.hashsalt": "parckit",
    "text.color": INK,
    # A label may contain a dollar sign, which would otherwise start a formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}

WIDTH = 4.4
"""Width of an ordinary figure, inches. Words of 9 points can be read on a phone that shows it 320 pixels wide."""
NAME_LENGTH = 16
"""Letters of a class name that are shown."""
MAX_NAMED_CLASSES = 40
"""With up to this number of classes, a class name at 6.5 points fits the height of its row."""

_DPI = 144
"""Pixels per inch of raster output: twice the resolution of an ordinary screen, for dense displays."""

_LARGEST_SIDE = 192
"""Longer side of a thumbnail, pixels: twice its size on the page in CSS pixels, for dense displays."""
LARGE_SIDE = 416
"""Longer side of a large thumbnail, pixels."""
_SMALL_SIDE = 64
"""Pictures up to this side, in pixels, are stored without loss. They are enlarged on the page, so losses would show."""

_MAX_SVG_BYTES = 120_000
"""A larger SVG consists mostly of photographs. WebP stores them in a fifth of the space."""


@contextmanager
def house_style() -> Generator[None]:
    """Let matplotlib use parckit's style in a `with` block, or in a function that this decorates."""
    with rc_context(_STYLE):  # pyright: ignore[reportArgumentType] its keys are typed as one long Literal
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as `.png` or `.svg`. If writing fails, no partial file stays.

    Raises:
        InputError: if the path has another suffix.
    """
    kind = picture_kind(path)
    with replacing(path) as temporary:
        temporary.write_bytes(_render(figure, kind))


def picture_kind(path: Path) -> str:
    """Return `"png"` or `"svg"`, by the suffix of a picture's path.

    A command that computes for a long time before it draws calls this first, to refuse a wrong path at once.

    Raises:
        InputError: if the path has another suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise InputError(f"{path}: pictures are written as .png or .svg")
    return kind


def data_uri(figure: Figure) -> str:
    """Return `figure` as a `data:` URI for an HTML page: as SVG, or as WebP if the SVG would be large."""
    svg = _render(figure, "svg")
    if len(svg) <= _MAX_SVG_BYTES:
        return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    return f"data:image/webp;base64,{b64encode(_render(figure, 'webp')).decode()}"


def picture_uri(pixels: npt.NDArray[np.uint8], *, is_large: bool = False) -> str:
    """Return a picture as a `data:` URI for an HTML page. A picture with too many pixels is shrunk.

    Args:
        pixels: the picture.
        is_large: whether the page shows it large.

    Shape:
        pixels: (H, W, 3) RGB
    """
    picture = Image.fromarray(pixels)
    is_small = max(picture.size) <= _SMALL_SIDE
    side = LARGE_SIDE if is_large else _LARGEST_SIDE
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, format="webp", lossless=is_small, quality=80)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def _render(figure: Figure, kind: str) -> bytes:
    _choose_fonts(figure, kind)
    metadata = {"Date": None} if kind == "svg" else None
    file = io.BytesIO()
    with house_style(), warnings.catch_warnings():
        # matplotlib's font does not have the letters of all scripts. The viewer of an SVG has fonts for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)
    return file.getvalue().replace(b"</style>", _SVG_STYLE + b"</style>", 1) if kind == "svg" else file.getvalue()


def _choose_fonts(figure: Figure, kind: str) -> None:
    """Let the words of a figure have fonts with all their letters. The viewer of an SVG has fonts of its own."""
    words = figure.findobj(Text)
    families = families_for("".join(word.get_text() for word in words), warn=kind != "svg")
    for word in words:
        word.set_fontfamily(families)


def shorten(name: str, *, length: int) -> str:
    """Return a name in a form that can be drawn: without control characters, and not longer than `length` letters."""
    shown = printable(name)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _dark_rules() -> str:
    return "".join(
        f'[style*="{attribute}: {light}"]{{{attribute}:{dark}!important}}'
        for light, dark in _DARK.items()
        for attribute in ("fill", "stroke")
    )


_SVG_STYLE = (
    "text{font-family:system-ui,sans-serif!important}"  # the report's own font
    f"@media screen and (prefers-color-scheme:dark){{{_dark_rules()}}}"
).encode()
