"""Two-stage detectors, with a tiny backbone and random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign, box_iou

from backbones import SLIM
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import Objects, Scene
from parckit.measure.detection import DetectionMetric
from parckit.models import fuse
from parckit.networks import RCNN, build_network, check_input, head_of
from parckit.networks.rcnn import STRIDES
from parckit.networks.rcnn_parts import RoiPool
from parckit.processing import Geometry, make_decoder

SIZE = (64, 96)
SMALL = {
    "width": 16,
    "hidden": 32,
    "mask_width": 16,
    "anchors": [8.0, 16.0, 32.0, 64.0, 128.0],
    "proposals": 50,
    "samples": 32,
    "threshold": 0.0,
}
NAMES = ("faster_rcnn", "mask_rcnn", "cascade_mask_rcnn")


def spec_of(head: str, *, backbone: str = "test_resnet", **changes: object) -> NetworkSpec:
    return NetworkSpec(
        task="detect",
        backbone=backbone,
        backbone_kwargs={},
        head=head,
        head_kwargs=SMALL | changes,
        labels=("square", "disc"),
        preprocessing=Preprocessing(size=SIZE),
    )


def network_of(head: str, **changes: object) -> RCNN:
    torch.manual_seed(0)
    network = build_network(spec_of(head, **changes)).eval()
    assert isinstance(network, RCNN)
    return network


def image(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *(size or SIZE), generator=torch.Generator().manual_seed(seed))


def objects(count: int, *, size: tuple[int, int] = SIZE) -> Objects:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([size[1] - 20.0, size[0] - 20.0])
    boxes = torch.cat([corners, corners + 1 + 18 * torch.rand(count, 2, generator=generator)], dim=1)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return Objects(boxes, torch.arange(count) % 2, torch.zeros(count, dtype=torch.bool), masks)


def with_strong_weights(network: RCNN) -> RCNN:
    """Make proposals, scores and masks depend on the image: fresh last layers have weights near zero."""
    generator = torch.Generator().manual_seed(2)
    for name, weight in network.named_parameters():
        if name.startswith(("rpn.", "stages.", "mask_branch.")) and weight.ndim > 1:
            fan_in = weight[0].numel()
            weight.data = 1.5 * torch.randn(weight.shape, generator=generator) / fan_in**0.5
    return network


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_as_the_head_says(name):
    spec, network = spec_of(name), network_of(name)
    check_input(network, spec)
    with torch.inference_mode():
        outputs = network(image())
    described = head_of(spec).outputs(spec)
    assert [str(output.dtype).removeprefix("torch.") for output in outputs] == [output.dtype for output in described]
    for output, known in zip(outputs, described, strict=True):
        assert len(output) == len(outputs[0]) > 0
        assert all(side in (None, actual) for side, actual in zip(known.shape, output.shape, strict=True))
    boxes, scores, labels = outputs[:3]
    assert (scores.diff() <= 0).all()
    assert set(labels.tolist()) <= {0, 1}
    assert boxes.amin() >= 0
    assert (boxes.amax(dim=0) <= torch.tensor([96, 64, 96, 64])).all()
    make_decoder(head_of(spec).decoder(spec), spec)([output.numpy() for output in outputs], [_geometry(SIZE)])


def _geometry(size: tuple[int, int]) -> Geometry:
    return Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))


class PyramidOfOurs(nn.Module):
    """What torchvision calls a backbone."""

    def __init__(self, network: RCNN) -> None:
        super().__init__()
        self.network = network
        self.out_channels = SMALL["width"]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.network._maps(images)


def torchvisions(network: RCNN) -> MaskRCNN:
    """Return torchvision's Mask R-CNN with the weights of ours."""
    (stage,), branch = network.stages, network.mask_branch
    most = SMALL["proposals"]
    return MaskRCNN(
        PyramidOfOurs(network),
        min_size=SIZE[0],
        max_size=SIZE[1],
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=network.rpn.anchor_generator.generator,
        rpn_head=network.rpn.head.layers,
        rpn_pre_nms_top_n_train=2 * most,
        rpn_post_nms_top_n_train=2 * most,
        rpn_pre_nms_top_n_test=most,
        rpn_post_nms_top_n_test=most,
        box_head=stage.box_head,
        box_predictor=stage.box_predictor,
        box_batch_size_per_image=SMALL["samples"],
        box_score_thresh=SMALL["threshold"],
        mask_head=branch.layers,
        mask_predictor=branch.predictor,
    )


def test_mask_rcnn_detects_what_torchvisions_detects():
    ours = with_strong_weights(network_of("mask_rcnn"))
    theirs = torchvisions(ours).eval()
    with torch.inference_mode():
        boxes, scores, labels, masks = ours(image())
        (expected,) = theirs([image()[0]])
    # The same layers in the same order.
    torch.testing.assert_close(boxes, expected["boxes"], rtol=0, atol=1e-4)
    torch.testing.assert_close(scores, expected["scores"], rtol=0, atol=1e-6)
    assert torch.equal(labels + 1, expected["labels"])
    torch.testing.assert_close(paste_masks_in_image(masks[:, None], boxes, SIZE), expected["masks"], rtol=0, atol=1e-4)


def test_mask_rcnn_has_the_losses_of_torchvisions():
    ours = with_strong_weights(network_of("mask_rcnn"))
    theirs = torchvisions(ours).train()
    ours.backbone.eval()
    truth = objects(5)
    torch.manual_seed(3)  # both sample proposals; theirs draws a size first
    torch.empty(1).uniform_()
    actual = ours.losses(image(), [truth])
    torch.manual_seed(3)
    target = {"boxes": truth.boxes, "labels": truth.labels + 1, "masks": truth.masks.to(torch.uint8)}
    expected = theirs([image()[0]], [target])
    names = ("objectness", "rpn_box_reg", "classifier", "box_reg", "mask")
    for value, name in zip(actual.values(), names, strict=True):
        # The same sums, in another order.
        torch.testing.assert_close(value, expected[f"loss_{name}"], rtol=1e-4, atol=1e-6)


def test_the_cascade_takes_the_mean_of_the_scores_of_its_stages():
    network = network_of("cascade_mask_rcnn")
    biases = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.0], [-1.0, 3.0, 0.5]])
    for stage, bias in zip(network.stages, biases, strict=True):
        stage.box_predictor.cls_score.weight.data.zero_()
        stage.box_predictor.cls_score.bias.data.copy_(bias)
    with torch.inference_mode():
        _, scores, labels, _ = network(image())
    expected = biases.softmax(dim=1).mean(dim=0)[1:]
    torch.testing.assert_close(scores, expected[labels])


def test_every_stage_of_the_cascade_sees_what_the_one_before_has_moved():
    network = network_of("cascade_mask_rcnn", threshold=0.0)
    # Every stage moves boxes to the right by a tenth of their width.
    for stage in network.stages:
        predictor = stage.box_predictor.bbox_pred
        predictor.weight.data.zero_()
        predictor.bias.data.copy_(torch.tensor([0.1 * stage.box_coder.weights[0], 0, 0, 0]))
    seen: list[Tensor] = []
    for stage in network.stages:
        stage.box_roi_pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1][0]))
    with torch.inference_mode():
        network(image())
    first, second, third = seen
    for before, after in ((first, second), (second, third)):
        shift = 0.1 * (before[:, 2] - before[:, 0])
        torch.testing.assert_close(after[:, 0], before[:, 0] + shift, rtol=0, atol=1e-3)
    assert [stage.box_coder.weights[0] for stage in network.stages] == [10, 20, 30]
    assert [stage.proposal_matcher.high_threshold for stage in network.stages] == [0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("name", "count"), [("faster_rcnn", 0), ("mask_rcnn", 0), ("cascade_mask_rcnn", 0), ("cascade_mask_rcnn", 1)]
)
def test_losses_are_finite_and_train_every_weight(name, count):
    network = network_of(name).train()
    losses = network.losses(torch.cat([image(), image(seed=1)]), [objects(count), objects(count)])
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    gradients = {key: weight.grad for key, weight in network.named_parameters()}
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients.values())


def test_crowds_do_not_count():
    network, truth = network_of("mask_rcnn").train(), objects(3)
    network.backbone.eval()
    single = Objects(truth.boxes[:2], truth.labels[:2], truth.crowd[:2], truth.masks[:2])
    values = []
    for target in (single, truth._replace(crowd=torch.tensor([False, False, True]))):
        torch.manual_seed(0)
        values.append(torch.stack(list(network.losses(image(), [target]).values())))
    torch.testing.assert_close(*values)


def test_parts_of_boxes_are_those_of_torchvision():
    generator = torch.Generator().manual_seed(0)
    maps = {str(level): torch.randn(2, 3, 512 // 2**level, 512 // 2**level, generator=generator) for level in range(4)}
    # Widths from 1 to 2,048 pixels: boxes of all maps, in another order than that of the maps.
    corners = 1000 * torch.rand(2, 50, 2, generator=generator)
    sides = 2048 ** torch.rand(2, 50, 2, generator=generator)
    boxes = [*torch.cat([corners, corners + sides], dim=2)]
    expected = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)(maps, boxes, [(2048, 2048)] * 2)
    torch.testing.assert_close(RoiPool(7, strides=STRIDES)(maps, boxes, []), expected)
    assert RoiPool(7, strides=STRIDES)(maps, [torch.zeros(0, 4)] * 2, []).shape == (0, 3, 7, 7)


@pytest.mark.parametrize("size", [(33, 47), (96, 160)], ids=str)
def test_other_sizes_run_in_any_order(size):
    network = with_strong_weights(network_of("cascade_mask_rcnn"))
    with torch.inference_mode():
        before = network(image())
        boxes = network(image(*size))[0]
        after = network(image())
    assert len(boxes)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_boxes_keep_their_precision_in_half_precision():
    network = with_strong_weights(network_of("mask_rcnn"))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(image(256, 320))
        anchors = network.rpn.anchor_generator.generator.cell_anchors
    assert all(output.dtype in {torch.float32, torch.int64} for output in outputs)
    assert all(anchor.dtype == torch.float32 for anchor in anchors)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_fused_network_detects_the_same(name):
    network = with_strong_weights(network_of(name))
    fused = fuse(network, size=SIZE)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.inference_mode():
        expected, actual = network(image()), fused(image())
    # Detections of nearly equal scores may change places.
    assert len(actual[0]) == len(expected[0])
    overlap = box_iou(expected[0], actual[0]).amax(dim=1)
    assert (overlap > 0.99).all()
    torch.testing.assert_close(actual[1], expected[1], rtol=0, atol=1e-4)


def test_it_says_what_it_needs():
    network = network_of("mask_rcnn")
    with pytest.raises(ValueError, match="2 images: needs eval mode and one image"):
        network(torch.cat([image(), image()]))
    with pytest.raises(ValueError, match="training mode"):
        network.losses(image(), [objects(1)])
    network.train()
    with pytest.raises(ValueError, match="training=True"):
        network(image())
    with pytest.raises(InputError, match="objects have boxes and no masks"):
        network.losses(image(), [objects(1)._replace(masks=None)])
    with pytest.raises(InputError, match=r"cannot take RGB images of size=\(0, 32\)"):
        check_input(network, spec_of("mask_rcnn"), size=(0, 32))


@pytest.mark.parametrize("change", [{"width": 0}, {"anchors": [8.0]}, {"overlap": 2.0}, {"depth": 3}], ids=str)
def test_wrong_keywords_of_the_head_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        build_network(spec_of("mask_rcnn", **change))


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_depend_on_the_classes_are_named(name):
    spec = spec_of(name)
    more = replace(spec, labels=("a", "b", "c"))
    prefixes = head_of(spec).label_weights(build_network(spec))
    one, other = (build_network(of).state_dict() for of in (spec, more))
    differ = {key for key in one if one[key].shape != other[key].shape}
    assert differ == {key for key in one if key.startswith(prefixes)}


def picture_with_objects() -> tuple[Tensor, Objects]:
    """Return noise with a bright square and a bright disc of another colour, and their masks."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 0.1, (3, *SIZE)).astype(np.float32)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    square = (x > 6) & (x < 36) & (y > 8) & (y < 48)
    disc = ((x - 68) / 18) ** 2 + ((y - 35) / 15) ** 2 < 1
    for channel, mask in enumerate((square, disc)):
        pixels[channel][mask] += 2
    boxes = torch.tensor([[6.0, 8, 36, 48], [50, 20, 86, 50]])
    masks = torch.from_numpy(np.stack([square, disc]))
    return torch.from_numpy(pixels)[None], Objects(boxes, torch.tensor([0, 1]), torch.tensor([False, False]), masks)


def test_it_learns_a_picture_by_heart():
    name = "cascade_mask_rcnn"
    spec, network = spec_of(name), network_of(name, threshold=0.05).train()
    images, truth = picture_with_objects()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(70):
        optimizer.zero_grad()
        torch.stack(list(network.losses(images, [truth]).values())).sum().backward()
        optimizer.step()
    with torch.inference_mode():
        outputs = network.eval()(images)
    answers = make_decoder(head_of(spec).decoder(spec), spec)([output.numpy() for output in outputs], [_geometry(SIZE)])
    metric = DetectionMetric(2, masks=True)
    metric.update(answers, [Scene(truth, truth)])
    scalars = metric.compute()
    assert scalars["map_50"] > 90
    assert scalars["segm_map_50"] > 90


@pytest.mark.parametrize("backbone", ["parc_convnext_xt", "parc_resnet50", "test_parcnet", "test_parcnetv2"])
def test_backbones_of_every_kind_take_large_images_that_are_not_square(backbone):
    spec = replace(spec_of("faster_rcnn", backbone=backbone), backbone_kwargs=SLIM.get(backbone, {}))
    with torch.device("meta"):
        network = build_network(spec)
    check_input(network, spec, size=(800, 1344))
