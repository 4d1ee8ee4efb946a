"""The class of every pixel: from logits to a mask of the picture's size, and what is shown of it."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from parckit.contract import DecoderSpec, InputError, NetworkSpec, Preprocessing
from parckit.processing import (
    CLASS_MAP,
    COLOURS,
    IGNORED,
    SEGMENT,
    Geometry,
    MaskPrediction,
    class_colours,
    fit,
    make_decoder,
)

LABELS = ("background", "cat", "dog")
NETWORK = NetworkSpec(task="segment", backbone="test_parcnet", labels=LABELS, preprocessing=Preprocessing(size=(8, 8)))


def geometry(picture: tuple[int, int], size: tuple[int, int], kind: str = "stretch") -> Geometry:
    return fit(Image.new("RGB", picture[::-1]), Preprocessing(size=size, fit=kind))[1]


def decode(name: str, output: np.ndarray, *geometries: Geometry) -> list[MaskPrediction]:
    return make_decoder(DecoderSpec(name=name), NETWORK)([output], geometries)


@pytest.mark.parametrize(
    ("maps", "size", "picture"),
    [
        ((4, 4), (32, 48), (32, 48)),
        ((7, 5), (97, 310), (97, 310)),
        ((9, 9), (9, 9), (9, 9)),
        ((1, 3), (5, 300), (5, 300)),
        ((12, 10), (5, 7), (5, 7)),
        ((8, 8), (32, 32), (150, 203)),
        ((8, 8), (32, 32), (20, 11)),
    ],
)
def test_logits_are_resized_to_the_picture_as_torch_does(maps, size, picture):
    logits = np.random.default_rng(0).standard_normal((2, 3, *maps)).astype(np.float32)
    whole = F.interpolate(torch.from_numpy(logits), size=picture, mode="bilinear", align_corners=False)
    assert_classes(decode(SEGMENT, logits, *[geometry(picture, size)] * 2), whole)


@pytest.mark.parametrize("kind", ["cover", "stretch", "contain"])
@pytest.mark.parametrize("picture", [(100, 230), (61, 40), (9, 12)])
def test_every_pixel_of_the_picture_gets_the_logits_at_its_place_in_the_input(kind, picture):
    logits = np.random.default_rng(0).standard_normal((1, 3, 7, 9)).astype(np.float32)
    placed = geometry(picture, (28, 36), kind)
    # Where the middles of the picture's pixels lie, from -1 at the upper or left border of the input to 1.
    rows, columns = (
        torch.from_numpy(2 * ((np.arange(length) + 0.5) * scale - offset) / side - 1).float()
        for length, scale, offset, side in zip(picture, placed.scale, placed.offset, (28, 36), strict=True)
    )
    grid = torch.stack([columns.expand(picture), rows[:, None].expand(picture)], dim=-1)[None]
    whole = F.grid_sample(torch.from_numpy(logits), grid, padding_mode="border", align_corners=False)
    visible = (rows.abs() < 1)[:, None] & (columns.abs() < 1)
    (answer,) = decode(SEGMENT, logits, placed)
    assert_classes([answer], whole, where=visible.numpy())
    assert (answer.mask[~visible.numpy()] == IGNORED).all()
    assert visible.all() or kind == "cover"


def test_many_classes_of_a_wide_picture_are_interpolated_strip_by_strip(monkeypatch):
    logits = np.random.default_rng(0).standard_normal((1, 3, 6, 8)).astype(np.float32)
    (whole,) = decode(SEGMENT, logits, geometry((50, 131), (24, 32)))
    monkeypatch.setattr(import_module("parckit.processing.segment"), "_STRIP_NUMBERS", 3 * 6 * 20)
    (strips,) = decode(SEGMENT, logits, geometry((50, 131), (24, 32)))
    np.testing.assert_array_equal(strips.mask, whole.mask)


def assert_classes(answers, logits: torch.Tensor, *, where: np.ndarray | bool = True) -> None:
    """Compare answers with the best classes of logits (B, classes, H, W) that torch resized."""
    best, second = logits.topk(2, dim=1).values.unbind(1)
    # Both round in float32, in the same order but for the weights.
    clear = (best - second > 1e-5).numpy() & where
    assert clear.sum() > 0.99 * np.broadcast_to(where, clear.shape).sum()
    for answer, wanted, certain in zip(answers, logits.argmax(1).numpy(), clear, strict=True):
        assert answer.mask.dtype == np.uint8
        np.testing.assert_array_equal(answer.mask[certain], wanted[certain])


def test_of_equal_logits_the_first_class_wins():
    logits = np.zeros((1, 3, 2, 2), np.float16)
    logits[0, 1:, :, 1] = 1
    (answer,) = decode(SEGMENT, logits, geometry((2, 2), (2, 2)))
    assert answer.mask.tolist() == [[0, 1], [0, 1]]


def test_masks_have_the_size_of_the_picture_and_leave_out_what_was_not_seen():
    classes = np.zeros((1, 8, 8), np.uint8)
    classes[0, :, 4:] = 2
    # The centre of a picture twice as wide as high is seen.
    (cut,) = decode(CLASS_MAP, classes, geometry((16, 32), (8, 8), "cover"))
    assert cut.mask.shape == (16, 32)
    assert cut.mask[0].tolist() == [IGNORED] * 8 + [0] * 8 + [2] * 8 + [IGNORED] * 8
    # Padding above and below is cut off.
    (padded,) = decode(CLASS_MAP, classes, geometry((2, 4), (8, 8), "contain"))
    assert padded.mask.tolist() == [[0, 0, 2, 2]] * 2


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        (SEGMENT, np.zeros((1, 2, 4, 4), np.float32), r"shape \(1, 2, 4, 4\): must be \(B, 3, h, w\)"),
        (SEGMENT, np.zeros((1, 3), np.float32), r"shape \(1, 3\)"),
        (SEGMENT, np.zeros((1, 3, 0, 4), np.float32), r"shape \(1, 3, 0, 4\)"),
        (SEGMENT, np.full((1, 3, 4, 4), np.nan, np.float32), "not finite"),
        (CLASS_MAP, np.zeros((1, 8, 8), np.int64), r"type int64: must be \(B, H, W\) uint8"),
        (CLASS_MAP, np.zeros((1, 3, 8, 8), np.uint8), r"shape \(1, 3, 8, 8\)"),
        (CLASS_MAP, np.full((1, 8, 8), 3, np.uint8), "class number 3; the largest is 2"),
        (CLASS_MAP, np.zeros((1, 4, 8), np.uint8), r"must have the input's \(height, width\)"),
    ],
)
def test_wrong_outputs_are_refused(name, output, message):
    with pytest.raises(InputError, match=message):
        decode(name, output, geometry((8, 8), (8, 8)))


MASK = np.array([[2, 2, 2, 1], [2, 2, IGNORED, 0]], np.uint8)
ANSWER = MaskPrediction(mask=MASK, names=LABELS)


def test_the_areas_of_the_classes_are_told_the_largest_first():
    assert ANSWER.to_plain() == [
        {"class": "dog", "pixels": 5, "share": 0.714286},
        {"class": "background", "pixels": 1, "share": 0.142857},
        {"class": "cat", "pixels": 1, "share": 0.142857},
    ]
    json.dumps(ANSWER.to_plain())
    assert ANSWER.rows()[0] == ("dog", "5", "71.4")
    assert len(ANSWER.rows()[0]) == len(ANSWER.columns)
    assert str(ANSWER).splitlines()[0].split() == ["dog", "71.4", "%", "█" * 14]
    assert "dog" in ANSWER._repr_html_()
    unseen = MaskPrediction(mask=np.full((2, 2), IGNORED, np.uint8), names=LABELS)
    assert (unseen.to_plain(), unseen.rows(), str(unseen)) == ([], [], "no pixels")


def test_every_class_has_a_colour_of_its_own():
    colours = np.array(class_colours())
    assert ["#" + bytes(colour).hex() for colour in colours[: len(COLOURS)].tolist()] == list(COLOURS)
    assert len(np.unique(colours, axis=0)) == 256
    # Few classes get colours that are easy to tell apart: red, green and blue differ by 80 of 255 together.
    distances = np.abs(colours[:16, None] - colours[None, :16]).sum(-1) + 999 * np.eye(16, dtype=int)
    assert distances.min() >= 80


def test_drawings_show_the_classes_but_not_the_background():
    picture = Image.new("L", (4, 2), 100)
    drawn = np.asarray(ANSWER.draw(picture))
    assert drawn.shape == (2, 4, 3)
    assert drawn[1, 2:].tolist() == [[100] * 3] * 2  # unseen, and background
    np.testing.assert_allclose(drawn[0, 0], (100 + np.array(class_colours()[2])) / 2, atol=1)


def test_the_legend_names_classes_in_large_pictures_only():
    mask = np.zeros((100, 120), np.uint8)
    mask[:, 60:] = 1
    nameless = MaskPrediction(mask=mask, names=("background", ""))
    named = MaskPrediction(mask=mask, names=("background", "a class with a very long name"))
    grey = Image.new("RGB", (120, 100), (90, 90, 90))
    differ = (np.asarray(named.draw(grey)) != np.asarray(nameless.draw(grey))).any(axis=-1)
    assert differ.any()
    assert not differ[:, 60:].any()  # the name is cut
    small = MaskPrediction(mask=mask[:40, :50], names=named.names)
    assert (np.asarray(small.draw(grey.crop((0, 0, 50, 40)))) == 90).all()


def test_files_hold_class_numbers_and_colours(tmp_path):
    ANSWER.to_image().save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), MASK)
        assert image.convert("RGB").getpixel((0, 0)) == class_colours()[2]
        assert image.convert("RGB").getpixel((2, 1)) == (255, 255, 255)
