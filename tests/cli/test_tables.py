import pytest

from parckit.cli.tables import format_number, show


def test_a_table_holds_title_columns_and_rows(capsys):
    show("found", ("what", "ms", "note"), [("a", "1.5", "fast"), ("b", "20.5", "3 times")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].strip() == "found"
    assert all(word in printed[2] for word in ("what", "ms", "note"))
    # Numbers are aligned to the right, words to the left.
    assert "│ a    │  1.5 │ fast    │" in printed[4]
    assert "│ b    │ 20.5 │ 3 times │" in printed[5]


def test_what_looks_like_markup_is_shown_as_it_is(capsys):
    show("[red]title", ("[bold]what", "value"), [("[link=x]a[/link]", "[/]")])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[red]title", "[bold]what", "[link=x]a[/link]", "[/]"))


def test_a_table_may_be_empty(capsys):
    show("nothing", ("what", "value"), [])
    assert "what" in capsys.readouterr().out


def test_columns_can_be_kept_whole_at_the_cost_of_others(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    show("narrow", ("name", "remark"), [("a_name_of_20_letters", "some more words")], unbroken=("name",))
    assert "│a_name_of_20_letters│" in capsys.readouterr().out


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_no_word_of_a_heading_and_no_number_is_broken(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    columns = ("no.", "preprocessing ms", "parameters", "threads", "95 %")
    rows = [("1", "5.26", "1234.5 M", "1", "0.018 to 0.019"), ("/a/very/long/path/to/bundle", "-", "-", "2", "-")]
    show("costs", columns, rows)
    printed = capsys.readouterr().out
    assert all(word in printed for heading in columns for word in heading.split())
    assert all(number in printed for number in ("5.26", "1234.5", "0.018", "0.019"))
    # 12 letters of the path, the longest words of the other columns, and six lines: less cannot be had.
    assert max(map(len, printed.splitlines())) <= max(width, 12 + 13 + 10 + 7 + 5 + 6)


@pytest.mark.parametrize("width", [20, 40, 54])
def test_a_number_longer_than_its_heading_is_not_broken(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    numbers = ("0.130", "+12.5%", "1.8e-04", "1,234,567,890,123", "2.51x")
    show("latency", ("network", "p50", "no", "to", "by", "at"), [("a_very_long_name_of_a_network", *numbers)])
    printed = capsys.readouterr().out
    assert all(number in printed for number in numbers)


def test_small_numbers_keep_the_digits_that_count():
    numbers = (0.0123, 1.234, 12.34, 123.4)
    assert [format_number(number) for number in numbers] == ["0.012", "1.23", "12.3", "123"]
