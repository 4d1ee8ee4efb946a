"""What every model of this package promises, whichever family it belongs to."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import DropPath
from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from torch import nn

from backbones import CHEAP, NAMES, SIZES, assert_close, images, make, on_meta, parameters_of, reduced

every = pytest.mark.parametrize("name", NAMES)
cheap = pytest.mark.parametrize("name", CHEAP)


def test_the_package_registers_its_models():
    assert {"parcnet_xs", "parcnet_s", "parcnet_h", "parcnet_xxs", "test_parcnet"} <= {*NAMES}
    assert {"parcnet_xxs", "test_parcnet"} <= {*CHEAP}


@every
def test_the_name_is_none_of_timms_own(name):
    # timm.models holds every function and file of timm's own, also after a name was registered over.
    assert not hasattr(timm.models, name)
    assert not hasattr(timm.models, timm.model_entrypoint(name).__module__.rsplit(".", 1)[-1])


def test_small_models_stay_small():
    assert parameters_of("parcnet_xxs") <= 1.0e6
    assert parameters_of("test_parcnet") <= 0.2e6


@every
@torch.no_grad()
def test_the_models_own_size_works(name):
    model = make(name)
    config = model.pretrained_cfg
    chans, *size = config["input_size"]
    assert model(images(*size, chans=chans)).shape == (2, config["num_classes"])
    assert reduced(size, model.feature_info[-1]["reduction"]) == config["pool_size"]
    for layer in (config["first_conv"], config["classifier"]):
        assert model.get_submodule(layer).weight is not None


@pytest.mark.parametrize("size", SIZES, ids=str)
@cheap
@torch.no_grad()
def test_any_height_and_width_work(name, size):
    out = make(name)(images(*size))
    assert out.shape == (2, 1000)
    assert out.isfinite().all()
    # The images differ, and so do their logits.
    assert (out[0] - out[1]).abs().max() > 1e-6


@cheap
def test_every_parameter_gets_a_gradient(name):
    model = make(name, num_classes=5).train()
    # Three samples and more: with two, the gate's norm turns all into plus and minus one.
    nn.functional.cross_entropy(model(images(33, 65, batch=4)), torch.arange(4)).backward()
    without = [path for path, parameter in model.named_parameters() if parameter.grad is None]
    zero = [path for path, parameter in model.named_parameters() if not parameter.grad.any()]
    assert (without, zero) == ([], [])


@every
def test_no_key_of_the_state_dict_is_another_ones_alias(name):
    model = on_meta(name)
    for named in (model.named_parameters, model.named_buffers):
        assert len([*named(remove_duplicate=False)]) == len([*named()])
    assert len(model.state_dict()) == len([*model.named_parameters()]) + len([*model.named_buffers()])


@cheap
@torch.no_grad()
def test_the_state_dict_holds_the_whole_model(name):
    model, x = make(name), images(33, 65)
    torch.manual_seed(99)
    other = timm.create_model(name).eval()
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


@cheap
@torch.no_grad()
def test_weights_of_a_file_fit_other_channels_and_classes(name, tmp_path):
    model = make(name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    overlay = {"file": str(tmp_path / "weights.safetensors")}
    grey = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=7).eval()
    x = images(40, 48, chans=1)
    assert grey(x).shape == (2, 7)
    # timm sums the first convolution's channels, so that a grey image gives what it gives as a coloured one.
    assert_close(grey.forward_features(x), model.forward_features(x.expand(-1, 3, -1, -1)))


@every
@torch.no_grad()
def test_images_may_have_any_number_of_channels(name):
    for chans in (1, 4):
        assert timm.create_model(name, in_chans=chans).eval()(images(33, 65, chans=chans)).shape == (2, 1000)


@every
@torch.no_grad()
def test_without_classes_come_pooled_or_whole_features(name):
    model = timm.create_model(name, num_classes=0).eval()
    whole = timm.create_model(name, num_classes=0, global_pool="").eval()
    x = images(33, 65)
    size = reduced((33, 65), model.feature_info[-1]["reduction"])
    assert model(x).shape == (2, model.num_features)
    assert whole(x).shape == whole.forward_features(x).shape == (2, model.num_features, *size)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.head_hidden_size)


@every
@torch.no_grad()
def test_the_classifier_can_be_replaced(name):
    model, x = timm.create_model(name, num_classes=10).eval(), images(33, 65)
    assert model(x).shape == (2, 10)
    model.reset_classifier(7)
    assert (model.num_classes, model.get_classifier().out_features) == (7, 7)
    assert model(x).shape == (2, 7)
    model.reset_classifier(0, "")
    assert (model.num_classes, model(x).ndim) == (0, 4)


@every
def test_drop_path_grows_to_its_rate(name):
    rates = [module.drop_prob for module in on_meta(name, drop_path_rate=0.2).modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] == pytest.approx(0.2)
    assert {module.drop_prob for module in on_meta(name).modules() if isinstance(module, DropPath)} == {0}


@pytest.mark.parametrize("coarse", [False, True])
@every
def test_layer_groups_cover_all_parameters_in_depth_order(name, coarse):
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    grouped = [path for paths in groups.values() for path in paths]
    assert sorted(grouped) == sorted(path for path, _ in model.named_parameters())
    first, *_, last = (groups[key] for key in sorted(groups))
    parts = [path.split(".")[0] for path in model.state_dict()]
    assert {path.split(".")[0] for path in first} == {parts[0]}
    assert {path.split(".")[0] for path in last} == {parts[-1]}
    assert len(groups) >= len(model.feature_info) + 2


@cheap
def test_learning_rates_can_decay_by_layer(name):
    model = make(name)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1.0, layer_decay=0.5)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    scale = {id(parameter): group["lr_scale"] for group in optimizer.param_groups for parameter in group["params"]}
    parameters = [*model.parameters()]
    assert scale[id(parameters[0])] < 0.1 < scale[id(parameters[-1])] == 1


@cheap
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


@cheap
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


@cheap
def test_models_can_be_exported_as_programs(name):
    model, x = make(name), images(33, 65)
    program = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        assert_close(program(x), model(x))
