import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from parckit.contract import InputError
from parckit.data.checking import SMALLEST, Finding, find_problems, inspect_files, list_files

EXIF_ORIENTATION = 0x0112


@pytest.fixture
def folder(tmp_path: Path, picture) -> Path:
    """Return a folder of sound pictures in many forms, and of files that are none."""
    for number, name in enumerate(("a.jpg", "b.JPEG", "c.png", "d/e.webp", "d/f.bmp", "g.tif", "h.ppm")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(number, height=40, width=50).save(tmp_path / name)
    (tmp_path / "classes.txt").write_text("a\nd\n")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return tmp_path


def _found(folder: Path, *, threads: int = 2, smallest: int = SMALLEST) -> list[tuple[str, str, str]]:
    inspections = inspect_files(list_files(folder), threads=threads)
    findings = find_problems(filter(None, inspections), smallest=smallest)
    return [(str(finding.path.relative_to(folder)), finding.problem, finding.detail) for finding in findings]


def test_sound_pictures_pass(folder):
    assert _found(folder) == []


@pytest.mark.parametrize("kept", [0, 3, 400])
def test_broken_files_are_found(folder, kept):
    path = folder / "c.png"
    path.write_bytes(path.read_bytes()[:kept])
    ((file, problem, detail),) = _found(folder)
    assert (file, problem) == ("c.png", "broken")
    assert "image" in detail
    assert str(folder) not in detail


def test_a_jpeg_without_its_end_is_broken(folder):
    path = folder / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    ((file, problem, detail),) = _found(folder)
    assert (file, problem) == ("a.jpg", "broken")
    assert "truncated" in detail


def test_files_that_cannot_be_read_are_broken(folder, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert {finding[1:] for finding in _found(folder)} == {("broken", "Permission denied")}


def test_leftovers_of_a_mac_are_broken_for_they_count_as_images(folder):
    (folder / "._a.jpg").write_bytes(b"\0\5\26\7resource fork")
    ((file, problem, _),) = _found(folder)
    assert (file, problem) == ("._a.jpg", "broken")


def test_endings_that_promise_another_format_are_found(folder):
    (folder / "c.png").rename(folder / "z.jpg")
    assert _found(folder) == [("z.jpg", "wrong ending", "PNG image")]


@pytest.mark.parametrize("name", ["z.jfif", "z"])
def test_images_whose_ending_hides_them_are_found(folder, name):
    (folder / "a.jpg").rename(folder / name)
    ((file, problem, detail),) = _found(folder)
    assert (file, problem) == (name, "wrong ending")
    assert detail.startswith("JPEG image, not read because it does not end in .jpg, ")


def test_pictures_in_pairs_as_telephones_make_them_are_jpegs(folder, picture):
    one, two = picture(90, height=40, width=40), picture(91, height=40, width=40)
    one.save(folder / "z.jpg", "MPO", save_all=True, append_images=[two])
    with Image.open(folder / "z.jpg") as image:
        assert image.format == "MPO"
    assert _found(folder) == []


def test_tiny_images_are_found(folder, picture):
    picture(80, height=31, width=60).save(folder / "z.png")
    picture(81, height=32, width=60).save(folder / "y.png")
    assert _found(folder) == [("z.png", "tiny", "shorter side of 31 pixels")]
    assert len(_found(folder, smallest=41)) == 9  # all, of 40 pixels and less


def _rotated(picture: Image.Image, path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture.save(path, exif=exif)


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 6, 8, 9])
def test_images_that_lie_on_their_side_are_found(folder, picture, orientation):
    _rotated(picture(80, height=40, width=60), folder / "z.png", orientation)
    said = f"EXIF orientation {orientation}: parckit applies it, other tools may not"
    # 0 and 9 have no meaning, and nobody honours them.
    assert _found(folder) == ([("z.png", "rotated", said)] if orientation in {2, 3, 6, 8} else [])


def test_files_with_the_same_bytes_are_found_in_any_folder(folder):
    shutil.copy(folder / "c.png", folder / "d" / "again.png")
    shutil.copy(folder / "c.png", folder / "z.png")
    same = ("same bytes", f"as {folder / 'c.png'}")
    assert _found(folder) == [("d/again.png", *same), ("z.png", *same)]


def test_files_with_the_same_pixels_are_found(folder, picture):
    original = picture(2, height=40, width=50)  # as in c.png
    original.save(folder / "y.bmp")
    _rotated(original.transpose(Image.Transpose.ROTATE_90), folder / "z.png", 6)
    same = ("same pixels", f"as {folder / 'c.png'}")
    assert [finding for finding in _found(folder) if finding[1] != "rotated"] == [("y.bmp", *same), ("z.png", *same)]


def test_the_same_colour_in_another_shape_is_no_duplicate(folder):
    for name, size in (("y.png", (40, 80)), ("z.png", (80, 40))):
        Image.new("RGB", size, "red").save(folder / name)
    assert _found(folder) == []


def test_broken_files_are_not_compared(folder):
    (folder / "y.png").write_bytes(b"")
    (folder / "z.png").write_bytes(b"")
    assert [finding[:2] for finding in _found(folder)] == [("y.png", "broken"), ("z.png", "broken")]


def test_the_number_of_threads_changes_nothing(folder):
    (folder / "c.png").rename(folder / "z.jpg")
    for number in range(40):
        shutil.copy(folder / "a.jpg", folder / f"copy{number}.jpg")
    alone = _found(folder, threads=1)
    assert len(alone) == 41
    assert _found(folder, threads=4) == alone


def test_a_finding_names_the_file(folder):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    (folder / "z.png").write_bytes(stream.getvalue())
    (finding,) = find_problems(inspect_files([folder / "z.png"], threads=1))
    assert finding == Finding(path=folder / "z.png", problem="tiny", detail="shorter side of 4 pixels")


def test_folders_that_cannot_be_checked_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list_files(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"{tmp_path}: holds no files"):
        list_files(tmp_path)


def test_linked_folders_are_looked_into_as_in_training(folder, tmp_path_factory):
    linking = tmp_path_factory.mktemp("linking")
    (linking / "class").symlink_to(folder, target_is_directory=True)
    assert list_files(linking) == [linking / "class" / path.relative_to(folder) for path in list_files(folder)]
