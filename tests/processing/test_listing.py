import os
from pathlib import Path

import pytest

from parckit.contract import InputError
from parckit.processing import list_images
from parckit.processing.listing import LeftOut, pictures, subfolders

ENDINGS = (".png", ".jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two pictures; files are empty, because listing does not open them."""
    for name in ("cat/1.png", "cat/more/2.JPG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(folder: Path) -> tuple[list[str], set[tuple[str, str]]]:
    """Return the pictures, and what is left out and why."""
    left_out: list[LeftOut] = []
    paths = pictures(str(folder), endings=ENDINGS, left_out=left_out)
    return (
        [os.path.relpath(path, folder) for path in paths],
        {(os.path.relpath(entry.path, folder), entry.cause) for entry in left_out},
    )


PICTURES = ["cat/1.png", "cat/more/2.JPG"]


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._1.png", ".hidden.png", ".png", "Thumbs.db", "thumbs.db", "desktop.ini", "ehthumbs.db", "Icon\r"],
)
def test_files_that_systems_leave_are_no_pictures(folder, name):
    (folder / "cat" / name).touch()
    assert listed(folder) == (PICTURES, {(f"cat/{name}", "hidden")})


@pytest.mark.parametrize("place", [".", "cat", "cat/more"])
@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints",
        ".trash",
        ".Trash-1000",
        ".git",
        ".@__thumb",
        "@eaDir",
        "#recycle",
        "@Recycle",
        "#snapshot",
        "__MACOSX",
        "__pycache__",
        "lost+found",
        "$RECYCLE.BIN",
        "System Volume Information",
    ],
)
def test_folders_that_systems_leave_are_not_read(folder, name, place):
    (folder / place / name).mkdir()
    (folder / place / name / "3.png").touch()
    assert listed(folder) == (PICTURES, {(os.path.normpath(f"{place}/{name}"), "hidden")})


@pytest.mark.parametrize("name", ["@home", "#1", "_cat", "~", "recycle", "thumbs"])
def test_names_that_only_look_alike_are_read(folder, name):
    (folder / name).mkdir()
    (folder / name / "3.png").touch()
    paths, left_out = listed(folder)
    assert f"{name}/3.png" in paths
    assert not left_out


@pytest.mark.parametrize("name", ["a.jfif", "b.jpe", "c.raw", "d.svg", "e.xml", "f", "png"])
def test_other_endings_are_told(folder, name):
    (folder / "cat" / name).touch()
    assert listed(folder) == (PICTURES, {(f"cat/{name}", "ending")})


@pytest.mark.parametrize(
    "links",
    [
        {"cat/up": ".."},
        {"cat/self": "."},
        {"up": "."},
        {"cat/up": "..", "cat/more/up": "../.."},
        {"cat/up": "/"},
        {"cat/a": "more", "cat/b": "a"},
        {"cat/1": "b/..", "cat/b": "../cat"},
    ],
)
def test_loops_of_links_end_and_add_no_pictures(folder, links):
    for name, target in links.items():
        (folder / name).symlink_to(target, target_is_directory=True)
    paths, left_out = listed(folder)
    assert paths == PICTURES
    assert left_out <= {(name, "link") for name in links}
    assert left_out


def test_two_folders_that_link_to_each_other_are_read_once(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "3.png").touch()
    (outside / "back").symlink_to(folder, target_is_directory=True)
    (folder / "cat" / "there").symlink_to(outside, target_is_directory=True)
    assert listed(folder) == ([*PICTURES, "cat/there/3.png"], {("cat/there/back", "link")})


def test_a_link_to_a_picture_that_is_gone_stays_a_picture(folder):
    """So a disk that is not mounted stops a training; it does not make the training smaller."""
    (folder / "cat" / "3.png").symlink_to("gone.png")
    (folder / "cat" / "4.png").symlink_to("4.png")
    (folder / "dog").symlink_to("/nowhere/dog")
    paths, left_out = listed(folder)
    assert paths == ["cat/1.png", "cat/3.png", "cat/4.png", "cat/more/2.JPG"]
    assert left_out == {("dog", "link")}


def test_pipes_are_left_out(folder):
    os.mkfifo(folder / "cat" / "0.png")
    assert listed(folder) == (PICTURES, {("cat/0.png", "special")})
    assert list_images(folder) == [folder / name for name in PICTURES]


def test_a_folder_that_contains_itself_is_no_class(folder):
    (folder / "all").symlink_to(".", target_is_directory=True)
    left_out: list[LeftOut] = []
    assert subfolders(str(folder), left_out=left_out).folders == ["cat"]
    assert [entry.cause for entry in left_out] == ["link"]


@pytest.mark.skipif(os.name == "nt", reason="has no owner to deny")
def test_a_folder_that_cannot_be_read_is_an_error(folder, monkeypatch):
    def refuse(path: str):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        pictures(str(folder), endings=ENDINGS, left_out=[])
