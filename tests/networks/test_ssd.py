"""SSD equals the official network at every stage: maps, predictions, priors, boxes, matching, negatives and loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backbones import SLIM
from golden_fixtures import official_state_dict, read_keys, stored_cases
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import Objects
from parckit.measure.cost import count
from parckit.networks import build_network, head_of, load_official_network
from parckit.networks.head_settings import read_head_settings
from parckit.networks.ssd import SsdSettings
from parckit.processing import Geometry, SsdDecoder, decode_offsets
from parckit.tasks.ssd_loss import SsdLoss, encode_offsets, hard_negatives, match

SIZE = (320, 320)
SPEC = NetworkSpec(
    task="detect",
    backbone="parcnet_s",
    head="ssd",
    labels=tuple(f"class {number}" for number in range(1, 81)),
    preprocessing=Preprocessing(size=SIZE, fit="stretch", channel_order="bgr"),
)
WHOLE = Geometry(picture_size=SIZE, input_size=SIZE, scale=(1.0, 1.0), offset=(0.0, 0.0))
MAPS = {
    "layer_4": "backbone.model.stages.3",
    "layer_5": "backbone.model.stages.4",
    "extra_layers.os_64": "extra.0",
    "extra_layers.os_128": "extra.1",
    "extra_layers.os_256": "extra.2",
    "extra_layers.os_-1": "to_global",
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.device("meta"):
        network = build_network(SPEC)
    network = network.to_empty(device="cpu").eval()
    load_official_network(network, SPEC, official_state_dict("ssd_parcnet_s"))
    return network


@pytest.fixture(scope="module")
def outputs(network) -> dict[str, torch.Tensor]:
    """Run the network once; return its maps and outputs by their official names."""
    results: dict[str, torch.Tensor] = {}

    def keep(name):
        return lambda _module, _inputs, output: results.update({name: output})

    hooks = [network.get_submodule(ours).register_forward_hook(keep(name)) for name, ours in MAPS.items()]
    with torch.no_grad():
        logits, offsets = network(stored_cases("ssd_parcnet_s_320")[0].make_input())
    for hook in hooks:
        hook.remove()
    return results | {"logits": logits, "locations": offsets}


@pytest.fixture(scope="module")
def priors() -> np.ndarray:
    return read_head_settings(SsdSettings, SPEC).priors.priors(SIZE)


def test_it_costs_what_the_official_one_costs(network):
    facts = read_keys("ssd_parcnet_s")
    cost = count(network, size=SIZE)
    assert (cost.params, cost.madds) == (facts["params"], facts["madds"]["320x320"])


@pytest.mark.parametrize("case", stored_cases("ssd_parcnet_s_320"))
def test_maps_and_predictions_are_the_official_ones(outputs, priors, case):
    for name in (*MAPS, "locations"):
        case.assert_equal(name, outputs[name])
    rows = torch.from_numpy(case.arrays["conf_idx"].astype(np.int64))
    case.assert_equal("confidences_at_conf_idx", outputs["logits"][:, rows])
    case.assert_equal("boxes_corner_at_conf_idx", torch.from_numpy(boxes_of(outputs, priors)[rows]))


@pytest.mark.parametrize("case", stored_cases("ssd_parcnet_s_320"))
def test_priors_are_the_official_ones(priors, case):
    facts = case.meta["arrays"]["anchors"]
    sample = priors[None][tuple(slice(None, None, step) for step in facts.get("stride") or (1,))]
    np.testing.assert_array_equal(sample, case.arrays["anchors"])


@pytest.mark.parametrize("case", stored_cases("ssd_parcnet_s_320"))
@pytest.mark.parametrize(("name", "threshold"), [("det015", 0.15), ("det", 0.05)])
def test_detections_are_the_official_ones(outputs, case, name, threshold):
    parameters = head_of(SPEC).decoder(SPEC).parameters
    decoder = SsdDecoder(SPEC.labels, **parameters, threshold=threshold, most=10_000)
    (answer,) = decoder([outputs["logits"].numpy(), outputs["locations"].numpy()], [WHOLE])
    # The official order: class by class, the best box of a class first.
    order = np.lexsort((-answer.scores, answer.labels))
    ours = {"labels": answer.labels[order] + 1, "scores": answer.scores[order], "boxes": answer.boxes[order] / 320}
    for kind, values in ours.items():
        facts = case.meta["arrays"][f"{name}_{kind}"]
        assert list(values.shape) == facts["shape"]
        sample = values[tuple(slice(None, None, step) for step in facts.get("stride") or (1,))]
        expected = case.arrays[f"{name}_{kind}"]
        # The official boxes are cut at the picture's borders by the evaluation, ours by the decoder.
        expected = expected.clip(0, 1) if kind == "boxes" else expected
        np.testing.assert_allclose(sample, expected, rtol=0, atol=5e-6)  # some float32 roundings of numbers up to 1


@pytest.mark.parametrize("case", stored_cases("ssd_match_320"))
def test_matching_negatives_and_loss_are_the_official_ones(outputs, priors, case):
    objects = official_objects(case)
    matches = match(objects, torch.from_numpy(priors.copy()), size=SIZE)
    step = (case.meta["arrays"]["matched_labels"].get("stride") or [1])[0]
    np.testing.assert_array_equal(matches.labels[::step], case.arrays["matched_labels"])
    at = torch.from_numpy(case.arrays["pos_idx"].astype(np.int64))
    case.assert_equal("matched_locations_at_pos", matches.offsets[at])
    counted = (matches.labels > 0)[None] | hard_negatives(outputs["logits"], (matches.labels > 0)[None])
    np.testing.assert_array_equal(counted[0, ::step], case.arrays["mined_mask"].astype(bool))
    sums, positives = SsdLoss(read_head_settings(SsdSettings, SPEC).priors)(
        [outputs["logits"], outputs["locations"]], [objects], size=SIZE
    )
    facts = case.meta["match"]
    assert positives.tolist() == [facts["n_pos"]]
    assert float(sums / positives) == pytest.approx(facts["total"], rel=1e-5)  # a sum of 84 terms in float32


def test_an_image_without_objects_adds_nothing_and_is_finite(outputs):
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    crowd = Objects(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([1]), torch.tensor([True]))
    pair = [torch.cat([outputs[name]] * 2) for name in ("logits", "locations")]
    sums, positives = SsdLoss(read_head_settings(SsdSettings, SPEC).priors)(pair, [empty, crowd], size=SIZE)
    assert sums.tolist() == [0, 0]
    assert positives.tolist() == [0, 0]


def test_two_thousand_objects_are_matched():
    boxes = torch.rand(2000, 2).repeat(1, 2) * 288 + torch.tensor([0.0, 0.0, 32.0, 32.0])
    many = Objects(boxes, torch.arange(2000) % 80, torch.zeros(2000, dtype=torch.bool))
    priors = torch.from_numpy(read_head_settings(SsdSettings, SPEC).priors.priors(SIZE).copy())
    labels, offsets = match(many, priors, size=SIZE)
    assert (labels > 0).sum() > 400  # of 400 positions with priors of that size
    assert offsets.isfinite().all()


def test_offsets_are_the_inverse_of_boxes(outputs, priors):
    boxes = boxes_of(outputs, priors)
    offsets = encode_offsets(torch.from_numpy(boxes), torch.from_numpy(priors.copy()))
    # exp and log in float32, of offsets up to 5.
    np.testing.assert_allclose(offsets, outputs["locations"][0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("backbone", ["mobilevit_xxs", "parc_convnext_xt", "test_parcnetv2"])
def test_any_backbone_has_as_many_predictions_as_priors(backbone):
    spec = replace(SPEC, backbone=backbone, backbone_kwargs=SLIM.get(backbone, {}), labels=("a", "b"))
    size = (256, 320)
    with torch.device("meta"):
        network = build_network(spec)
    logits, offsets = network(torch.empty(2, 3, *size, device="meta"))
    priors = len(read_head_settings(SsdSettings, spec).priors.priors(size))
    assert (logits.shape, offsets.shape) == ((2, priors, 3), (2, priors, 4))


def test_mobilevit_gives_the_map_before_the_classifiers_layer():
    with torch.device("meta"):
        network = build_network(replace(SPEC, backbone="mobilevit_s"))
    assert network.backbone.channels == (128, 160)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"scales": [0.1, 0.2]}, "2 scales"),
        ({"ratios": [[2.0]]}, "1 lists of ratios"),
        ({"size": 3}, "'size' is unknown"),
        ({"scales": "many"}, "not a list"),
    ],
)
def test_wrong_keywords_are_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        build_network(replace(SPEC, head_kwargs=keywords))


def test_a_backbone_without_the_strides_is_refused():
    with pytest.raises(InputError, match=r"parcnet_xxs: has no map of stride 32; it has strides \[1, 2, 4, 8, 16\]"):
        build_network(replace(SPEC, backbone="parcnet_xxs"))


def boxes_of(outputs, priors) -> np.ndarray:
    return decode_offsets(outputs["locations"][0].numpy(), priors)


def official_objects(case) -> Objects:
    boxes, labels = case.arrays["gt_boxes_corner"], case.arrays["gt_labels"]
    return Objects(
        boxes=torch.from_numpy(boxes) * 320,
        labels=torch.from_numpy(labels.astype(np.int64)) - 1,
        crowd=torch.zeros(len(labels), dtype=torch.bool),
    )
