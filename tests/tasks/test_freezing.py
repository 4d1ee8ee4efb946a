"""A frozen part of a network: what keeps its weights and statistics, and what is trained."""

import pytest
import timm
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

import parckit
from backbones import as_if_trained
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import build_network, open_checkpoint, save_weights
from parckit.tasks import AveragingSettings, WeightEMA
from parckit.tasks.freezing import freeze
from training_state import assert_same


def states(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items() if "num_batches" not in name}


@pytest.mark.parametrize(
    ("part", "trained"),
    [("backbone", ("head.fc.",)), (2, ("stages.2.", "stages.3.", "stages.4.", "final_conv.", "head."))],
)
def test_only_the_rest_is_trained(part, trained, make_data, make_module, train):
    data = make_data()
    before = states(make_module(data).model)
    torch.manual_seed(0)
    averaged = WeightEMA(AveragingSettings(decay=0.5))
    trainer = train(data, limits={"max_epochs": 1}, freeze=part, callbacks=[averaged])
    model = trainer.lightning_module.model
    changed = {name for name, value in states(model).items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(trained) for name in changed)
    # Every trained weight has changed, and so have the statistics beside it.
    assert {name for name in before if name.startswith(trained)} == changed
    weights = [weight for group in trainer.optimizers[0].param_groups for weight in group["params"]]
    assert {id(weight) for weight in weights} == {
        id(weight) for name, weight in model.named_parameters() if name.startswith(trained)
    }


def test_a_frozen_network_goes_on_to_the_same_bits(make_data, train, tmp_path):
    def run(**options: object) -> Trainer:
        every_epoch = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        return train(make_data(), limits={"max_epochs": 2}, freeze=1, callbacks=[every_epoch], **options)

    whole = run()
    resumed = run(resume=tmp_path / "epoch=0.ckpt")
    assert_same(resumed.lightning_module.state_dict(), whole.lightning_module.state_dict())


def segmenter_spec(head: str, **kwargs: object) -> NetworkSpec:
    return NetworkSpec(
        task="segment",
        backbone="test_resnet",
        head=head,
        head_kwargs={"width": 8, **kwargs},
        labels=("background", *"0123456789"),
        preprocessing=Preprocessing(size=(64, 64)),
    )


def spec_of(name: str) -> NetworkSpec:
    return NetworkSpec(backbone=name, labels=("a", "b", "c"), preprocessing=Preprocessing(size=(64, 64)))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("test_resnet", ["conv1", "bn1", "layer1"]),
        ("test_vit", ["patch_embed", "blocks.0"]),
        ("test_convnext", ["stem", "stages.0"]),
        ("test_parcnetv2", ["stem", "stages.0"]),
    ],
)
def test_the_first_stage_is_what_the_family_calls_so(name, parts):
    network = timm.create_model(name, num_classes=3)
    names = {id(module): key for key, module in network.named_modules()}
    assert [names[id(module)] for module in freeze(network, 1, spec=spec_of(name))] == parts


@pytest.mark.parametrize("count", [0, -1, 7])
def test_a_stage_that_is_not_there_is_refused(count):
    with pytest.raises(InputError, match=rf"freeze={count}: test_resnet has 4 stages; accepted are backbone and 1..4"):
        freeze(timm.create_model("test_resnet"), count, spec=spec_of("test_resnet"))


@pytest.mark.parametrize(
    ("head", "part", "parts"),
    [
        ("lraspp", "backbone", ["backbone"]),
        ("deeplabv3", 1, ["backbone.model.conv1", "backbone.model.bn1", "backbone.model.layer1"]),
        ("upernet", 4, ["backbone"]),
    ],
)
def test_the_backbone_of_a_segmenter_is_frozen_and_its_head_is_not(head, part, parts):
    spec = segmenter_spec(head)
    network = build_network(spec)
    names = {id(module): key for key, module in network.named_modules()}
    assert [names[id(module)] for module in freeze(network, part, spec=spec)] == parts
    trained = {key.partition(".")[0] for key, weight in network.named_parameters() if weight.requires_grad}
    assert {*dict(network.named_children())} - {"backbone", "drop"} <= trained


def test_a_segmenter_is_fine_tuned_with_a_frozen_backbone_and_a_faster_head(tmp_path):
    spec = segmenter_spec("upernet", auxiliary=True)
    network = as_if_trained(build_network(spec))
    before = states(network)
    save_weights(network, spec, tmp_path / "trained.safetensors")
    run = parckit.train(
        "segment/digit_scenes_upernet",
        out=tmp_path / "run",
        model={
            "name": "test_resnet",
            "kwargs": {},
            "head_kwargs": {"width": 8, "auxiliary": True},
            "weights": str(tmp_path / "trained.safetensors"),
            "freeze": "backbone",
            "optimizer": {"name": "adamw", "lr": 1e-3, "head_lr": 10.0},
        },
        data={"source": "digit_scenes:16", "batch_size": 4, "workers": 0, "preprocessing": {"size": [64, 64]}},
        trainer={"max_epochs": 1, "limit_train_batches": 2, "accelerator": "cpu"},
        ema=None,
    )
    after = states(open_checkpoint(run.last)[0])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # The statistics of the backbone's norms stay, too.
    assert changed == {name for name in before if not name.startswith("backbone.")}
