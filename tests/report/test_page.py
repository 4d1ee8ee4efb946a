from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from parckit.report.confusion import confusion_matrix
from parckit.report.page import (
    Gallery,
    Headline,
    ModelCard,
    Picture,
    Provenance,
    Report,
    Section,
    Table,
    Tile,
    write_report,
)

HOSTILE = '"><script>alert("x")</script><img src=http://example.org/x>'
LOADING = {"src", "srcset", "data", "poster", "action", "style", "background"}


def report_of(text: str, *, pixels: int = 4) -> Report:
    images = [np.random.default_rng(seed).integers(0, 256, (pixels, pixels, 3), dtype=np.uint8) for seed in range(24)]
    confusion = np.eye(2, dtype=np.int64) * 12
    matrix = confusion_matrix(confusion, [text, "other"])
    tiles = tuple(Tile(pixels=image, heading=text, note=text, is_marked=True) for image in images)
    return Report(
        title=text,
        summary=text,
        headlines=(Headline(label=text, value="98.9 %", note=text), Headline(label="Seconds", value="12")),
        sections=(
            Section(
                title=text,
                tables=(
                    Table(title=text, columns=("Engine", text, "Note"), rows=((text, "1.5", text), ("b", "-2", "3"))),
                ),
                pictures=(Picture(title=text, figure=matrix, alt=text, caption=text),),
            ),
            Section(title=text, gallery=Gallery(tiles=tiles, caption=text)),
        ),
        card=ModelCard(facts={text: text}, sections={text: text}),
        provenance=Provenance(facts={"Seed": "0"}, commands=(f"parckit train {text}", "parckit export")),
    )


class Page(HTMLParser):
    """Collects the tags of a page with their attributes, and its visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, report_of(HOSTILE))
    return path


def test_page_needs_nothing_from_outside(hostile_page):
    page = Page(hostile_page)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    loaded = [value for _, attributes in page.tags for name, value in attributes.items() if name in LOADING]
    assert len(loaded) == len(page.all("img")) == 25
    assert all(value is not None and value.startswith("data:image/") for value in loaded)
    assert all(link["href"].startswith("#") for link in page.all("a"))
    styles = hostile_page.read_text(encoding="utf-8").split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_every_figure_says_what_it_shows(hostile_page):
    # Pictures of the gallery need no alternative text, because the text beside them says what they show.
    assert [image["alt"] for image in Page(hostile_page).all("img")] == [HOSTILE, *[""] * 24]


def test_hostile_words_stay_words(hostile_page):
    page = Page(hostile_page)
    # Title twice, summary, two in the headline, two sections and their links, four in the table, two at the picture, 49
    # in the gallery, four in the card, a command.
    assert page.text.count(HOSTILE) == 69
    assert not page.all("script")


def test_page_is_well_marked_up(hostile_page):
    page = Page(hostile_page)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert [cell.get("scope") for cell in page.all("th")] == ["col"] * 3 + ["row"] * 2
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    anchors = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {"#part-1", "#part-2", "#card"} <= anchors
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_columns_of_numbers_are_set_flush_right(hostile_page):
    assert [cell.get("class") for cell in Page(hostile_page).all("td")] == ["number", None] * 2


def test_page_with_photographs_of_noise_stays_under_a_megabyte(tmp_path):
    write_report(tmp_path / "a.html", report_of("plain", pixels=256))
    assert (tmp_path / "a.html").stat().st_size < 1_000_000


def test_a_bare_page_has_no_empty_sections(tmp_path):
    bare = replace(
        report_of("plain"),
        summary="",
        headlines=(),
        sections=(),
        card=ModelCard(facts={}, sections={}),
        provenance=Provenance(facts={"Seed": "0"}, commands=()),
    )
    write_report(tmp_path / "a.html", bare)
    page = Page(tmp_path / "a.html")
    assert len(page.all("h2")) == len(page.all("dl")) == 1
    assert all(page.all(tag) == [] for tag in ("img", "table", "pre", "section", "ul", "nav"))


def test_commands_stand_on_lines_of_their_own(tmp_path):
    write_report(tmp_path / "a.html", replace(report_of("plain"), sections=()))
    assert "parckit train plain\nparckit export" in Page(tmp_path / "a.html").text


def test_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    def write_half(self: Path, text: str, **kwargs):
        self.write_bytes(text[: len(text) // 2].encode())
        raise OSError("disk full")

    (tmp_path / "a.html").write_text("old")
    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path / "a.html", replace(report_of("plain"), sections=()))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.html", "old")]


def test_table_refuses_ragged_rows():
    with pytest.raises(ValueError, match=r"table 'Speed': row \('a',\) has 1 cells, not 2"):
        Table(title="Speed", columns=("Engine", "ms"), rows=(("a",),))
