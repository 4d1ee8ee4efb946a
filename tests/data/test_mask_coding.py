import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mask_files import VOC_COLOURS, paint, quarters, write_mask
from parckit.contract import InputError
from parckit.data.mask_classes import read_class_table
from parckit.data.mask_coding import NoColourTableError, make_coding, read_mask
from parckit.processing import IGNORED

TWO = make_coding({0: 0, 1: 1})
RED, BLUE = (255, 0, 0), (0, 0, 255)
COLOURED = make_coding({0: 0, 1: 1}, colours=[(RED, 0), (BLUE, 1)], by_colour=True)


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bits", "32 bits", "1 bit", "grey as RGB", "grey and alpha"])
def test_numbers_are_read_from_every_kind_of_file(tmp_path, kind):
    mask, path = quarters(), tmp_path / "mask.png"
    image = Image.fromarray(mask)
    if kind == "palette":
        write_mask(path, mask, palette=VOC_COLOURS)
    elif kind == "16 bits":
        write_mask(path, mask.astype(np.uint16))
    elif kind == "32 bits":
        write_mask(path := tmp_path / "mask.tif", mask.astype(np.int32))
    elif kind == "1 bit":
        Image.fromarray(mask.astype(bool)).save(path)
    else:
        image.convert("RGB" if kind == "grey as RGB" else "LA").save(path)
    classes, faults = read_mask(str(path), TWO)
    np.testing.assert_array_equal(classes, mask)
    assert classes.dtype == np.uint8
    assert not faults


def test_colours_of_16_bits_are_refused(tmp_path):
    """Pillow cannot write such a file, so it is written by hand, as the PNG specification says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.full((40, 3), 300, ">u2").tobytes() for _ in range(30))
    header = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(InputError, match=r"mask\.png: its colours have 16 bits; save the mask with 8 bits"):
        read_mask(str(path), TWO)


def test_pixels_of_one_bit_are_colours_where_the_table_has_colours(tmp_path):
    Image.fromarray(quarters().astype(bool)).save(tmp_path / "mask.png")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\ncell,255,255,255\nglass,0,0,0\n")
    labels, coding = read_class_table(tmp_path / "class_dict.csv")
    classes, faults = read_mask(str(tmp_path / "mask.png"), coding)
    assert labels == ("cell", "glass")
    np.testing.assert_array_equal(classes, quarters(1, 0))
    assert not faults


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_with_transparency_keep_their_numbers(tmp_path, transparent):
    image = Image.fromarray(quarters())
    image.putpalette([7, 7, 7, 9, 9, 9])
    image.save(tmp_path / "mask.png", **({"transparency": 0} if transparent else {}))
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.png"), TWO).classes, quarters())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_looked_up(tmp_path, mode):
    image = Image.fromarray(paint(quarters(), {0: RED, 1: BLUE}))
    # The numbers of this palette are not those of the classes.
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.png"), COLOURED).classes, quarters())


def test_smoothed_edges_are_ignored_and_counted(tmp_path):
    painted = paint(quarters(), {0: RED, 1: BLUE})
    painted[15, :20] = (128, 0, 127)
    painted[14, 3] = (1, 2, 3)
    path = str(write_mask(tmp_path / "mask.png", painted))
    classes, (fault,) = read_mask(path, COLOURED)
    assert (classes == IGNORED).sum() == 21
    assert fault == (
        "unknown colour",
        path,
        "21 pixels (1.8%) have 2 colours of no class, such as (128, 0, 127)",
    )


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 254), (np.uint16, 300), (np.uint16, 65535), (np.int32, -2)])
def test_values_of_no_class_are_ignored_and_counted(tmp_path, dtype, value):
    mask = quarters().astype(dtype)
    mask[0, 0] = value
    classes, (fault,) = read_mask(str(write_mask(tmp_path / "mask.tif", mask)), TWO)
    assert classes[0, 0] == IGNORED
    assert fault.kind == "unknown value"
    assert fault.detail == f"1 pixels (0.1%) have 1 values of no class, such as {value}"


def test_deep_numbers_are_no_colours_though_the_table_has_colours(tmp_path):
    coding = make_coding({0: 0, 1: 1}, colours=[(RED, 0), (BLUE, 1)])
    path = write_mask(tmp_path / "mask.tif", quarters().astype(np.int32) * 70000)
    (fault,) = read_mask(str(path), coding).faults
    assert fault.kind == "unknown value"
    assert fault.detail.endswith("such as 70000")


@pytest.mark.parametrize(("value", "kinds"), [(IGNORED, ["all void"]), (9, ["unknown value", "all void"])])
def test_a_mask_without_any_class_is_told(tmp_path, value, kinds):
    path = write_mask(tmp_path / "mask.png", quarters(value, value))
    assert [fault.kind for fault in read_mask(str(path), TWO).faults] == kinds


def test_255_of_a_deep_mask_is_ignored(tmp_path):
    mask = quarters(0, IGNORED).astype(np.uint16)
    assert read_mask(str(write_mask(tmp_path / "mask.png", mask)), TWO).faults == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "cannot be read as a mask"), (b"GIF89a broken", "cannot be read as a mask"), (None, "no such mask")],
)
def test_broken_files_are_named(tmp_path, data, message):
    if data is not None:
        (tmp_path / "mask.png").write_bytes(data)
    with pytest.raises(InputError, match=rf"mask\.png: {message}"):
        read_mask(str(tmp_path / "mask.png"), TWO)


def test_a_cut_file_is_named(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (50, 50), np.uint8)).save(stream, "PNG")
    (tmp_path / "mask.png").write_bytes(stream.getvalue()[:120])
    with pytest.raises(InputError, match=r"mask\.png: cannot be read as a mask"):
        read_mask(str(tmp_path / "mask.png"), TWO)


def test_colours_without_a_table_are_refused(tmp_path):
    path = write_mask(tmp_path / "mask.png", paint(quarters(), {0: RED, 1: BLUE}))
    with pytest.raises(NoColourTableError, match=r"mask\.png: has colours, but no class table .*class_dict\.csv"):
        read_mask(str(path), TWO)


@pytest.mark.parametrize(
    ("name", "text", "labels", "numbers"),
    [
        ("classes.txt", "road\ntraffic light\n", ("road", "traffic light"), {0: 0, 1: 1, 2: -1}),
        ("classes.txt", "3\n7\n", ("3", "7"), {0: 0, 1: 1}),
        ("classes.txt", "2 b c\n0 a\n", ("a", "b c"), {0: 0, 1: -1, 2: 1}),
        ("classes.txt", "0: a\n1: void\n2: b\n", ("a", "b"), {0: 0, 1: IGNORED, 2: 1}),
        ("classes.txt", "0\tSky\t128,128,128\n1\tUnlabelled\t0,0,0\n", ("Sky",), {0: 0, 1: IGNORED}),
        ("classes.txt", "\ufeffvoid\nroad\n\n", ("road",), {0: IGNORED, 1: 0}),
        ("classes.txt", "sky 1 1 1\nstreet sign 0 0 0\n", ("sky", "street sign"), {1: 0, 0: 1}),
        ("class_dict.csv", "name,r,g,b\nb,1,2,3\na,4,5,6\n", ("b", "a"), {0: 0, 1: 1}),
        ("class_dict.csv", "b;1;2;3\na;4;5;6\n", ("b", "a"), {0: 0, 1: 1}),
        ("class_dict.csv", "class,b,g,r\nb,1,2,3\na,0,0,0\n", ("b", "a"), {0: 0}),
        ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\ncell,255,255,255\n", ("background", "cell"), {0: 0, 255: 1}),
        ("label_colors.txt", "64 128 64\tAnimal\n0 0 0\tVoid\n", ("Animal",), {0: 0, 1: IGNORED}),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, cell\n", ("background", "cell"), {0: 0, 1: 1}),
    ],
)
def test_class_tables(tmp_path, name, text, labels, numbers):
    (tmp_path / name).write_text(text)
    table = read_class_table(tmp_path / name)
    assert table.labels == labels
    assert {value: int(table.coding.numbers[value]) for value in numbers} == numbers


def test_the_colours_of_a_numbered_table_count_too(tmp_path):
    (tmp_path / "classes.txt").write_text("1 b 0,0,255\n0 a 255,0,0\n")
    labels, coding = read_class_table(tmp_path / "classes.txt")
    assert labels == ("a", "b")
    path = write_mask(tmp_path / "mask.png", paint(quarters(), {0: RED, 1: BLUE}))
    np.testing.assert_array_equal(read_mask(str(path), coding).classes, quarters())
    path = write_mask(tmp_path / "palette.png", quarters(), palette=[BLUE, RED])
    np.testing.assert_array_equal(read_mask(str(path), coding).classes, quarters())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "\n", "is empty"),
        ("classes.txt", "void\n", "has 0 classes"),
        ("classes.txt", "0 a\n0 b\n", "has the number 0 twice"),
        ("classes.txt", "\n".join(f"c{number}" for number in range(256)), "has 256 classes; accepted are 1 to 255"),
        ("classes.txt", "0 a\n256 b\n", "number 256"),
        ("classes.txt", "0 a\nb\n", "the line 'b' has another form than the first one, '0 a'"),
        ("class_dict.csv", "name,r,g,b\na,1,2\n", "needs the columns name,r,g,b"),
        ("class_dict.csv", "name,r,g,b\na,1,2,300\n", "number 300"),
        ("class_dict.csv", "name,r,g,b\na,1,2,3\nb,1,2,3\n", r"has the colour \(1, 2, 3\) twice"),
        ("class_dict.csv", "name,r,g,b\n", "has 0 classes"),
        ("objectInfo150.txt", "number name\n", "needs the columns Idx and Name"),
    ],
)
def test_malformed_class_tables_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: .*{message}"):
        read_class_table(tmp_path / name)
