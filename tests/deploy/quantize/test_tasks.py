"""Networks of all tasks are quantized; the check is the task's own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundles import tiny_artefact
from conv_bundle import conv_graph
from labelled import write_pairs
from parckit import evaluate, quantize
from parckit.contract import (
    Contract,
    DecoderSpec,
    NetworkSpec,
    OutputSpec,
    Preprocessing,
    Task,
    sha256_of,
    write_contract,
)
from parckit.data import Table
from parckit.deploy.quantize import QuantizeSettings
from parckit.deploy.quantize.pictures import PartOfTable, open_table
from parckit.deploy.quantize.yardstick import Measure, Yardstick
from parckit.measure.evaluation_data import EvaluationData
from parckit.processing import MULTILABEL, SEGMENT, TINYDET, TinyDetDecoder, usual_settings
from parckit.runtimes import open_session

FEW = QuantizeSettings(seconds=0, samples=10, calibrator="minmax", least_agreement=0.3, accepted_drop=100)
SIDE = 32


def network(*, maps: Sequence[tuple[str, int]]) -> onnx.ModelProto:
    """Return convolutions of stride 4, and a 1x1 convolution for each map: its name and its channels."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 4, 4)) / 3, "b": rng.standard_normal(8) / 4}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["stem"], "stem", strides=[4, 4]),
        helper.make_node("Relu", ["stem"], ["relu"], "relu"),
    ]
    for name, channels in maps:
        weights |= {f"{name}_w": rng.standard_normal((channels, 8, 1, 1)), f"{name}_b": rng.standard_normal(channels)}
        nodes.append(helper.make_node("Conv", ["relu", f"{name}_w", f"{name}_b"], [name], f"{name}_conv"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, SIDE // 4, SIDE // 4])
        for name, channels in maps
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "maps", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def write(folder: Path, graph: onnx.ModelProto, spec: NetworkSpec, decoder: DecoderSpec) -> Path:
    file = folder / "onnx-fp32" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(graph, file)
    shapes = {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in graph.graph.output
    }
    outputs = tuple(
        OutputSpec(name=name, dtype="float32", layout="NCHW"[: len(shape)], shape=shape)
        for name, shape in shapes.items()
    )
    artefact = tiny_artefact(file)
    artefact = replace(
        artefact,
        input=replace(artefact.input, shape=(1, 3, *spec.preprocessing.size)),
        outputs=outputs,
        decoder=decoder,
        files={"onnx-fp32/model.onnx": sha256_of(file)},
    )
    write_contract(Contract(spec=spec, artefacts=(artefact,), params=1, madds=1, versions={}), folder)
    return folder


DIGITS = tuple(map(str, range(10)))


@pytest.mark.parametrize(
    ("task", "head", "labels", "maps", "decoder"),
    [
        ("segment", "upernet", ("background", *DIGITS), [("logits", 11)], DecoderSpec(name=SEGMENT)),
        (
            "detect",
            "tinydet",
            DIGITS,
            [("logits_0", 10), ("distances_0", 4)],
            DecoderSpec(name=TINYDET, parameters={"strides": [4]}, defaults=usual_settings(TinyDetDecoder)),
        ),
    ],
)
def test_maps_of_boxes_and_pixels(tmp_path, task: Task, head, labels, maps, decoder):
    spec = NetworkSpec(
        task=task, backbone="test_parcnet", head=head, labels=labels, preprocessing=Preprocessing(size=(SIDE, SIDE))
    )
    bundle = write(tmp_path / "bundle", network(maps=maps), spec, decoder)
    (check,) = quantize(bundle, "digit_scenes", settings=FEW).artefact("onnx-int8").checks
    assert check.passed
    assert check.figures["agreement"] > 0.8
    assert check.figures["sqnr"] > 10  # ten pictures do not show all numbers
    assert check.figures["int8_score"] == pytest.approx(check.figures["float_score"], abs=5)
    # Nodes are ranked on pictures whose labels nobody needs.
    session = open_session(bundle, artefact="onnx-fp32")
    table, _ = open_table(EvaluationData(source="digit_scenes", split="val"), session.spec)
    assert Yardstick(session, table, has_labels=True).part(2).reference == Measure(
        agreement=1.0, sqnr=200.0, score=None
    )


def test_a_part_of_a_table_reads_only_the_targets_that_are_asked_for():
    """A target may be a file with a mask."""
    asked: list[int] = []

    class Targets:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> int:
            asked.append(index)
            return 10 * index

    part = PartOfTable(table=cast("Table", SimpleNamespace(targets=Targets())), indices=np.array([3, 1]))
    assert len(part.targets) == 2
    assert part.targets[1] == 10
    assert asked == [1]


def test_several_labels_a_picture(tmp_path):
    labels = ("digit 0", "digit 1", "digit 2")
    spec = NetworkSpec(
        task="multilabel", backbone="test_parcnet", labels=labels, preprocessing=Preprocessing(size=(8, 8))
    )
    pairs = write_pairs(tmp_path / "pairs", digits=3, count=60, val=10)
    bundle = write(tmp_path / "bundle", conv_graph(), spec, MULTILABEL)
    (check,) = quantize(bundle, pairs, settings=FEW).artefact("onnx-int8").checks
    assert check.figures["sqnr"] > 10  # ten pictures do not show all numbers
    assert {"agreement", "int8_score"} <= check.figures.keys()
    assert evaluate(bundle, pairs, precision="int8").artefact == "onnx-int8"
