"""What timm's users expect of a registered model, beyond `test_backbones.py` and `test_features.py`.

`make timm` runs timm's own tests of models; these are the promises behind them, in short.
"""

import sys

import pytest
import timm
import torch

from backbones import OURS, SMALLEST, assert_close, fresh, hollow, images, make, on_meta
from parckit.models import __main__ as script_runner

ours = pytest.mark.parametrize("name", OURS)


@pytest.mark.parametrize(
    ("name", "features_only"), [*((name, False) for name in SMALLEST), *((name, True) for name in OURS)]
)
def test_a_model_is_made_where_and_as_precise_as_asked(name, features_only):
    for device in ("meta", "cpu"):
        model = fresh(name, device=device, dtype=torch.float64, features_only=features_only)
        assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {device}
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


@ours
def test_it_says_how_many_channels_images_have(name):
    assert on_meta(name).in_chans == 3
    assert on_meta(name, in_chans=4).in_chans == 4


@ours
def test_a_new_classifier_is_where_the_model_is(name):
    for training in (True, False):
        # Nothing is left in the head that could tell.
        model = on_meta(name, num_classes=0).to(torch.float64).train(training)
        model.reset_classifier(2)
        for parameter in model.get_classifier().parameters():
            assert (parameter.device.type, parameter.dtype) == ("meta", torch.float64)
        assert {module.training for module in model.modules()} == {training}


@ours
def test_a_frozen_model_stays_frozen_without_its_classifier(name):
    model = on_meta(name).requires_grad_(False)
    model.reset_classifier(0)
    model.reset_classifier(0, "")
    assert not any(parameter.requires_grad for parameter in model.parameters())


@ours
@torch.no_grad()
def test_another_precision_can_follow_a_forward_pass(name):
    model, x = make(name), images(64, 96)
    expected = model(x)
    out = model.to(torch.float64)(x.double())
    assert out.dtype == torch.float64
    assert_close(out.float(), expected)
    assert model.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16


@ours
@torch.no_grad()
def test_hooks_give_the_same_features(name):
    x = images(40, 48)
    hooked, getter = (hollow(name, features_only=True, feature_cls=kind) for kind in ("hook", "getter"))
    for model in (hooked, getter):
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    for actual, expected in zip(hooked(x), getter(x), strict=True):
        assert_close(actual, expected)


@ours
def test_weights_are_drawn_as_the_constructor_draws_them(name):
    torch.manual_seed(0)
    constructed, model = fresh(name), on_meta(name).to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().fill_(float("nan") if tensor.is_floating_point() else 99)
    model.init_weights()
    tensors = model.state_dict()
    for path, expected in constructed.state_dict().items():
        actual = tensors[path]
        if expected.unique().numel() == 1:
            assert torch.equal(actual, expected), path
        elif expected.numel() >= 32:
            # The standard deviation of 32 numbers is itself off by an eighth. Both are, and thrice that is rare.
            assert actual.std() / expected.std() == pytest.approx(1, abs=0.6), path
        else:
            assert actual.isfinite().all(), path


def test_weights_that_do_not_exist_are_refused_with_those_that_do():
    assert not timm.is_model_pretrained("parcnet_xs")
    with pytest.raises(RuntimeError, match=r"parcnet_xs\.untrained; there are: parcnet_xs\.cifar10 \(10 cl"):
        timm.create_model("parcnet_xs", pretrained=True)
    with pytest.raises(RuntimeError, match=r"for parcnet_s\.untrained\. Or set pretrained=False"):
        timm.create_model("parcnet_s", pretrained=True)


def test_a_script_of_timm_knows_the_models(tmp_path, monkeypatch, capsys):
    (tmp_path / "neighbour.py").write_text("NAME = 'test_parcnet'\n", encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, timm\nfrom neighbour import NAME\n"
        "if __name__ == '__main__':\n    print(sys.argv, timm.is_model(NAME))\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["__main__.py", str(script), "--epochs", "3"])
    script_runner.main()
    assert capsys.readouterr().out == f"{[str(script), '--epochs', '3']} True\n"


@pytest.mark.parametrize("arguments", [[], ["no_such_script.py"]])
def test_a_script_that_is_no_file_is_refused(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["__main__.py", *arguments])
    with pytest.raises(SystemExit, match="must be a Python file"):
        script_runner.main()
