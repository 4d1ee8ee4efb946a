"""Segmentation through windows, at several scales and mirrored, against a slow and plain implementation in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from parckit.contract import DecoderSpec, InputError
from parckit.processing import CLASS_MAP, TileSettings, WindowSettings
from parckit.runtimes import Predictor, WindowSession
from pixel_network import LABELS, PixelSession

SIZE = (64, 96)


def picture(size: tuple[int, int], *, seed: int = 0) -> Image.Image:
    """Return smooth noise, (height, width)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def slide(session: PixelSession, pixels: torch.Tensor, *, stride: tuple[int, int]) -> torch.Tensor:
    """Return the average logits of an image (1, 3, H, W): whole maps for all windows, summed and divided."""
    height, width = pixels.shape[2:]
    sums, times = torch.zeros(1, len(LABELS), height, width), torch.zeros(1, 1, height, width)
    top = 0
    while True:
        left = 0
        while True:
            y, x = min(top, height - SIZE[0]), min(left, width - SIZE[1])
            logits = session.network(pixels[:, :, y : y + SIZE[0], x : x + SIZE[1]])
            logits = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)
            sums[:, :, y : y + SIZE[0], x : x + SIZE[1]] += logits
            times[:, :, y : y + SIZE[0], x : x + SIZE[1]] += 1
            left += stride[1]
            if x + SIZE[1] >= width:
                break
        top += stride[0]
        if y + SIZE[0] >= height:
            return sums / times


@torch.inference_mode()
def plain_answer(
    session: PixelSession, image: Image.Image, *, stride, scales=(1.0,), flip=False, shorter_side=None
) -> torch.Tensor:
    """Return the mean probabilities, (classes, H, W)."""
    mean, std = (
        torch.tensor(one)[:, None, None] for one in (session.spec.preprocessing.mean, session.spec.preprocessing.std)
    )
    base = 1 if shorter_side is None else shorter_side / min(image.size)
    shares = []
    for scale in scales:
        width, height = (round(side * base * scale) for side in image.size)
        resized = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BILINEAR)))
        pixels = ((resized.permute(2, 0, 1) / 255 - mean) / std)[None]
        for is_mirrored in (False, True) if flip else (False,):
            logits = slide(session, pixels.flip(3) if is_mirrored else pixels, stride=stride)
            logits = logits.flip(3) if is_mirrored else logits
            whole = F.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
            shares.append(whole.softmax(dim=1)[0])
    return torch.stack(shares).mean(dim=0)


@pytest.mark.parametrize(
    ("size", "overlap", "stride", "settings"),
    [
        ((64, 96), 0.5, (32, 48), {}),  # one window
        ((150, 201), 1 / 3, (42, 64), {}),
        ((150, 201), 0.0, (64, 96), {"flip": True}),
        ((130, 170), 1 / 3, (42, 64), {"scales": (0.75, 1.0, 1.6), "flip": True}),
        ((40, 60), 0.5, (32, 48), {"shorter_side": 97}),
        ((300, 400), 0.5, (32, 48), {"shorter_side": 80, "scales": (1.0, 1.25)}),
        # The picture is so small that some rows of the enlarged one are not needed.
        ((40, 60), 0.5, (32, 48), {"shorter_side": 128}),
        ((20, 30), 0.5, (32, 48), {"shorter_side": 128, "flip": True}),
    ],
)
def test_windows_scales_and_mirror_images_are_those_of_plain_torch(size, overlap, stride, settings):
    session, image = PixelSession(SIZE), picture(size)
    shares = plain_answer(session, image, stride=stride, **settings)
    through = WindowSession(session, WindowSettings(tiles=TileSettings(overlap=overlap), **settings))
    (classes,) = through(np.asarray(image).transpose(2, 0, 1)[None])
    best, second = shares.topk(2, dim=0).values
    # Both sum float32 numbers, in another order. Probabilities that are nearly equal may change places.
    clear = (best - second > 1e-4).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(classes[0][clear], shares.argmax(0).numpy()[clear])
    assert len(np.unique(classes)) == len(LABELS)


def test_an_extreme_picture_is_enlarged_as_far_as_in_published_evaluations():
    # mmsegmentation resizes to (2048, 512): the longer side has 2048 pixels at most.
    settings = WindowSettings(shorter_side=512, scales=(0.5, 1.0))
    assert settings.views((4, 20_000)) == [((1, 1024), False), ((1, 2048), False)]
    assert settings.views((300, 400)) == [((256, 341), False), ((512, 683), False)]
    with pytest.raises(InputError, match="9000x9000 pixels, enlarged to 72000x72000: more than 268,435,456"):
        WindowSettings(scales=(8.0,)).views((9000, 9000))


def test_small_pictures_are_filled_up_and_windows_resized_to_the_input():
    session = PixelSession(SIZE)
    image = picture((40, 60))
    whole = Image.new("RGB", (192, 128), session.spec.preprocessing.fill)
    whole.paste(image)
    (expected,) = Predictor(session).predict([whole])
    (answer,) = Predictor(session, tiles=TileSettings(size=(128, 192))).predict([image])
    # One enlarges logits to the window's size, the other one classes.
    assert answer.mask.shape == (40, 60)
    assert (answer.mask == expected.mask[:40, :60]).mean() > 0.9
    assert session.shapes == [(1, 3, *SIZE)] * 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_predictor_answers_pictures_of_any_size_through_windows(batch_size):
    session, images = PixelSession(SIZE, batch_size=batch_size), [picture((70, 200)), picture((300, 90), seed=1)]
    predictor = Predictor(session, tiles=TileSettings(overlap=0.5))
    for image, answer in zip(images, predictor.predict(images), strict=True):
        assert answer.mask.shape == image.size[::-1]
        best = plain_answer(session, image, stride=(32, 48)) if min(image.size) >= 96 else None
        if best is not None:
            assert (answer.mask == best.argmax(0).numpy()).mean() > 0.99
    assert {len(shape) for shape in session.shapes} == {4}
    assert max(shape[0] for shape in session.shapes) == batch_size


def test_what_cannot_be_averaged_is_refused():
    session = PixelSession(SIZE)
    session.decoder = DecoderSpec(name=CLASS_MAP)
    with pytest.raises(InputError, match="tiles: pixels gives the best class of every pixel"):
        Predictor(session, tiles=TileSettings())
    session.spec = replace(session.spec, task="classify")
    with pytest.raises(InputError, match="this network's task is 'classify'"):
        Predictor(session, tiles=TileSettings())
    with pytest.raises(InputError, match=r"scales=\[0\]: must be factors above 0, up to 8"):
        WindowSettings(scales=(0,))
    with pytest.raises(InputError, match="shorter_side=0: must be a whole number of pixels"):
        WindowSettings(shorter_side=0)
