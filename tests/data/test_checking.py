import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parckit.data import checking
from parckit.data.checking import SMALLEST, Finding, find_problems, inspect
from parckit.data.checklist import Member

EXIF_ORIENTATION = 0x0112


@pytest.fixture
def folder(tmp_path: Path, picture) -> Path:
    """Return a folder of intact pictures in many formats, and of files that are not pictures."""
    for number, name in enumerate(("a.jpg", "b.JPEG", "c.png", "d/e.webp", "d/f.bmp", "g.tif", "h.ppm")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(number, height=40, width=50).save(tmp_path / name)
    (tmp_path / "classes.txt").write_text("a\nd\n")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return tmp_path


def problems(folder: Path, *, threads: int = 2, smallest: int = SMALLEST) -> list[tuple[str, str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [Member(path=path, read=path.read_bytes) for path in files]
    findings = find_problems(list(filter(None, inspect(members, threads=threads))), smallest=smallest)
    return [(str(finding.path.relative_to(folder)), finding.problem, finding.detail) for finding in findings]


def test_sound_pictures_pass(folder):
    assert problems(folder) == []


@pytest.mark.parametrize("kept", [0, 3, 400])
def test_broken_files_are_found(folder, kept):
    path = folder / "c.png"
    path.write_bytes(path.read_bytes()[:kept])
    ((file, problem, detail),) = problems(folder)
    assert (file, problem) == ("c.png", "broken")
    assert "image" in detail
    assert str(folder) not in detail


def test_a_jpeg_without_its_end_is_broken(folder):
    path = folder / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    ((file, problem, detail),) = problems(folder)
    assert (file, problem) == ("a.jpg", "broken")
    assert "truncated" in detail


def test_files_that_cannot_be_read_are_broken(folder, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert {row[1:] for row in problems(folder)} == {("broken", "Permission denied")}


def test_endings_that_promise_another_format_are_found(folder):
    (folder / "c.png").rename(folder / "z.jpg")
    assert problems(folder) == [("z.jpg", "wrong ending", "PNG image")]


@pytest.mark.parametrize("name", ["z.jfif", "z"])
def test_images_whose_ending_hides_them_are_found(folder, name):
    (folder / "a.jpg").rename(folder / name)
    ((file, problem, detail),) = problems(folder)
    assert (file, problem) == (name, "wrong ending")
    assert detail.startswith("JPEG image, not read because it does not end in .jpg, ")


def test_pictures_in_pairs_as_telephones_make_them_are_jpegs(folder, picture):
    one, two = picture(90, height=40, width=40), picture(91, height=40, width=40)
    one.save(folder / "z.jpg", "MPO", save_all=True, append_images=[two])
    with Image.open(folder / "z.jpg") as image:
        assert image.format == "MPO"
    assert problems(folder) == []


def test_tiny_images_are_found(folder, picture):
    picture(80, height=31, width=60).save(folder / "z.png")
    picture(81, height=32, width=60).save(folder / "y.png")
    assert problems(folder) == [("z.png", "tiny", "shorter side of 31 pixels")]
    assert len(problems(folder, smallest=41)) == 9  # all images; their shorter sides have at most 40 pixels


def _rotated(picture: Image.Image, path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture.save(path, exif=exif)


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 6, 8, 9])
def test_images_that_lie_on_their_side_are_found(folder, picture, orientation):
    _rotated(picture(80, height=40, width=60), folder / "z.png", orientation)
    said = f"EXIF orientation {orientation}: parckit applies it, other tools may not"
    # 0 and 9 have no meaning in EXIF, and all programs ignore them.
    assert problems(folder) == ([("z.png", "rotated", said)] if orientation in {2, 3, 6, 8} else [])


def test_files_with_the_same_bytes_are_found_in_any_folder(folder):
    shutil.copy(folder / "c.png", folder / "d" / "again.png")
    shutil.copy(folder / "c.png", folder / "z.png")
    same = ("same bytes", f"as {folder / 'c.png'}")
    assert problems(folder) == [("d/again.png", *same), ("z.png", *same)]


def test_files_with_the_same_pixels_are_found(folder, picture):
    original = picture(2, height=40, width=50)  # as in c.png
    original.save(folder / "y.bmp")
    _rotated(original.transpose(Image.Transpose.ROTATE_90), folder / "z.png", 6)
    same = ("same pixels", f"as {folder / 'c.png'}")
    assert [row for row in problems(folder) if row[1] != "rotated"] == [("y.bmp", *same), ("z.png", *same)]


def test_the_same_colour_in_another_shape_is_no_duplicate(folder):
    for name, size in (("y.png", (40, 80)), ("z.png", (80, 40))):
        Image.new("RGB", size, "red").save(folder / name)
    assert problems(folder) == []


def test_broken_files_are_not_compared(folder):
    (folder / "y.png").write_bytes(b"")
    (folder / "z.png").write_bytes(b"")
    assert [row[:2] for row in problems(folder)] == [("y.png", "broken"), ("z.png", "broken")]


def test_the_number_of_threads_changes_nothing(folder):
    (folder / "c.png").rename(folder / "z.jpg")
    for number in range(40):
        shutil.copy(folder / "a.jpg", folder / f"copy{number}.jpg")
    alone = problems(folder, threads=1)
    assert len(alone) == 41
    assert problems(folder, threads=4) == alone


def test_a_finding_names_the_file(folder):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    (folder / "z.png").write_bytes(stream.getvalue())
    member = Member(path=folder / "z.png", read=stream.getvalue)
    (finding,) = find_problems(list(inspect([member], threads=1)))
    assert finding == Finding(path=folder / "z.png", problem="tiny", detail="shorter side of 4 pixels")


def _variants(picture: Image.Image) -> dict[str, Image.Image]:
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=30)
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
    return {"jpeg.png": Image.open(jpeg), "half.png": half, "bright.png": picture.point(lambda value: value * 1.15)}


def test_copies_that_were_encoded_resized_or_brightened_look_alike(tmp_path):
    pictures = [_waves(number) for number in range(3)]
    for number, original in enumerate(pictures):
        original.save(tmp_path / f"{number}.png")
    for name, variant in _variants(pictures[1]).items():
        variant.save(tmp_path / name)
    alike = ("looks alike", f"as {tmp_path / '1.png'}")
    assert problems(tmp_path) == [(name, *alike) for name in ("bright.png", "half.png", "jpeg.png")]


def _waves(number: int) -> Image.Image:
    """Return a smooth picture: noise of 6 x 6 pixels, enlarged."""
    noise = np.random.default_rng(number).integers(0, 200, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC)


def test_the_same_shape_in_another_colour_does_not_look_alike(tmp_path):
    pixels = np.asarray(_waves(0)) // 2
    for number in range(3):
        Image.fromarray(pixels + np.eye(3, dtype=np.uint8)[number] * 100).save(tmp_path / f"{number}.png")
    assert problems(tmp_path) == []


def test_pictures_without_contrast_do_not_look_alike(tmp_path):
    for number in range(3):
        Image.new("RGB", (40, 40), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
    assert problems(tmp_path) == []


def test_a_copy_in_another_class_or_split_is_named_as_such(tmp_path):
    _waves(0).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    _waves(0).resize((60, 45)).save(tmp_path / "c.png")
    members = [
        Member(path=path, read=path.read_bytes, label=label, split=split)
        for path, label, split in zip(
            sorted(tmp_path.iterdir()), ("cat", "dog", "cat"), ("train", "train", "val"), strict=True
        )
    ]
    first = tmp_path / "a.png"
    assert [finding.detail for finding in find_problems(list(inspect(members, threads=1)))] == [
        f"as {first}, in another class",
        f"as {first}, in another split",
    ]


def test_deep_grey_that_loading_refuses_is_broken(tmp_path):
    Image.fromarray(np.full((40, 40), 300, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((40, 40), -5, np.int32)).save(tmp_path / "negative.tif")
    Image.fromarray(np.full((40, 40), 70_000, np.int32)).save(tmp_path / "wide.tif")
    Image.fromarray(np.full((40, 40), 700, np.uint16)).save(tmp_path / "sound.tif")
    assert [row[:2] for row in problems(tmp_path)] == [
        (name, "broken") for name in ("float.tif", "negative.tif", "wide.tif")
    ]


def test_a_large_file_is_checked_as_training_reads_it(folder, monkeypatch):
    monkeypatch.setattr(checking, "_LARGE", 100)
    shutil.copy(folder / "a.jpg", folder / "h.png")
    (folder / "k.png").write_bytes(bytes(200))
    assert [row[:2] for row in problems(folder)] == [
        ("h.png", "wrong ending"),
        ("h.png", "same bytes"),
        ("k.png", "broken"),
    ]
