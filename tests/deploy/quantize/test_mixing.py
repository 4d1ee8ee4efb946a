"""Which nodes break a network, and which are raised; measured on pictures that need not fit into the memory."""

import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from conv_bundle import FEW
from parckit import quantize
from parckit.contract import InputError
from parckit.data import Batch, image_loader
from parckit.deploy.quantize import (
    Scheme,
    find_sensitivity,
    mixing,
    read_scheme,
    rules,
    yardstick,
)
from parckit.deploy.quantize.mixing import drop_of
from parckit.deploy.quantize.onnx import write
from parckit.deploy.quantize.pictures import open_table
from parckit.deploy.quantize.progress import show_nothing
from parckit.deploy.quantize.sensitivity import fingerprint_of, read_sensitivity
from parckit.deploy.quantize.steps import choose_pictures, open_float, prepare
from parckit.deploy.quantize.yardstick import Measure, Yardstick, ratio_in_decibels
from parckit.measure.evaluation_data import EvaluationData
from pictures import write_pictures


def test_sensitivity_names_the_node_that_breaks_a_network(spoiled, colours, tmp_path):
    # The operators between those with weights stay in float32, so that one node alone meets the huge channel.
    file, few = tmp_path / "nodes.json", replace(FEW, equalize=False, between=False)
    result = find_sensitivity(spoiled, colours, file=file, settings=few)
    assert {node.node for node in result.nodes} == {"first", "depthwise", "pointwise", "head"}
    # The huge channel is the input of this node. The depthwise convolution gives it on in float, through its ReLU.
    assert result.ranked[0].node == "pointwise"
    worst, best = result.ranked[0], result.ranked[-1]
    assert worst.alone.sqnr < best.alone.sqnr - 10
    assert result.reference.sqnr == 200
    # A measurement that was stopped is continued: nodes that are in the file are not measured again.
    plain = json.loads(file.read_text())
    kept = {**plain["nodes"][0], "operator": "known"}
    file.write_text(json.dumps({**plain, "nodes": [kept]}))
    seen: list[str] = []

    def progress(items, *, description):
        for item in items:
            seen.append(item) if description == "measuring nodes" else None
            yield item

    again = find_sensitivity(spoiled, colours, file=file, settings=few, progress=progress)
    assert len(seen) == 3
    assert [node.operator for node in again.nodes].count("known") == 1
    # Results of other settings are neither mixed with these nor lost.
    with pytest.raises(InputError, match=r"nodes\.json: holds results of another network, other pictures, other"):
        find_sensitivity(spoiled, colours, file=file, settings=replace(few, samples=10))
    assert read_sensitivity(file) == again


def test_results_belong_to_their_pictures(floats, colours, tmp_path):
    network = open_float(floats)
    pictures = choose_pictures(network, colours, settings=FEW, work=tmp_path, progress=show_nothing)
    others = [
        replace(pictures, held_out_digests=pictures.held_out_digests[1:]),
        replace(pictures, digests=pictures.digests[1:]),
        replace(pictures, has_labels=False),
    ]
    assert len({fingerprint_of(network, some, FEW) for some in (pictures, *others)}) == 4
    assert fingerprint_of(network, pictures, replace(FEW, seconds=1)) == fingerprint_of(network, pictures, FEW)


def test_a_single_picture_is_refused_by_its_source(floats, tmp_path):
    source = write_pictures(tmp_path / "one", count=1, colours=["red"]) / "red"
    with pytest.raises(InputError, match="one/red: no picture is left to measure on"):
        find_sensitivity(floats, source, file=tmp_path / "nodes.json", settings=FEW)


@pytest.mark.parametrize(("room", "kept"), [(100, 8), (2, 2), (0, 0)])
def test_only_some_pictures_stay_in_memory(floats, colours, monkeypatch, room, kept):
    session = open_float(floats).session
    table, _ = open_table(EvaluationData(source=str(colours), split="train"), session.spec)
    expected = Yardstick(session, table, has_labels=True).measure(session)
    loaded: list[weakref.ref[torch.Tensor]] = []

    def load(*args: object, **options: object) -> Iterator[Batch]:
        for batch in image_loader(*args, **options):
            loaded.append(weakref.ref(batch.images))
            yield batch

    monkeypatch.setattr(yardstick, "image_loader", load)
    monkeypatch.setattr(yardstick, "BATCH", 7)
    monkeypatch.setattr(yardstick, "_bytes_of", lambda batch: 1)
    monkeypatch.setattr(yardstick, "_MOST_BYTES", room)
    limited = Yardstick(session, table, has_labels=True)
    measures = [limited.measure(session) for _ in range(2)]
    gc.collect()
    assert sum(batch() is not None for batch in loaded) == kept
    assert [(one.agreement, one.score) for one in measures] == 2 * [(expected.agreement, expected.score)]


def test_the_fewest_nodes_are_raised(spoiled, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("parckit.deploy.quantize.mixing._SECONDS", 0.05)
    # Without labels, the drop is the share of answers that differ from the float network's.
    plain = write_pictures(tmp_path / "others", count=20, colours=["red"], seed=2) / "red"
    settings = replace(FEW, equalize=False, max_drop=0.0, least_agreement=0)
    contract = quantize(spoiled, colours, eval_data=str(plain), settings=settings)
    scheme = read_scheme(spoiled / "onnx-int8" / "quantization.json")
    raised = [name for name, bits in scheme.bits.items() if bits is None]
    # They write and read the map with the huge channel between them. No other node need be in float32.
    assert set(raised) == {"relu", "pointwise"}
    assert "times as fast" in scheme.reasons["pointwise"]
    assert contract.artefact("onnx-int8").checks[0].passed


@pytest.mark.parametrize(("drop", "stored"), [(0.4, {"w3"}), (0.6, set())])
def test_weights_of_a_raised_node_are_stored_in_8_bits_if_the_drop_allows_it(
    floats, colours, tmp_path, monkeypatch, drop, stored
):
    monkeypatch.setattr(rules, "_LARGE", 1)
    monkeypatch.setattr(mixing, "_tell_cost", lambda *_, name: name)
    network = open_float(floats)
    pictures = choose_pictures(network, colours, settings=FEW, work=tmp_path, progress=show_nothing)
    source = prepare(network, pictures, settings=replace(FEW, rounding="nearest"), progress=show_nothing)

    class StandIn:
        """Loses 5 points with the node in 8 bits, and `drop` with only its weights in 8 bits."""

        def __init__(self, *_: object) -> None: ...

        def measure_scheme(self, scheme: Scheme) -> Measure:
            lost = 5.0 if scheme.bits["pointwise"] else drop if "w3" in scheme.stored else 0.0
            return Measure(agreement=1.0, sqnr=20.0, score=90.0 - lost)

    monkeypatch.setattr(mixing, "Trial", StandIn)
    known = SimpleNamespace(images=3, reference=Measure(agreement=1.0, sqnr=200.0, score=90.0))
    mixed = mixing.mix(source, known, lambda: ["pointwise"], most=0.5, raised_to=None).scheme
    assert set(mixed.stored) - set(source.scheme.stored) == stored
    assert f"this mix {drop if stored else 0:.2f}" in mixed.reasons["pointwise"]


def test_no_node_is_raised_without_need(bundle, colours):
    seen: list[str] = []

    def progress(items, *, description):
        seen.append(description)
        return items

    quantize(bundle, colours, eval_data=str(colours), settings=replace(FEW, max_drop=60.0), progress=progress)
    assert "ranking nodes" not in seen  # takes long
    scheme = read_scheme(bundle / "onnx-int8" / "quantization.json")
    assert None not in scheme.bits.values()


def test_calibration_pictures_are_no_evaluation_pictures(bundle, colours, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(colours / "train", copy / "test")
    with pytest.raises(InputError, match="12 of its pictures are calibration pictures"):
        quantize(bundle, colours, eval_data=str(copy), settings=replace(FEW, max_drop=1.0))


def test_a_drop_that_onnx_runtime_cannot_measure_is_refused(bundle, colours):
    settings = replace(FEW, engines=("onnxruntime", "litert"), max_drop=0.5)
    with pytest.raises(InputError, match="nothing that it says holds for litert"):
        quantize(bundle, colours, eval_data=colours, settings=settings)


def test_a_drop_is_of_the_score_or_of_the_answers():
    one, other = Measure(agreement=1.0, sqnr=200.0, score=90.0), Measure(agreement=0.98, sqnr=20.0, score=89.5)
    assert drop_of(other, one) == pytest.approx(0.5)
    assert drop_of(replace(other, score=None), one) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"), [(1.0, 0.01, 20.0), (1.0, 0.0, 200.0), (0.0, 0.0, 200.0), (0.0, 1.0, -200.0)]
)
def test_ratios_are_finite(signal, noise, ratio):
    assert ratio_in_decibels(signal, noise) == pytest.approx(ratio)


def test_a_mix_is_measured_as_without_fusions(floats, colours, tmp_path):
    """So a drop tells what 8 and 16 bits cost, not what ONNX Runtime's fused operators do."""
    pictures = choose_pictures(open_float(floats), colours, settings=FEW, work=tmp_path, progress=show_nothing)
    source = prepare(open_float(floats), pictures, settings=FEW, progress=show_nothing)
    scheme = mixing.raise_nodes(source.scheme, [*source.scheme.bits][::2], to=16)
    path = tmp_path / write(replace(source, scheme=scheme), folder=tmp_path).main_file
    answers: list[np.ndarray] = []
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(path, options)
        answers.append(np.concatenate([session.run(None, {"image": image[None]})[0] for image in pictures.images]))
    lowest, highest = source.scheme.ranges["logits"]
    # Sums whose last bits differ may be rounded to the step beside, two nodes in a row.
    assert np.abs(answers[0] - answers[1]).max() <= 2.01 * (highest - lowest) / 255
