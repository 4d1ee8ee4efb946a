"""Fonts that have the letters of class names. Matplotlib's own font has no Chinese, Japanese or Korean letters."""

import logging
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

_log = logging.getLogger(__name__)

_HOUSE = "DejaVu Sans"
"""Comes with matplotlib."""

_PREFERRED = (
    "Noto Sans CJK",
    "Source Han Sans",
    "PingFang",
    "Hiragino",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi",
    "Noto Sans",
    "Arial Unicode",
)
"""Beginnings of the names of fonts that look like matplotlib's default font. Others with the letters come later."""

_PLACEHOLDERS = "Last Resort"
"""Beginning of the name of a font that has a box for every letter."""

_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
"""Beginnings of the Unicode names of letters."""


def families_for(text: str, *, warn: bool) -> list[str]:
    """Return the names of fonts that have all letters of a text: matplotlib's, and others for what it lacks.

    Args:
        text: what is to be drawn.
        warn: whether the log names the letters that no installed font has; once for the same letters.
    """
    house = _letters(findfont(FontProperties(family=_HOUSE)))
    lacking = frozenset(letter for letter in text if not letter.isspace() and ord(letter) not in house)
    others, unknown = _find_fonts(lacking) if lacking else ((), "")
    if unknown and warn:
        _warn(unknown)
    return [_HOUSE, *others]


@cache
def _find_fonts(letters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Return the names of installed fonts that have the letters, and the letters that none of them has."""
    remaining, names = {ord(letter) for letter in letters}, list[str]()
    for name, path in _installed_fonts():
        if not remaining:
            break
        if name not in names and (covered := remaining & _letters(path)):
            remaining -= covered
            names.append(name)
    return tuple(names), "".join(sorted(map(chr, remaining)))


def _installed_fonts() -> Iterator[tuple[str, str]]:
    """Yield name and path of the fonts that matplotlib knows, then of those installed since it looked for fonts."""
    known = [(entry.name, entry.fname) for entry in fontManager.ttflist if not entry.name.startswith(_PLACEHOLDERS)]
    yield from sorted(known, key=lambda font: _rank(font[0]))
    paths = {path for _, path in known}
    for path in sorted({*findSystemFonts()} - paths):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError):  # a damaged file
            continue
        yield fontManager.ttflist[-1].name, path


def _rank(name: str) -> int:
    return next((rank for rank, beginning in enumerate(_PREFERRED) if name.startswith(beginning)), len(_PREFERRED))


@cache
def _letters(path: str) -> frozenset[int]:
    """Return the code points that a font has; none if it cannot be read."""
    try:
        return frozenset(FT2Font(str(Path(path))).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _warn(letters: str) -> None:
    is_east_asian = any(unicodedata.name(letter, "").startswith(_EAST_ASIAN) for letter in letters)
    font, package = ("Noto Sans CJK", "fonts-noto-cjk") if is_east_asian else ("Noto Sans", "fonts-noto-core")
    shown = letters[:20] + ("..." if len(letters) > 20 else "")
    _log.warning(
        "no installed font has %s, so the picture has boxes in their place; install one, such as %s (Debian: %s)",
        shown,
        font,
        package,
    )
