"""What every model of this package promises, whichever family it belongs to."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import DropPath
from timm.models import group_parameters
from torch import nn

from backbones import (
    KINDS,
    NAMES,
    OURS,
    SMALLEST,
    assert_close,
    assert_reduced,
    fresh,
    hollow,
    images,
    make,
    on_meta,
    parameters_of,
    sizes_of,
)
from parckit.layers import AxisConv2d

every = pytest.mark.parametrize("name", NAMES)
kinds = pytest.mark.parametrize("name", KINDS)
smallest = pytest.mark.parametrize("name", SMALLEST)
# For what the hybrids have from timm.
ours = pytest.mark.parametrize("name", OURS)


def test_the_package_registers_its_models():
    families = ("parcnet_", "parcnetv2_", "edgevit_", "parc_edgevit_", "convnext_", "parc_convnext_", "parc_resnet")
    for family in (*families, "parc_mobilenet"):
        assert any(name.startswith(family) for name in NAMES)
    assert {"test_parcnet", "test_parcnetv2", "test_edgevit"} <= {*SMALLEST}


@every
def test_the_name_is_none_of_timms_own(name):
    # timm.models holds every function and file of timm's own, also after a name was registered over.
    assert not hasattr(timm.models, name)
    assert not hasattr(timm.models, timm.model_entrypoint(name).__module__.rsplit(".", 1)[-1])


@smallest
def test_a_side_that_is_none_is_refused(name):
    for img_size in (0, 32.0, "a", (64, 0)):
        with pytest.raises(ValueError, match="size"):
            on_meta(name, img_size=img_size)


def test_small_models_stay_small():
    assert parameters_of("parcnet_xxs") <= 1.0e6
    for name in NAMES:
        assert not name.startswith("test_") or parameters_of(name) <= 0.2e6


@kinds
@torch.no_grad()
def test_the_models_own_size_works(name):
    model = hollow(name)
    config = model.pretrained_cfg
    chans, *size = config["input_size"]
    features = model.forward_features(images(*size, chans=chans, batch=1))
    assert features.shape[2:] == config["pool_size"]
    assert model.forward_head(features).shape == (1, config["num_classes"])
    assert_reduced(config["pool_size"], size, model.feature_info[-1]["reduction"])
    for layer in (config["first_conv"], config["classifier"]):
        assert model.get_submodule(layer).weight is not None


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in KINDS for size in sizes_of(name)[1:]], ids=str)
@torch.no_grad()
def test_any_height_and_width_work(name, size):
    out = make(name)(images(*size))
    assert out.shape == (2, 1000)
    assert out.isfinite().all()
    # The images differ, and so do their logits.
    assert (out[0] - out[1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["test_parcnet", "test_parcnetv2", "test_edgevit"])
@pytest.mark.parametrize("img_size", [72])
@torch.no_grad()
def test_kernels_have_the_length_of_the_maps_at_the_native_size(name, img_size):
    def compare(conv: AxisConv2d, args: tuple[torch.Tensor, ...]) -> None:
        dim = {"height": 2, "width": 3}[conv.axis]
        taps, length = conv.weight.shape[dim], args[0].shape[dim]
        differing.append(taps != (2 * length - 1 if conv.padding == "zeros" else length))

    differing: list[bool] = []
    model = make(name, img_size=img_size)
    for module in model.modules():
        if isinstance(module, AxisConv2d):
            module.register_forward_pre_hook(compare)
    model(images(img_size, img_size))
    assert differing
    assert not any(differing)


@kinds
def test_every_parameter_gets_a_gradient(name):
    model = make(name, num_classes=5).train()
    # Three samples and more: with two, the gate's norm turns all into plus and minus one.
    nn.functional.cross_entropy(model(images(33, 65, batch=4)), torch.arange(4)).backward()
    without = [path for path, parameter in model.named_parameters() if parameter.grad is None]
    zero = [path for path, parameter in model.named_parameters() if not parameter.grad.any()]
    assert (without, zero) == ([], [])


@kinds
def test_no_key_of_the_state_dict_is_another_ones_alias(name):
    model = on_meta(name)
    for named in (model.named_parameters, model.named_buffers):
        assert len([*named(remove_duplicate=False)]) == len([*named()])
    assert len(model.state_dict()) == len([*model.named_parameters()]) + len([*model.named_buffers()])


@smallest
@torch.no_grad()
def test_the_state_dict_holds_the_whole_model(name):
    model, x = make(name), images(33, 65)
    torch.manual_seed(99)
    other = fresh(name).eval()
    assert not torch.allclose(other(x), model(x))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


@every
def test_unknown_keywords_are_refused(name):
    with pytest.raises(TypeError, match="deepness"):
        on_meta(name, deepness=3)


@every
def test_pretrained_raises_since_there_are_no_weights(name):
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        on_meta(name, pretrained=True)


@smallest
@torch.no_grad()
def test_weights_of_a_file_fit_other_channels_and_classes(name, tmp_path):
    model = make(name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    overlay = {"file": str(tmp_path / "weights.safetensors")}
    grey = fresh(name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=7).eval()
    x = images(40, 48, chans=1)
    assert grey(x).shape == (2, 7)
    # timm sums the first convolution's channels, so that a grey image gives what it gives as a coloured one.
    assert_close(grey.forward_features(x), model.forward_features(x.expand(-1, 3, -1, -1)))


@smallest
@torch.no_grad()
def test_images_may_have_four_channels(name):
    model = hollow(name, in_chans=4)
    assert model(images(33, 65, chans=4)).shape == (2, model.pretrained_cfg["num_classes"])
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 4


@smallest
@torch.no_grad()
def test_without_classes_come_pooled_or_whole_features(name):
    model, whole, x = hollow(name, num_classes=0), hollow(name, num_classes=0, global_pool=""), images(33, 65)
    assert model(x).shape == (2, model.num_features)
    features = model.forward_features(x)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert features.shape[:2] == (2, model.num_features)
    assert_reduced(features.shape[2:], (33, 65), model.feature_info[-1]["reduction"])
    assert whole(x).shape == whole.forward_features(x).shape == features.shape


@smallest
@torch.no_grad()
def test_the_classifier_can_be_replaced(name):
    model, x = hollow(name, num_classes=10), images(33, 65)
    assert model(x).shape == (2, 10)
    model.reset_classifier(7)
    assert (model.num_classes, model.get_classifier().out_features) == (7, 7)
    assert model(x).shape == (2, 7)
    model.reset_classifier(0, "")
    assert (model.num_classes, model(x).ndim) == (0, 4)


@ours
def test_drop_path_grows_to_its_rate(name):
    rates = [module.drop_prob for module in on_meta(name, drop_path_rate=0.2).modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert rates[0] < 0.1 < rates[-1] == pytest.approx(0.2)
    assert {module.drop_prob for module in on_meta(name).modules() if isinstance(module, DropPath)} <= {0}


@pytest.mark.parametrize("coarse", [False, True])
@smallest
def test_layer_groups_cover_all_parameters_in_depth_order(name, coarse):
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    group_of = {path: key for key, paths in groups.items() for path in paths}
    depths = [group_of[path] for path, _ in model.named_parameters()]
    assert len(depths) == len(group_of)
    assert depths == sorted(depths)
    assert len(groups) > 4
    config = model.pretrained_cfg
    assert group_of[f"{config['first_conv']}.weight"] == min(groups)
    assert group_of[f"{config['classifier']}.weight"] == max(groups)


@ours
def test_checkpointing_gives_the_same_gradients(name):
    gradients = []
    for enable in (False, True):
        model = make(name, num_classes=5, drop_path_rate=0.2).train()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(0)
        nn.functional.cross_entropy(model(images(33, 65, batch=4)), torch.arange(4)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert_close(checkpointed, plain)


@ours
def test_checkpointing_keeps_less_for_the_backward_pass(name):
    kept = []
    for enable in (False, True):
        model = make(name).train()
        model.set_grad_checkpointing(enable)
        seen = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, seen=seen: seen.setdefault(tensor.data_ptr(), tensor), lambda tensor: tensor
        ):
            model(images(64, 48))
        kept.append(sum(tensor.numel() for tensor in seen.values()) - parameters_of(name))
    assert kept[1] < 0.7 * kept[0]
