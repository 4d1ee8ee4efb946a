import json
from argparse import Namespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from backbones import as_if_trained
from golden_fixtures import official_model, official_state_dict
from parckit.cli.convert_weights import Origin, convert
from parckit.contract import InputError
from parckit.networks import open_checkpoint
from pictures import coloured, write_pictures
from training_state import assert_same


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "parcnet_xs.pt"
    torch.save({"model": dict(official_state_dict("parcnet_xs"))}, path)
    return path


@pytest.fixture(scope="module")
def converted(official):
    out = official.with_name("converted.safetensors")
    convert(official, out, Origin(model="parcnet_xs"))
    return out


def test_the_verb_writes_what_it_says(official, tmp_path, parckit):
    out = tmp_path / "new" / "weights.safetensors"
    assert parckit("convert-weights", official, out, "--model=parcnet_xs").splitlines() == [
        f"{out}: parcnet_xs from model, 1000 classes, input 256x256 bgr / 255, mean 0, 0, 0, std 1, 1, 1"
    ]
    assert [*out.parent.iterdir()] == [out]


def test_the_spec_says_what_official_weights_expect(converted):
    _, spec = open_checkpoint(converted)
    assert spec.backbone == "parcnet_xs"
    assert spec.preprocessing.channel_order == "bgr"
    assert (spec.preprocessing.mean, spec.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    assert spec.preprocessing.size == (256, 256)
    assert spec.preprocessing.resize_size == (288, 288)
    assert len({*spec.labels}) == 1000
    assert (spec.labels[0], spec.labels[-1]) == ("n01440764", "n15075141")  # ImageNet's folders: tench, toilet paper


def test_predictions_are_the_official_models(converted, tmp_path, parckit):
    # At 288 x 288 pixels nothing is resized: the crop, the channel order and the division remain.
    path = tmp_path / "picture.png"
    coloured("red", size=(288, 288)).save(path)
    crop = np.asarray(Image.open(path))[16:272, 16:272, ::-1].astype(np.float32) / 255
    with torch.no_grad():
        expected = official_model("parcnet_xs")(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None]).softmax(1)[0]
    printed = json.loads(parckit("predict", converted, path, "--json", "--top=5"))[str(path)]
    # Float32 through many layers, with maps in the same layout.
    assert [entry["probability"] for entry in printed] == pytest.approx(expected.topk(5).values.tolist(), rel=1e-4)
    _, spec = open_checkpoint(converted)
    assert [spec.labels.index(entry["class"]) for entry in printed] == expected.topk(5).indices.tolist()


@pytest.mark.parametrize(("name", "channel_order"), [("mobilevit_xs", "bgr"), ("edgevit_xxs", "rgb")])
def test_other_families_are_converted_too(name, channel_order, tmp_path):
    # The name of the architecture decides, for timm's models as well as for ours.
    torch.save(dict(official_state_dict(name)), tmp_path / "official.pt")
    convert(tmp_path / "official.pt", tmp_path / "converted.safetensors", Origin(model=name))
    model, spec = open_checkpoint(tmp_path / "converted.safetensors")
    assert spec.preprocessing.channel_order == channel_order
    expected = official_model(name).state_dict()
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=0, atol=0)


# tests/networks compares the numbers of both heads with the official ones.
@pytest.mark.parametrize(("head", "classes", "size"), [("ssd", 80, (320, 320))], ids=["ssd"])
def test_official_networks_of_other_tasks_are_converted(head, classes, size, tmp_path, parckit):
    source, out = tmp_path / "official.pt", tmp_path / "converted.safetensors"
    weights = dict(official_state_dict(f"{head}_parcnet_s"))
    torch.save({"ema": weights}, source)
    line = parckit("convert-weights", source, out, "--model=parcnet_s", f"--head={head}")
    assert f"{head}_parcnet_s from ema, {classes} classes, input {size[0]}x{size[1]} bgr / 255, mean 0" in line
    network, spec = open_checkpoint(out)
    assert (spec.head, len(spec.labels), spec.preprocessing.size) == (head, classes, size)
    assert (spec.preprocessing.fit, spec.preprocessing.channel_order) == ("stretch", "bgr")
    assert torch.equal(network.backbone.model.stem.conv.weight, weights["encoder.conv_1.block.conv.weight"])


def test_a_head_without_official_weights_is_refused(official, tmp_path):
    with pytest.raises(InputError, match="--head tinydet: official weights exist for ssd, deeplabv3"):
        convert(official, tmp_path / "out.safetensors", Origin(model="parcnet_xs", head="tinydet"))
    with pytest.raises(InputError, match=f"{official}: official state dict does not fit"):
        convert(official, tmp_path / "out.safetensors", Origin(model="parcnet_xs", head="deeplabv3"))


@pytest.fixture
def of_timm(tmp_path):
    """Return a checkpoint of three classes as timm's training script writes it, and its raw and averaged weights."""
    torch.manual_seed(0)
    raw, averaged = (as_if_trained(timm.create_model("test_resnet", num_classes=3)).state_dict() for _ in range(2))
    content = {
        "epoch": 3,
        "arch": "test_resnet",
        "state_dict": {f"module.{key}": value for key, value in raw.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "args": Namespace(lr=0.1, img_size=64),
        "state_dict_ema": {f"_orig_mod.module.{key}": value for key, value in averaged.items()},
        "metric": 71.5,
    }
    path = tmp_path / "model_best.pth.tar"
    torch.save(content, path)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    return path, raw, averaged


def test_a_checkpoint_of_timms_scripts_is_opened(of_timm, tmp_path, parckit):
    path, raw, averaged = of_timm
    options = ("--model=test_resnet", "--labels", tmp_path / "names.txt", "--size=64", "--mean=[0.5, 0.4, 0.3]")
    for entry, weights in (("state_dict", raw), ("state_dict_ema", averaged)):
        chosen_entry = () if entry == "state_dict" else (f"--entry={entry}",)
        printed = parckit("convert-weights", path, tmp_path / "out.safetensors", *options, *chosen_entry)
        assert f"test_resnet from {entry}, 3 classes, input 64x64 rgb / 255, mean 0.5, 0.4, 0.3, std 0.5" in printed
        model, spec = open_checkpoint(tmp_path / "out.safetensors")
        assert spec.labels == ("red", "green", "blue")
        assert_same(dict(model.state_dict()), dict(weights))
    write_pictures(tmp_path / "pictures" / "test", count=2)
    assert "│ images " in parckit("eval", tmp_path / "out.safetensors", "--data", tmp_path / "pictures")


def test_weights_alone_and_keywords_of_the_model_are_opened(tmp_path, parckit):
    kwargs = {"img_size": 32, "dims": [8, 8, 16, 16]}
    weights = timm.create_model("test_parcnetv2", num_classes=2, **kwargs).state_dict()
    save_file(weights, tmp_path / "in.safetensors")
    options = ("--model=test_parcnetv2", "--num_classes=2", f"--kwargs={json.dumps(kwargs)}")
    parckit("convert-weights", tmp_path / "in.safetensors", tmp_path / "out.safetensors", *options)
    model, spec = open_checkpoint(tmp_path / "out.safetensors")
    assert spec.backbone_kwargs == kwargs
    assert_same(dict(model.state_dict()), dict(weights))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num_classes=4"], "weights do not fit test_resnet (mis-shaped: fc.weight, fc.bias)"),
        (["--num_classes=3", "--entry=ema"], "entry=ema: the file has no such group of weights; it has state_dict, "),
        (["--num_classes=3", "--entry=optimizer"], "state dict: has entries other than named tensors"),
    ],
)
def test_what_does_not_fit_a_timm_checkpoint_is_named(options, named, of_timm, tmp_path, mistake):
    message = mistake("convert-weights", of_timm[0], tmp_path / "out.safetensors", "--model=test_resnet", *options)
    assert message.startswith(f"{of_timm[0]}: ")
    assert named in message


@pytest.fixture(scope="module")
def of_three_classes(official):
    path = official.with_name("three.pt")
    weights = official_state_dict("parcnet_xs")
    torch.save({key: part[:3] if part.shape[:1] == (1000,) else part for key, part in weights.items()}, path)
    return path


def test_other_numbers_of_classes_are_numbered(of_three_classes, tmp_path, parckit):
    out = tmp_path / "three.safetensors"
    parckit("convert-weights", of_three_classes, out, "--model=parcnet_xs", "--num_classes=3")
    assert open_checkpoint(out)[1].labels == ("0", "1", "2")


def test_classes_can_be_named(of_three_classes, tmp_path, parckit):
    labels, out = tmp_path / "labels.txt", tmp_path / "three.safetensors"
    labels.write_text("ant\nbee hive\ncafé\n", encoding="utf-8-sig")  # as Notepad does
    parckit("convert-weights", of_three_classes, out, "--model=parcnet_xs", "--num_classes=3", "--labels", labels)
    assert open_checkpoint(out)[1].labels == ("ant", "bee hive", "café")


def test_names_for_another_number_of_classes_are_refused(of_three_classes, tmp_path, mistake):
    labels, out = tmp_path / "labels.txt", tmp_path / "three.safetensors"
    labels.write_text("ant\nbee\n")
    options = ("--model=parcnet_xs", "--num_classes=3", "--labels", labels)
    assert mistake("convert-weights", of_three_classes, out, *options).startswith(f"--labels {labels}: 2 ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ant\nbee\nant\n", "class 'ant' appears twice"),
        ("ant\nbee\ncafé".encode("latin-1"), "cannot be read as UTF-8"),
    ],
)
def test_names_that_do_not_serve_are_refused(content, told, of_three_classes, tmp_path, mistake):
    labels, out = tmp_path / "labels.txt", tmp_path / "three.safetensors"
    labels.write_bytes(content)
    options = ("--model=parcnet_xs", "--num_classes=3", "--labels", labels)
    message = mistake("convert-weights", of_three_classes, out, *options)
    assert message.startswith(f"--labels {labels}: ")
    assert told in message


@pytest.mark.parametrize("content", [b"https://example.org/weights.pt", b"table", b"abc", b"\x80\x02."])
def test_what_is_no_checkpoint_is_named(content, tmp_path, mistake):
    (tmp_path / "odd.pt").write_bytes(content)
    message = mistake("convert-weights", tmp_path / "odd.pt", tmp_path / "out.safetensors", "--model=test_parcnet")
    assert message.startswith(f"{tmp_path / 'odd.pt'}: damaged")


@pytest.mark.parametrize("bytes_kept", [0, 3, 1000, -1000])
def test_a_truncated_checkpoint_is_named(bytes_kept, official, tmp_path, mistake):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(official.read_bytes()[:bytes_kept])
    message = mistake("convert-weights", cut, tmp_path / "out.safetensors", "--model=parcnet_xs")
    assert message.startswith(f"{cut}: ")
    assert not (tmp_path / "out.safetensors").exists()


class Trap:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return pytest.fail, ("code of the checkpoint was run",)


@pytest.mark.parametrize("content", [Trap(), {"model": Trap()}, 3, [1, 2]], ids=["code", "code inside", "int", "list"])
def test_what_is_no_state_dict_is_refused(content, tmp_path, mistake):
    path = tmp_path / "odd.pt"
    torch.save(content, path)
    message = mistake("convert-weights", path, tmp_path / "out.safetensors", "--model=parcnet_xs")
    assert message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["out.safetensors"], "model"),
        (["out.pt", "--model=parcnet_xs"], "out.pt"),
        (["out.safetensors", "--model=no_such_model"], "no_such_model"),
        (["out.safetensors", "--model=resnet18"], "resnet18"),
        (["out.safetensors", "--model=parcnet_s"], "mis-shaped"),
        (["out.safetensors", "--model=parcnet_xs", "--num_classes=10"], "mis-shaped classifier"),
        (["out.safetensors", "--model=parcnet_xs", "--num_classes=0"], "--num_classes"),
        (["out.safetensors", "--model=parcnet_xs", "--labels=no/such.txt"], "no/such.txt"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, named, official, tmp_path, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in mistake("convert-weights", official, *options)
    assert [*tmp_path.iterdir()] == []


def test_a_missing_checkpoint_is_named(tmp_path, mistake):
    out = tmp_path / "out.safetensors"
    assert mistake("convert-weights", "no/such.pt", out, "--model=parcnet_xs").startswith("no/such.pt: ")
