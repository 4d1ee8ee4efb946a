from pathlib import Path

import pytest

from parckit.contract import InputError
from parckit.options import beside, parse_counts, parse_size


@pytest.mark.parametrize(("text", "size"), [("256x192", (256, 192)), ("64", (64, 64)), ("1x1", (1, 1))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0x5", "5x0", "5x", "x5", "-5", "5X5", "5x5x5", "5 x 5", "5.5", "five"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match=f"--size {text}: .*HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize(("text", "counts"), [("1", (1,)), ("1,2,16", (1, 2, 16))])
def test_counts(text, counts):
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0", "1,0", "1,", ",1", "-1", "1;2", "1, 2", "one"])
def test_what_are_no_counts_is_refused(text):
    with pytest.raises(InputError, match=f"--threads {text}: .*1,2,4"):
        parse_counts(text)


@pytest.mark.parametrize(
    ("artefact", "expected"),
    [("run/best.ckpt", "run/best_x.json"), ("run/v1.2.ckpt", "run/v1.2_x.json"), ("run/b.v2", "run/b.v2_x.json")],
)
def test_files_about_an_artefact_lie_beside_it(artefact, expected, tmp_path):
    (tmp_path / "run" / "b.v2").mkdir(parents=True)
    assert beside(tmp_path / artefact, "_x.json") == tmp_path / expected


def test_files_about_the_folder_one_is_in_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert beside(Path(), "_x.json") == tmp_path.with_name(f"{tmp_path.name}_x.json")
