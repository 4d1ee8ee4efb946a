"""Layers from the events of ONNX Runtime's profiler, with the shapes that it writes."""

import pytest
from torch import nn

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import InputError
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.cost import count
from parckit.measure.profile_onnxruntime import read_layers
from parckit.measure.profile_torch import OUTSIDE
from parckit.measure.profiling import Layer, Profile, profile
from parckit.networks import build_network, save_weights
from parckit.runtimes import engines


def event(kind: str, *, node: int, dur: int, inputs=(), output=(1,)) -> dict[str, object]:
    arguments = {
        "op_name": kind,
        "node_index": str(node),
        "input_type_shape": [{"float": list(shape)} for shape in inputs],
        "output_type_shape": [{"float": list(output)}],
    }
    return {"cat": "Node", "name": f"{kind}_kernel_time", "dur": dur, "args": arguments}


def test_the_time_of_a_layer_is_the_median_of_its_runs():
    session = {"cat": "Session", "name": "model_run", "dur": 999, "args": {}}
    events = [session, *(event("Add", node=node, dur=dur) for dur in (900, 20, 30) for node in (7, 4))]
    assert [(layer.name, layer.milliseconds, layer.madds) for layer in read_layers(events)] == [("Add", 0.03, None)] * 2


def test_a_branch_is_its_layers():
    """A graph inside a node counts its own nodes from 0, and the time of the node holds theirs."""
    events = [event("Add", node=0, dur=10), event("Mul", node=0, dur=20), event("If", node=1, dur=25)]
    assert [(layer.kind, layer.milliseconds) for layer in read_layers(events)] == [("Add", 0.01), ("Mul", 0.02)]


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "madds"),
    [
        # 8 output channels of 5x5 positions; 3 channels with 3x3 taps each.
        ("Conv", [(1, 3, 5, 5), (8, 3, 3, 3), (8,)], (1, 8, 5, 5), 8 * 25 * 27),
        ("FusedConv", [(1, 8, 5, 5), (8, 1, 5, 1)], (1, 8, 5, 5), 8 * 25 * 5),  # depthwise, along the height
        ("QLinearConv", [(1, 3, 5, 5), (1,), (1,), (8, 3, 1, 1)], (1, 8, 5, 5), 8 * 25 * 3),
        ("ConvTranspose", [(1, 3, 5, 5), (3, 8, 2, 2)], (1, 8, 10, 10), 3 * 25 * 8 * 4),
        ("MatMul", [(2, 4, 6), (2, 6, 3)], (2, 4, 3), 2 * 4 * 3 * 6),
        ("MatMul", [(2, 4, 6)], (2, 4, 3), 2 * 4 * 3 * 6),  # the engine packed the second factor
        ("FusedMatMul", [(6, 4), (6, 3)], (4, 3), 4 * 3 * 6),  # the first factor is transposed
        ("Gemm", [(1, 6), (3,)], (1, 3), 3 * 6),
        ("MatMul", [(6,), (6, 3)], (3,), None),
        ("Mul", [(1, 8, 5, 5), (1, 8, 1, 1)], (1, 8, 5, 5), None),
    ],
)
def test_multiply_adds_follow_from_the_shapes(kind, inputs, output, madds):
    (layer,) = read_layers([event(kind, node=0, dur=1, inputs=inputs, output=output)])
    assert layer.madds == madds
    assert layer.output == output


@pytest.mark.parametrize(
    ("channels", "weight", "kind"),
    [
        (4, (8, 4, 1, 1), "pointwise"),
        (8, (8, 1, 3, 3), "depthwise"),
        (8, (8, 1, 1, 7), "along an axis"),
        (8, (8, 2, 3, 3), "full"),
        (1, (8, 1, 3, 3), "full"),  # the first one for grey images
    ],
)
def test_a_convolution_is_told_with_its_kernel(channels, weight, kind):
    (layer,) = read_layers([event("Conv", node=0, dur=1, inputs=[(1, channels, 4, 4), weight], output=(1, 8, 4, 4))])
    assert layer.kind == f"Conv, {kind}"


def test_shares_and_sums():
    def layer(kind: str, milliseconds: float, madds: int | None) -> Layer:
        return Layer(name="a", kind=kind, milliseconds=milliseconds, madds=madds, output=(1,))

    layers = (layer("Add", 1.0, None), layer("Conv", 2.0, 10_000_000), layer("Conv", 2.0, 30_000_000))
    result = Profile(layers=layers, run_ms=4.0, threads=1, ceiling_gflops=40.0)
    assert (result.layers_ms, result.madds) == (5.0, 40_000_000)
    assert [(kind.kind, kind.layers, kind.milliseconds, kind.madds) for kind in result.kinds()] == [
        ("Conv", 2, 4.0, 40_000_000),
        ("Add", 1, 1.0, None),
    ]
    # 40 million multiply-adds in 4 ms are 20 GFLOP/s.
    assert result.share_of_ceiling(result.madds, 4.0) == pytest.approx(0.5)
    assert result.share_of_ceiling(None, 4.0) is None
    assert result.share_of_ceiling(1, 0.0) is None


def test_a_real_graph_has_a_profile(tmp_path):
    (candidate,) = find_candidates([write_tiny_bundle(tmp_path / "bundle")], Wanted())
    result = profile(candidate, threads=1, seconds=0.01)
    assert {"GlobalAveragePool"} <= {layer.kind for layer in result.layers}
    assert result.madds == 15  # 3 x 4 weights, and a ballast of 3 x 1
    assert result.run_ms > 0
    assert result.ceiling_gflops > 0


def test_a_checkpoint_has_a_profile_of_its_modules(tmp_path):
    spec = tiny_spec((32, 48))
    network = build_network(spec)
    save_weights(network, spec, tmp_path / "small.safetensors")
    (candidate,) = find_candidates([tmp_path / "small.safetensors"], Wanted())
    result = profile(candidate, threads=1, seconds=0.01)
    convolutions = [name for name, module in network.named_modules() if type(module) is nn.Conv2d]
    assert [layer.name for layer in result.layers if layer.kind.startswith("Conv2d, ")] == convolutions
    # Nothing multiplies outside of modules, so no multiply-add is lost; the circular convolutions may run as products.
    assert result.madds >= count(network, size=spec.preprocessing.size).madds
    (rest,) = (layer for layer in result.layers if layer.kind == OUTSIDE)
    assert 0 < rest.milliseconds < result.layers_ms


def test_other_engines_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda package: object())
    (candidate,) = find_candidates([write_tiny_bundle(tmp_path / "bundle")], Wanted(engines=("opencv",)))
    with pytest.raises(InputError, match="only candidates on onnxruntime or openvino or torch"):
        profile(candidate, threads=1, seconds=0.01)
