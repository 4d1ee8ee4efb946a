import numpy as np
import pytest
import torch
from PIL import Image

from parckit.contract import InputError, Preprocessing
from parckit.data import Objects, SceneAugmentSettings, collate_listed, eval_scene_transform, train_scene_transform
from parckit.data.datasets import seed_generators

SIZE = (48, 64)
WIDE = (60, 120)  # (height, width) of the pictures
STRETCH = Preprocessing(size=SIZE, fit="stretch")


def scene(*, crowd: bool = False) -> tuple[Image.Image, Objects]:
    """Return a black picture with a white and a grey box, and where they are."""
    pixels = np.zeros((*WIDE, 3), np.uint8)
    pixels[10:40, 20:60] = 255
    pixels[30:55, 80:110] = 128
    boxes = torch.tensor([[20.0, 10, 60, 40], [80, 30, 110, 55]])
    return Image.fromarray(pixels), Objects(boxes, torch.tensor([0, 1]), torch.tensor([False, crowd]))


def brightest(image: torch.Tensor) -> list[int]:
    """Return (left, top, right, bottom) of the white box in an image."""
    rows, columns = (image.amin(0) > 0.75).nonzero(as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("fit", ["stretch", "contain", "cover"])
def test_boxes_move_with_the_picture(fit):
    picture, objects = scene()
    sample = eval_scene_transform(Preprocessing(size=SIZE, fit=fit))(picture, objects)
    (white, *_) = sample.target.objects.boxes.tolist()
    assert white == pytest.approx(brightest(sample.image), abs=1)
    torch.testing.assert_close(sample.target.in_picture.boxes, objects.boxes)
    back = sample.geometry.boxes_to_picture(sample.target.objects.boxes.numpy())
    if fit != "cover":  # whose crop cuts boxes
        np.testing.assert_allclose(back, objects.boxes, atol=1e-4)


def test_boxes_outside_of_the_crop_are_left_out():
    picture, objects = scene()
    far = objects._replace(boxes=torch.tensor([[0.0, 10, 10, 40], [80, 30, 110, 55]]))
    target = eval_scene_transform(Preprocessing(size=(60, 60)))(picture, far).target
    assert target.objects.labels.tolist() == [1]
    assert target.in_picture.labels.tolist() == [0, 1]


@pytest.mark.parametrize("fit", ["stretch", "contain"])
@pytest.mark.parametrize("scale", [(0.1, 1.0), (1.0, 2.0), (0.5, 0.5), (2.0, 2.0)])
def test_large_scale_jitter_moves_boxes_and_masks(fit, scale):
    picture, objects = scene()
    augment = SceneAugmentSettings(crop="none", scale=scale, colour=0.0, flip=0.0)
    transform = train_scene_transform(Preprocessing(size=SIZE, fit=fit), augment=augment)
    sides = []
    for seed in range(12):
        seed_generators(seed)
        sample = transform(picture, with_masks(objects), size=(96, 128), share=0.0)
        assert sample.image.shape == (3, 96, 128)
        moved = sample.target.objects
        for mask, box, label in zip(moved.masks, moved.boxes.tolist(), moved.labels.tolist(), strict=True):
            if label == 0 and min(box[2] - box[0], box[3] - box[1]) > 6:
                assert box == pytest.approx(brightest(sample.image), abs=3)
                sides.append(box[2] - box[0])
            rows, columns = mask.nonzero(as_tuple=True)
            if len(rows):
                assert [int(columns.min()), int(rows.min())] == pytest.approx(box[:2], abs=2)
    # The white box is 40 of 120 pixels wide, so 128 / 3 pixels of the input at a factor of 1.
    assert max(sides) <= 128 / 3 * scale[1] + 2
    assert len({round(side) for side in sides}) > 2 or scale[0] == scale[1]


@pytest.mark.parametrize("seed", range(20))
def test_random_changes_move_the_boxes_too(seed):
    picture, objects = scene()
    augment = SceneAugmentSettings(colour=0.0, zoom_out=0.5, flip=0.5, flip_vertical=0.5)
    seed_generators(seed)
    sample = train_scene_transform(STRETCH, augment=augment)(picture, objects, size=(96, 128), share=0.0)
    assert sample.image.shape == (3, 96, 128)
    boxes = sample.target.objects.boxes
    assert (boxes[:, 0::2] >= 0).all()
    assert (boxes[:, 0::2] <= 128).all()
    for box, label in zip(boxes.tolist(), sample.target.objects.labels.tolist(), strict=True):
        if label == 0:
            # A resize with antialiasing blurs edges over some pixels, more of them after a zoom.
            assert box == pytest.approx(brightest(sample.image), abs=3)


def test_the_same_seed_gives_the_same_sample():
    transform = train_scene_transform(STRETCH, augment=SceneAugmentSettings())
    samples = []
    for _ in range(2):
        seed_generators(7)
        samples.append(transform(*scene(), size=SIZE, share=0.0))
    assert torch.equal(samples[0].image, samples[1].image)
    assert torch.equal(samples[0].target.objects.boxes, samples[1].target.objects.boxes)


@pytest.mark.parametrize("crowd", [False, True])
def test_pictures_without_objects_or_with_crowds_alone_are_changed_too(crowd):
    picture, objects = scene(crowd=crowd)
    rows = slice(1, 2) if crowd else slice(0, 0)
    few = Objects(objects.boxes[rows], objects.labels[rows], objects.crowd[rows])
    for seed in range(5):
        seed_generators(seed)
        sample = train_scene_transform(STRETCH, augment=SceneAugmentSettings())(picture, few, size=SIZE, share=0.0)
        assert sample.image.shape == (3, *SIZE)
        assert len(sample.target.objects.boxes) == len(sample.target.objects.crowd) <= crowd


def with_masks(objects: Objects) -> Objects:
    masks = torch.zeros(len(objects.labels), *WIDE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, objects.boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return objects._replace(masks=masks)


@pytest.mark.parametrize("seed", range(12))
def test_random_changes_move_the_masks_too(seed):
    picture, objects = scene()
    augment = SceneAugmentSettings(colour=0.0, zoom_out=0.5, flip=0.5, flip_vertical=0.5)
    seed_generators(seed)
    sample = train_scene_transform(STRETCH, augment=augment)(picture, with_masks(objects), size=(96, 128), share=0.0)
    moved = sample.target.objects
    assert moved.masks.shape == (len(moved.labels), 96, 128)
    assert moved.masks.dtype == torch.bool
    for mask, box in zip(moved.masks, moved.boxes.tolist(), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        edges = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        # A pixel of a picture that was cropped to a corner becomes up to some pixels of the input.
        assert edges == pytest.approx(box, abs=3)


def test_masks_in_padding_are_empty_and_evaluation_keeps_those_of_the_picture():
    picture, objects = scene()
    contain = Preprocessing(size=(96, 96), fit="contain")
    augment = SceneAugmentSettings(crop="none", colour=0.0, flip=0.0)
    sample = train_scene_transform(contain, augment=augment)(picture, with_masks(objects), size=(96, 96), share=0.0)
    (white, _) = sample.target.objects.masks
    bright = sample.image.amin(0) > 0.75
    # The picture is blurred at the edges of the box, 2 (32 + 24) pixels long.
    assert int((white != bright).sum()) <= 2 * 112
    assert not white[:24].any()
    evaluated = eval_scene_transform(contain)(picture, with_masks(objects)).target
    assert evaluated.objects.masks is None
    assert evaluated.in_picture.masks.shape == (2, *WIDE)


@pytest.mark.parametrize("size", [(1, 1), (20, 1), (1, 20), (3, 3), (20, 2)])
def test_very_small_pictures_are_changed_too(size):
    whole = Objects(torch.tensor([[0.0, 0, *size]]), torch.tensor([0]), torch.tensor([False]))
    for seed in range(20):
        seed_generators(seed)
        transform = train_scene_transform(STRETCH, augment=SceneAugmentSettings())
        sample = transform(Image.new("RGB", size), whole, size=SIZE, share=0.0)
        assert sample.target.objects.labels.tolist() == [0]


def test_a_batch_keeps_the_objects_of_every_image_and_counts_broken_ones():
    sample = eval_scene_transform(STRETCH)(*scene())
    batch = collate_listed([sample, None, sample])
    assert (batch.images.shape, len(batch.targets), batch.skipped, len(batch.geometries)) == ((2, 3, *SIZE), 2, 1, 2)
    assert collate_listed([None]).targets == []


@pytest.mark.parametrize(
    "wrong", [{"crop": "jitter"}, {"flip": 1.5}, {"zoom_out": -1}, {"scale": (2.0, 1.0)}, {"scale": (0.0, 1.0)}]
)
def test_wrong_settings_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        SceneAugmentSettings(**wrong)


@pytest.mark.parametrize("changes", [{"zoom_out": 1.0}, {"scale": (0.3, 0.3)}])
@pytest.mark.parametrize("colours", [{}, {"channel_order": "bgr"}, {"channel_order": "grey"}])
def test_random_changes_pad_with_the_colour_of_the_preprocessing(changes, colours):
    picture, objects = scene()
    means = (0.1,) if "grey" in colours.values() else (0.1, 0.2, 0.3)
    preprocessing = Preprocessing(
        size=SIZE, fit="contain", fill=(10, 20, 30), mean=means, std=(1.0,) * len(means), **colours
    )
    augment = SceneAugmentSettings(crop="none", colour=0.0, flip=0.0, **changes)
    seed_generators(0)
    image = train_scene_transform(preprocessing, augment=augment)(picture, objects, size=SIZE, share=0.0).image
    expected = {"rgb": (10, 20, 30), "bgr": (30, 20, 10), "grey": (18,)}[preprocessing.channel_order]
    padding = torch.tensor(expected) / 255 - torch.tensor(means)
    # The picture is small, so most of the image is padding.
    torch.testing.assert_close(image.flatten(1).median(dim=1).values, padding)


def test_a_zoom_out_of_a_large_picture_needs_no_huge_canvas():
    picture, objects = scene()
    picture = picture.resize((2400, 1200), Image.Resampling.NEAREST)
    objects = objects._replace(boxes=20 * objects.boxes)
    augment = SceneAugmentSettings(crop="none", zoom_out=1.0, colour=0.0, flip=0.0)
    transform = train_scene_transform(STRETCH, augment=augment)
    canvases = []
    transform._zoom_out.register_forward_hook(lambda _, inputs, output: canvases.append(output["picture"].size))
    seed_generators(0)
    sample = transform(picture, objects, size=(96, 128), share=0.0)
    # The shorter side is four times the longer side of the input before the canvas becomes up to four times as wide.
    assert max(canvases[0]) <= 4 * 2 * 4 * 128
    assert sample.target.objects.boxes[0].tolist() == pytest.approx(brightest(sample.image), abs=2)
