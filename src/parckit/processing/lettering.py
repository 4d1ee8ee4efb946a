"""Names in drawings: a font that has their letters, and names that are short enough."""

from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont

_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "msgothic.ttc",
)
"""Fonts of Linux, macOS and Windows for letters that Pillow's own font lacks. Pillow looks in the system's folders."""
_UNDEFINED = "\U0010ffff"
"""A character that no font has; fonts draw a box for it."""
_FONT_BOX = 32
"""Half the side of a square in which a character of usual size can be drawn, pixels."""
_ELLIPSIS = "..."

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def letter(name: str, *, size: int, width: int) -> tuple[str, Font]:
    r"""Return what to write for a name, and the font that has its letters.

    A name that no font here can write is shown with the numbers of its characters, such as `\u732b`. A name that is
    too long is cut at its end.

    Args:
        name: the name.
        size: size of the font, pixels.
        width: room for the name, pixels.
    """
    font = _find_font(name, size)
    text = name
    if font is None:
        text, font = name.encode("ascii", "backslashreplace").decode(), _default_font(size)
    if font.getlength(text) <= width:
        return text, font
    while text and font.getlength(text + _ELLIPSIS) > width:
        text = text[:-1]
    return text + _ELLIPSIS, font


@lru_cache(maxsize=1024)  # texts with scores are many
def _find_font(text: str, size: int) -> Font | None:
    default = _default_font(size)
    if _has_letters(default, text):
        return default
    for file in _FONTS:
        try:
            font = ImageFont.truetype(file, size)
        except OSError:  # it is not installed
            continue
        if _has_letters(font, text):
            return font
    return None


_default_font = cache(ImageFont.load_default)
"""Pillow's own font by size. Pillow reads it anew for every font object, which takes 50 kB."""


def _has_letters(font: Font, text: str) -> bool:
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has one small bitmap font
        return text.isascii()
    box = _pixels(font, _UNDEFINED)
    return all(_pixels(font, character) != box for character in set(text))


def _pixels(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    canvas = Image.new("L", (2 * _FONT_BOX, 2 * _FONT_BOX))
    ImageDraw.Draw(canvas).text((_FONT_BOX // 2, _FONT_BOX // 2), character, fill=255, font=font)
    return canvas.tobytes()
