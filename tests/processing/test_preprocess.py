import math
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from parckit.contract import InputError, InputSpec, Preprocessing
from parckit.processing import decode_image, open_picture, preprocess
from repository import ROOT

SAMPLES = ROOT.parent / "shared" / "data" / "imagenet_samples.zip"
IMAGENET = Preprocessing(
    size=(224, 224),
    crop_pct=0.875,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
PARCNET = Preprocessing(size=(256, 192), crop_pct=256 / 288, channel_order="bgr")


def former(picture: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Preprocess as parckit 0.1.0 did: Pillow's resize, torchvision's crop, torch's arithmetic."""
    height, width = preprocessing.resize_size
    if height * picture.width >= width * picture.height:
        covering = (height * picture.width // picture.height, height)
    else:
        covering = (width, width * picture.height // picture.width)
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    picture = picture if covering == picture.size else picture.resize(covering, resample)
    pixels = torch.from_numpy(np.array(v2.CenterCrop(preprocessing.size)(picture))).permute(2, 0, 1)
    pixels = pixels.flip(0) if preprocessing.channel_order == "bgr" else pixels
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.mul_((1 / (255 * std)).float()).add_((-mean / std).float()).numpy()


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("preprocessing", [IMAGENET, PARCNET], ids=["imagenet", "parcnet"])
@pytest.mark.parametrize("size", [(300, 500), (257, 256), (31, 90), (256, 256), (1, 7)])
def test_the_numbers_are_those_of_the_former_version_to_the_last_bit(preprocessing, size):
    picture = noise(*size)
    np.testing.assert_array_equal(preprocess(picture, preprocessing)[0], former(picture, preprocessing))


@pytest.mark.skipif(not SAMPLES.is_file(), reason="needs ../shared/data, which a clone does not have")
def test_real_photographs_give_the_former_numbers_to_the_last_bit():
    with zipfile.ZipFile(SAMPLES) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert len(names) == 1000
        for number, name in enumerate(names[::4]):
            picture = decode_image(archive.read(name), name=name)
            preprocessing = (IMAGENET, PARCNET)[number % 2]
            assert np.array_equal(preprocess(picture, preprocessing)[0], former(picture, preprocessing)), name


def test_an_artefact_may_want_raw_pixels_in_another_layout():
    picture, plain = noise(8, 8), Preprocessing(size=(8, 8), channel_order="bgr")
    wanted = InputSpec(dtype="uint8", layout="NHWC", shape=(1, 8, 8, 3), normalised_inside=True)
    array, _ = preprocess(picture, plain, wanted=wanted)
    np.testing.assert_array_equal(array, np.asarray(picture)[..., ::-1])
    assert array.flags.c_contiguous
    channels_last = InputSpec(layout="NHWC", shape=(1, 8, 8, 3))
    expected = preprocess(picture, IMAGENET)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(preprocess(picture, IMAGENET, wanted=channels_last)[0], expected)


@pytest.mark.parametrize("fit", ["cover", "stretch", "contain"])
@pytest.mark.parametrize("size", [(40, 100), (100, 40), (64, 64)])
def test_boxes_and_masks_go_back_to_the_picture(fit, size):
    """A white rectangle on black is found again, in the picture's own pixels."""
    height, width = size
    left, top, right, bottom = width // 2 - 10, height // 2 - 8, width // 2 + 6, height // 2 + 12
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    preprocessing = Preprocessing(size=(256, 320), fit=fit, fill=(0, 0, 0))
    array, geometry = preprocess(Image.fromarray(pixels), preprocessing)
    bright = array[0] > 0.5
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    # The filter blurs the edge over a pixel of the picture, so that half a pixel is uncertain.
    np.testing.assert_allclose(geometry.boxes_to_picture(box), [[left, top, right, bottom]], atol=0.51)
    mask = geometry.mask_to_picture(bright.astype(np.uint8), outside=9)
    assert mask.shape == size
    shown = mask != 9
    assert (mask[shown] == (pixels[..., 0] > 0)[shown]).mean() > 0.99
    assert shown.all() or fit == "cover"


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1)])
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
def test_a_picture_of_extreme_aspect_costs_little(size, fit):
    """Resized to cover 256 x 256 pixels, it would have 1.3 billion."""
    tracemalloc.start()
    array, geometry = preprocess(Image.new("RGB", size[::-1], (200, 10, 10)), Preprocessing(size=(256, 256), fit=fit))
    # numpy tells tracemalloc of its memory, Pillow does not; Pillow's largest picture here is 256 x 4096.
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert geometry.picture_size == size
    # The middle of the picture is the middle of the input.
    point = np.array([[128.0, 128.0, 128.0, 128.0]])
    np.testing.assert_allclose(geometry.boxes_to_picture(point)[0, :2], [size[1] / 2, size[0] / 2], atol=1)
    assert array[:, 127, 127].tolist() == pytest.approx([200 / 255, 10 / 255, 10 / 255], abs=1e-6)


def test_a_mask_must_have_the_inputs_size():
    _, geometry = preprocess(noise(50, 100), Preprocessing(size=(64, 32)))
    with pytest.raises(InputError, match=r"mask of shape \(32, 64\)"):
        geometry.mask_to_picture(np.zeros((32, 64), np.uint8), outside=255)


def test_boxes_end_at_the_pictures_borders():
    _, geometry = preprocess(noise(50, 100), Preprocessing(size=(64, 64), fit="contain"))
    boxes = geometry.boxes_to_picture(np.array([[-5.0, 0.0, 70.0, 64.0]]))
    np.testing.assert_array_equal(boxes, [[0, 0, 100, 50]])


@pytest.mark.parametrize("size", [(480, 640), (427, 640), (300, 900), (1200, 1600), (500, 500)])
def test_contain_is_the_papers_resize_by_the_shortest_side_for_landscape_pictures(size):
    reference = GeneralizedRCNNTransform(min_size=800, max_size=1333, image_mean=[0.0], image_std=[1.0])
    resized, _ = reference.resize(torch.zeros(3, *size), None)
    _, geometry = preprocess(noise(*size), Preprocessing(size=(800, 1333), fit="contain"))
    inner = [scale * side for scale, side in zip(geometry.scale, size, strict=True)]
    # Both sides are rounded down to whole pixels, from numbers that differ in the last bit.
    assert inner == pytest.approx(resized.shape[-2:], abs=1)


def test_contain_pads_with_its_colour_and_keeps_the_aspect():
    array, geometry = preprocess(noise(50, 100), Preprocessing(size=(64, 64), fit="contain", fill=(255, 0, 51)))
    np.testing.assert_allclose(array[:, 0, 0], [1.0, 0.0, 0.2], atol=1e-7)
    assert math.isclose(geometry.scale[0], geometry.scale[1])
    assert geometry.offset == (-16.0, 0.0)


def test_pictures_come_as_files_images_and_arrays(tmp_path):
    pixels = np.asarray(noise(6, 5))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels):
        np.testing.assert_array_equal(np.asarray(open_picture(source)), pixels)
    np.testing.assert_array_equal(np.asarray(open_picture(pixels[..., 0]))[..., 2], pixels[..., 0])
    for wrong in (pixels.astype(np.float32), pixels[None], pixels[..., :2], pixels[:0]):
        with pytest.raises(InputError, match="array of shape"):
            open_picture(wrong)


def test_an_image_that_lies_on_its_side_is_turned_upright():
    picture = noise(6, 5)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # "rotate by 90 degrees clockwise to see it upright"
    np.testing.assert_array_equal(np.asarray(open_picture(turned)), np.asarray(picture))


def test_the_size_of_a_preprocessing_can_be_changed():
    assert IMAGENET.with_size((8, 9)) == replace(IMAGENET, size=(8, 9))


def test_grey_images_have_one_channel(picture):
    grey = Preprocessing(size=(8, 10), mean=(0.4,), std=(0.25,), channel_order="grey")
    image, _ = preprocess(picture(), grey)
    assert image.shape == (1, 8, 10)
    luma = np.asarray(picture(), dtype=np.float64) @ (0.299, 0.587, 0.114)
    # Pillow rounds to one of 256 levels.
    np.testing.assert_allclose(image[0], (luma / 255 - 0.4) / 0.25, atol=0.51 / 255 / 0.25)
    pixels = InputSpec(dtype="uint8", layout="NHWC", shape=(1, 8, 10, 1), normalised_inside=True)
    np.testing.assert_allclose(preprocess(picture(), grey, wanted=pixels)[0][..., 0], luma, atol=0.51)
    # A picture that is grey already keeps its values.
    levels = np.arange(80, dtype=np.uint8).reshape(8, 10)
    kept, _ = preprocess(Image.fromarray(levels).convert("RGB"), grey, wanted=pixels)
    np.testing.assert_array_equal(kept[..., 0], levels)
