import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from parckit.contract import InputError
from parckit.processing import IMAGE_EXTENSIONS, decode_image, images, list_images, load_image, open_picture


def _save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "ending"), [("L", "png"), ("RGBA", "png"), ("P", "png"), ("1", "png"), ("CMYK", "jpg")]
)
def test_every_mode_becomes_rgb_of_the_same_size(tmp_path, picture, mode, ending):
    path = _save(tmp_path / f"a.{ending}", picture(height=5, width=9).convert(mode))
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", (9, 5))


def test_grey_stays_grey(tmp_path, picture):
    grey = picture().convert("L")
    pixels = np.asarray(load_image(_save(tmp_path / "a.png", grey)))
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(grey)[..., None], 3, axis=2))


def test_cmyk_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (16, 16), (220, 30, 40)).convert("CMYK")
    pixels = np.asarray(load_image(_save(tmp_path / "a.jpg", red, quality=95)), dtype=int)
    # JPEG at quality 95 moves a flat colour by a few levels at most.
    assert np.abs(pixels - (220, 30, 40)).max() <= 4


def test_palette_with_an_alpha_per_colour_loads_without_warning(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = _save(tmp_path / "a.png", image, transparency=bytes([0, 128]))
    assert load_image(path).getpixel((0, 0)) == (10, 20, 30)


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    pixels = np.asarray(load_image(_save(tmp_path / "a.png", Image.fromarray(values))))
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 1, 128, 255])


def test_exif_rotation_is_applied(tmp_path, picture):
    stored = picture(height=6, width=12)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned 90 degrees clockwise for viewing
    upright = load_image(_save(tmp_path / "a.png", stored, exif=exif))
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(stored), k=-1))


@pytest.mark.parametrize("ending", [ending.removeprefix(".") for ending in IMAGE_EXTENSIONS])
def test_pictures_of_every_format_can_be_worked_on_after_their_file_is_gone(tmp_path, picture, ending):
    path = _save(tmp_path / f"a.{ending}", picture(height=20, width=30))
    image = load_image(path)
    path.unlink()
    assert np.asarray(image.resize((3, 2))).shape == (2, 3, 3)
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()  # noqa: S301 - our own bytes


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png: no such image file"):
        load_image(tmp_path / "nowhere.png")


@pytest.mark.parametrize("data", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_is_named(tmp_path, data):
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.png: not an image of a known format") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_cut_image_is_named(picture, format_):
    stream = io.BytesIO()
    picture(height=64, width=64).save(stream, format_)
    with pytest.raises(InputError, match=r"^shard:key: ") as caught:
        decode_image(stream.getvalue()[: len(stream.getvalue()) // 2], name="shard:key")
    assert "\n" not in str(caught.value)


def test_images_are_listed_however_deep_they_lie(tmp_path, picture):
    for name in ("b/c/2.JPG", "1.png", "b/3.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [tmp_path / name for name in ("1.png", "b/3.webp", "b/c/2.JPG")]


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: holds no images; accepted endings are"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="no_folder: no such folder"):
        list_images(tmp_path / "no_folder")


def test_a_cut_pillow_image_is_named(picture, tmp_path):
    path = tmp_path / "cut.png"
    picture().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with Image.open(path) as lazy, pytest.raises(InputError, match=r"cut\.png: cannot be read as an image"):
        open_picture(lazy)


@pytest.mark.parametrize("wrong", [[[1, 2], [3, 4]], None, b"bytes"], ids=str)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(InputError, match="must be a file, a Pillow image or an array"):
        open_picture(wrong)


RAMP = np.asarray(Image.linear_gradient("L").resize((64, 64)))


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("big_endian.tif", (RAMP.astype(">u2") * 257)),
        ("little_endian.tif", (RAMP.astype("<u2") * 257)),
        ("thirty_two.tif", (RAMP.astype(np.int32) * 257)),
        ("float.tif", (RAMP / 255).astype(np.float32)),
        ("sixteen.png", (RAMP.astype("<u2") * 257)),
        ("eight.tif", RAMP),
    ],
)
def test_deep_grey_is_scaled_to_eight_bits(tmp_path, name, pixels):
    path = _save(tmp_path / name, Image.fromarray(pixels))
    assert np.abs(np.asarray(load_image(path))[..., 0].astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize("maximum", [255, 4095, 65535])
def test_grey_maps_of_any_depth_are_scaled(tmp_path, maximum):
    pixels = (RAMP.astype(np.float64) * maximum / 255).round().astype(">u2" if maximum > 255 else "u1")
    (tmp_path / "deep.pgm").write_bytes(b"P5\n64 64\n%d\n" % maximum + pixels.tobytes())
    assert np.abs(np.asarray(load_image(tmp_path / "deep.pgm"))[..., 0].astype(int) - RAMP).max() <= 1


def test_a_dark_deep_grey_map_stays_dark(tmp_path):
    (tmp_path / "dark.pgm").write_bytes(b"P5\n64 64\n65535\n" + RAMP.astype(">u2").tobytes())
    assert not np.asarray(load_image(tmp_path / "dark.pgm")).any()


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (RAMP.astype(np.float32), "floating-point pixels from 2 to 253; accepted are 0 to 1"),
        (RAMP / np.float32(-255), "floating-point pixels from -0.99"),
        (np.full((4, 4), np.nan, np.float32), "floating-point pixels from nan"),
        (RAMP.astype(np.int32), "32-bit pixels from 2 to 253; accepted are 16-bit values"),
        (RAMP.astype(np.int32) - 300, "32-bit pixels from -298"),
        (RAMP.astype(np.int32) << 20, "32-bit pixels from "),
    ],
)
def test_deep_grey_of_an_unknown_range_is_refused(tmp_path, pixels, told):
    path = _save(tmp_path / "deep.tif", Image.fromarray(pixels))
    with pytest.raises(InputError, match=rf"deep\.tif: .*\({told}"):
        load_image(path)


@pytest.mark.parametrize("ending", ["avif", "heic", "gif"])
def test_phone_and_web_formats_are_read(tmp_path, picture, ending):
    if ending == "heic":
        pytest.importorskip("pillow_heif", reason="HEIC needs the extra heic").register_heif_opener()
    elif ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    image = picture(height=32, width=48)
    path = _save(tmp_path / f"x.{ending}", image)
    assert load_image(path).size == image.size
    assert list_images(tmp_path) == [path]


def test_a_heic_picture_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    formats = tuple(name for name in images.readable_formats() if name != "HEIF")
    monkeypatch.setattr(images, "readable_formats", lambda: formats)
    with pytest.raises(InputError, match=r'phone\.heic: .* pip install "parckit\[heic\]"'):
        load_image(tmp_path / "phone.heic")


@pytest.mark.parametrize("limit", [399, 400])
def test_the_environment_limits_the_pixels_of_a_picture(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 400 are more than twice as many, which Pillow refuses
    Image.new("RGB", (20, 20)).save(path := tmp_path / "large.png")
    with pytest.raises(InputError, match=r"large\.png: .*PARCKIT_MAX_PIXELS"):
        load_image(path)
    monkeypatch.setenv("PARCKIT_MAX_PIXELS", str(limit))
    if limit == 400:
        assert load_image(path).size == (20, 20)
    else:
        with pytest.raises(InputError, match=r"large\.png: 20x20 pixels, but PARCKIT_MAX_PIXELS allows 399"):
            load_image(path)
