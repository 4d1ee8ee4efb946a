"""The boxes that a detector found and the true ones, drawn on a picture of the page."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from parckit.data import Scene
from parckit.measure.box_pairs import compare_boxes, objects_in_picture
from parckit.processing import BoxPrediction, Geometry, letter
from parckit.report.figures import BLUE, LARGE_SIDE, ON_BLUE, ORANGE

_LINE, _DASH, _LETTERS = 3, 9, 15
"""Width of lines, length of dashes and height of letters, pixels of the drawing."""
_HALO = "#ffffff"
"""Colour between the dashes of the true boxes, so that they can be seen on any picture."""


def mark_boxes(
    pixels: npt.NDArray[np.uint8], answer: BoxPrediction, scene: Scene, geometry: Geometry
) -> npt.NDArray[np.uint8]:
    """Draw boxes on a network's input: solid the boxes found, with the class of wrong ones, and dashed the true ones.

    Right boxes and their objects are blue. Wrong boxes and missed objects are orange. Unsure boxes are left out.

    Args:
        pixels: the input as RGB pixels.
        answer: the boxes found, in pixels of the picture.
        scene: the true objects.
        geometry: where the input lies in the picture.

    Shape:
        pixels: (H, W, 3); the drawing is larger if the input is small
    """
    # Pair the boxes, and tell the right ones from the wrong ones.
    pairs = compare_boxes(answer, objects_in_picture(scene))
    is_right = pairs.true_labels[pairs.rows] == pairs.labels[pairs.columns]
    right, right_true = set(pairs.columns[is_right].tolist()), set(pairs.rows[is_right].tolist())
    # Lines have the same width on the page, whatever the size of the input.
    picture = Image.fromarray(pixels)
    scale = LARGE_SIDE / max(picture.size)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    pen = ImageDraw.Draw(picture)
    # The worst come last, on top.
    for index, box in enumerate((geometry.boxes_to_input(pairs.true_boxes) * scale).tolist()):
        _draw_dashed(pen, box, colour=BLUE if index in right_true else ORANGE)
    drawn = list(enumerate((geometry.boxes_to_input(pairs.boxes) * scale).tolist()))
    for index, box in sorted(drawn, key=lambda pair: pair[0] not in right):
        left, top, right_side, bottom = box
        colour = BLUE if index in right else ORANGE
        pen.rectangle((left, top, max(left, right_side), max(top, bottom)), outline=colour, width=_LINE)
        if index not in right:
            _write(pen, answer.names[pairs.labels[index]], at=(left, top), width=picture.width)
    return np.asarray(picture)


def _draw_dashed(pen: ImageDraw.ImageDraw, box: list[float], *, colour: str) -> None:
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    for (x, y), (to_x, to_y) in pairwise(corners):
        pen.line((x, y, to_x, to_y), fill=_HALO, width=_LINE)
        dashes = max(1, round((abs(to_x - x) + abs(to_y - y)) / (2 * _DASH)))
        for dash in range(dashes):
            first, last = dash / dashes, (dash + 0.5) / dashes
            ends = (x + first * (to_x - x), y + first * (to_y - y), x + last * (to_x - x), y + last * (to_y - y))
            pen.line(ends, fill=colour, width=_LINE)


def _write(pen: ImageDraw.ImageDraw, name: str, *, at: tuple[float, float], width: int) -> None:
    text, font = letter(name, size=_LETTERS, width=width)
    room, height = font.getlength(text) + 6, _LETTERS + 4
    left = min(max(0.0, at[0]), max(0.0, width - room))
    top = max(0.0, at[1] - height)
    pen.rectangle((left, top, left + room, top + height), fill=ORANGE)
    pen.text((left + 3, top + height / 2), text, fill=ON_BLUE, font=font, anchor="lm")
