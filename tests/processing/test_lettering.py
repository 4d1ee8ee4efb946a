import numpy as np
import pytest
from PIL import Image

from parckit.processing import ClassPrediction, ClassScore, lettering
from parckit.processing.lettering import letter


def test_plain_names_stay():
    text, font = letter("rose", size=16, width=200)
    assert text == "rose"
    assert font.getlength(text) <= 200


def test_long_names_are_cut_at_their_end():
    text, font = letter("Shetland sheepdog, Shetland sheep dog, Shetland", size=16, width=150)
    assert text.startswith("Shetland sheep")
    assert text.endswith("...")
    assert font.getlength(text) <= 150


@pytest.mark.parametrize("name", ["Bär", "née", "猫", "\U0001f600"])
def test_letters_that_no_font_has_are_shown_by_number(name, monkeypatch):
    monkeypatch.setattr(lettering, "_FONTS", ("absent.ttf",))
    lettering._find_font.cache_clear()
    text, font = letter(name, size=16, width=400)
    lettering._find_font.cache_clear()
    assert text in (name, name.encode("ascii", "backslashreplace").decode())
    assert lettering._has_letters(font, text)


def test_a_drawing_with_such_names_differs_by_name():
    picture = Image.new("RGB", (64, 64))
    drawings = [
        ClassPrediction(ranking=(ClassScore(name, 0.5, 0),)).draw(picture) for name in ("猫", "犬", "Bär", "x" * 300)
    ]
    assert len({np.asarray(drawing).tobytes() for drawing in drawings}) == 4
