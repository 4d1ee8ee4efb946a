"""What torch's tools make of the unfused models: traces, exports, compiled models, graphs, transforms of functions."""

import copy
import io
import re
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from backbones import OURS, SHALLOW, assert_close, images, make
from parckit.layers import AxisConv2d, OversizedConv2d, ParCConv2d
from repository import ROOT

pytestmark = [pytest.mark.engines, pytest.mark.xdist_group("torch tools")]

# A hybrid stands for all: what it has from timm is timm's.
every = pytest.mark.parametrize("name", [*OURS, "parc_mobilenetv2"])
ours = pytest.mark.parametrize("name", OURS)
# A trace is for one size, and torch says so wherever the model asks for a size.
traces = pytest.mark.filterwarnings(
    "ignore:Converting a tensor to a Python:torch.jit.TracerWarning",
    "ignore:`torch.jit:FutureWarning",
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning",
    "ignore:The feature will be removed:DeprecationWarning",
    # The classic exporter reverses the widths of every padding.
    "ignore:Constant folding - Only steps=1:UserWarning",
)


def shallow(name: str, **kwargs: object) -> nn.Module:
    return make(name, **SHALLOW.get(name, {}), **kwargs)


@traces
@pytest.mark.parametrize("name", ["test_parcnet", "test_parcnetv2"])  # tests/contracts traces the EdgeViT
def test_a_trace_passes_torchs_own_check_and_takes_any_batch(name):
    model, x = shallow(name), images(64, 96, batch=3)
    # The trace runs with gradients, torch's check without.
    traced = torch.jit.trace(model, x[:2])
    with torch.no_grad():
        assert_close(traced(x), model(x))


@traces
# 11 is the lowest opset that `parckit export` offers. 20 has operators for layer norms and GELUs.
@pytest.mark.parametrize(("name", "opset"), [("test_parcnet", 11), ("test_edgevit", 11), ("test_parcnetv2", 20)])
def test_the_classic_exporter_writes_what_onnx_runtime_runs(name, opset):
    model, x, file = shallow(name), images(64, 96, batch=1), io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False, opset_version=opset, input_names=["image"])
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    # The graph of a small network is large, but matrices of the kernels in the file would be larger.
    assert len(file.getvalue()) < weights + 200_000
    (actual,) = onnxruntime.InferenceSession(file.getvalue()).run(None, {"image": x.numpy()})
    with torch.no_grad():
        assert_close(torch.from_numpy(actual), model(x))


@torch.no_grad()
def test_an_exported_program_with_open_sizes_takes_all_sizes_from_33():
    """The program of the documentation. That no other family branches on a size, the test of torch.fx shows, too."""
    text = (ROOT / "docs" / "other-libraries.md").read_text(encoding="utf-8")
    (block,) = (one for one in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.M) if "dynamic_shapes" in one)
    names: dict[str, Any] = {}
    # Symbolic shapes take torch seconds for every layer.
    small = block.replace('"parcnet_xxs"', '"test_parcnet", depths=(1, 1, 1)')
    exec(compile(small, "docs", "exec"), names)  # noqa: S102  # our own documentation
    for height, width, batch in ((64, 96, 1), (33, 65, 3), (224, 160, 2)):
        x = images(height, width, batch=batch)
        assert_close(names["network"](x), names["model"](x))


# The test above exports the ParC-Net.
@pytest.mark.parametrize("name", ["test_parcnetv2", "test_edgevit"])
def test_models_can_be_exported_as_programs(name):
    model, x = make(name, **SHALLOW[name]), images(33, 65)
    program = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        assert_close(program(x), model(x))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # deprecated, and still what many deploy
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # a trace holds for one size
@torch.no_grad()
def test_traced_models_can_be_saved_and_loaded(tmp_path):
    model, x = make("test_edgevit"), images(33, 65)
    torch.jit.trace(model, x, check_trace=False).save(tmp_path / "traced.pt")
    assert_close(torch.jit.load(tmp_path / "traced.pt")(x), model(x))


def test_a_model_compiles_in_one_piece():
    assert_same_when_compiled(make("test_parcnetv2", **SHALLOW["test_parcnetv2"]), images(33, 65), backend="eager")


def test_operators_compile_forward_and_backward():
    torch.manual_seed(0)
    model = nn.Sequential(ParCConv2d(8, (7, 7)), OversizedConv2d(8, 13, axis="width"))
    convs = [module for module in model.modules() if isinstance(module, AxisConv2d)]
    for conv, form in zip(convs, ("conv", "matmul", "matmul"), strict=True):
        conv.form = form
    # It needs no C compiler, and traces forward and backward as the default backend does.
    assert_same_when_compiled(model, torch.randn(2, 8, 9, 11), backend="aot_eager")


def assert_same_when_compiled(model, x, *, backend):
    out, gradients = {}, {}
    for run in (torch.compile(model, backend=backend, fullgraph=True), model):
        model.zero_grad()
        out[run] = run(x)
        out[run].square().mean().backward()
        gradients[run] = [parameter.grad for parameter in model.parameters()]
    assert_close(*out.values())
    for actual, expected in zip(*gradients.values(), strict=True):
        # Ten times what outputs are allowed: errors of tens of layers add up on the way back.
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


@every
@torch.no_grad()
def test_plain_torch_fx_traces_the_model_for_all_sizes(name):
    model = shallow(name)
    graph = torch.fx.symbolic_trace(model)
    for size in ((64, 96), (33, 65)):
        torch.testing.assert_close(graph(images(*size)), model(images(*size)), rtol=0, atol=0)


@every
@torch.no_grad()
def test_torchvisions_feature_extractor_gives_the_stages(name):
    model, x, wanted = shallow(name), images(64, 96), {}
    stages = [str(info["module"]) for info in model.feature_info]
    for stage in stages:
        model.get_submodule(stage).register_forward_hook(lambda _, __, out, stage=stage: wanted.update({stage: out}))
    model(x)
    for module in model.modules():
        module._forward_hooks.clear()
    actual = create_feature_extractor(model, stages)(x)
    for stage in stages:
        torch.testing.assert_close(actual[stage], wanted[stage], rtol=0, atol=0)


@every
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # torch itself calls it for forward-mode derivatives
def test_forward_mode_derivatives_are_the_backward_modes(name):
    model, x = shallow(name, num_classes=5).double(), images(64, 96).double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, tangent = torch.func.jvp(model, (x,), (direction,))
    weight = torch.randn(2, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model(x.requires_grad_()) * weight).sum(), x)
    # float64: rounding alone.
    torch.testing.assert_close((tangent * weight).sum(), (gradient * direction).sum(), rtol=1e-9, atol=0)


@ours
@pytest.mark.parametrize("with_gradients", [True, False])
def test_an_ensemble_runs_with_stacked_weights(name, with_gradients):
    models = [shallow(name, num_classes=5) for _ in range(2)]
    for parameter in models[1].parameters():
        parameter.detach().mul_(0.9)
    x = images(64, 96)
    stacked, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def run(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(skeleton, (weights, buffers), (x,))

    with torch.set_grad_enabled(with_gradients):
        actual = torch.func.vmap(run)(stacked, buffers)
        for out, model in zip(actual, models, strict=True):
            assert_close(out, model(x))


@ours
def test_gradients_of_every_image_alone_are_those_of_batches_of_one(name):
    model, x = shallow(name, num_classes=5), images(64, 96)
    weights = {path: parameter.detach() for path, parameter in model.named_parameters()}

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (image[None],)).logsumexp(1).sum()

    actual = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for i, image in enumerate(x):
        expected = torch.autograd.grad(model(image[None]).logsumexp(1).sum(), [*model.parameters()])
        for (path, _), gradient in zip(model.named_parameters(), expected, strict=True):
            # Sums over a map, in another order.
            assert (actual[path][i] - gradient).norm() <= 1e-4 * gradient.norm()
