import logging
import warnings

import numpy as np
import pytest
from matplotlib.font_manager import fontManager

from parckit.report.confusion import confusion_matrix
from parckit.report.figures import save_figure
from parckit.report.fonts import families_for

# Matplotlib's usual font lacks this letter; STIXGeneral, which comes with matplotlib too, has it.
ONLY_IN_STIX = "\u1d81"
# No font has a letter of this kind.
NOWHERE = "\U000f0000"


def test_plain_names_need_one_font():
    assert families_for("cat, é, $x^$, \u2007\n", warn=True) == ["DejaVu Sans"]


def test_another_installed_font_gives_the_letters_that_the_first_one_lacks(tmp_path):
    families = families_for(f"cat {ONLY_IN_STIX}", warn=True)
    assert families[0] == "DejaVu Sans"
    assert len(families) == 2
    assert families[1] in {entry.name for entry in fontManager.ttflist} - {"Last Resort High-Efficiency"}
    figure = confusion_matrix(np.eye(2, dtype=np.int64), [f"cat {ONLY_IN_STIX}", "dog"])
    assert {tuple(word.get_fontfamily()) for word in figure.axes[0].get_yticklabels()} == {("sans-serif",)}
    save_figure(figure, tmp_path / "figure.png")
    assert {tuple(word.get_fontfamily()) for word in figure.axes[0].get_yticklabels()} == {tuple(families)}


def test_letters_that_no_font_has_are_told_once_with_what_to_install(caplog, tmp_path):
    figure = confusion_matrix(np.eye(2, dtype=np.int64), [f"cat {NOWHERE}", "dog"])
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "figure.svg")
        assert caplog.messages == []  # the viewer may have the letter
        for _ in range(2):
            save_figure(figure, tmp_path / "figure.png")
    (message,) = caplog.messages
    assert f"no installed font has {NOWHERE}, " in message
    assert "fonts-noto" in message


LABELS = ["$x^$", "\\frac", "%s", "\x1b[31mred", "a\nb", "\x01", "\udcff", "\ufffe", "\u202e", "猫", "ไทย", ""]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_names_of_any_characters_can_be_drawn(ending, tmp_path):
    classes = len(LABELS)
    save_figure(confusion_matrix(np.eye(classes, dtype=np.int64), LABELS), tmp_path / f"figure.{ending}")
    assert (tmp_path / f"figure.{ending}").stat().st_size > 1000
