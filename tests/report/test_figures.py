from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from parckit.contract import InputError
from parckit.report.figures import data_uri, house_style, picture_kind, save_figure


@house_style()
def line() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [1, 0])
    return figure


@pytest.fixture
def figure() -> Figure:
    return line()


@pytest.fixture
def photograph() -> Figure:
    """A picture of noise, which lossless formats cannot compress."""
    figure = Figure(figsize=(4, 4))
    figure.add_subplot().imshow(np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8))
    return figure


@pytest.mark.parametrize(("name", "head"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG")])
def test_suffix_chooses_the_format(figure, name, head, tmp_path):
    save_figure(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().startswith(head)
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def test_other_suffix_is_refused(figure, tmp_path):
    with pytest.raises(InputError, match=r"a\.pdf: pictures are written as \.png or \.svg"):
        save_figure(figure, tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "kind"), [("a.svg", "svg"), ("b/a.b.PNG", "png")])
def test_a_suffix_can_be_tried_before_anything_is_computed(name, kind):
    assert picture_kind(Path(name)) == kind


def test_failed_drawing_leaves_the_old_file(figure, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    (tmp_path / "a.png").write_text("old")
    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, tmp_path / "a.png")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.png", "old")]


def test_equal_figures_give_equal_bytes():
    assert data_uri(line()) == data_uri(line())


def test_drawing_is_embedded_as_svg_that_follows_the_dark_scheme(figure):
    kind, _, content = data_uri(figure).partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"prefers-color-scheme:dark" in b64decode(content)


def test_every_dark_rule_meets_the_way_matplotlib_writes_colours(figure):
    svg = b64decode(data_uri(figure).partition(",")[2]).decode()
    _, drawn = svg.split("</style>", 1)
    assert "fill: #fdfdfd" in drawn  # the background; the rule for dark pages finds it by this text
    assert '[style*="fill: #fdfdfd"]' in svg


def test_photograph_is_embedded_as_small_raster(photograph):
    uri = data_uri(photograph)
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 400_000  # noise is the worst case: losslessly these pixels take 1 MB
