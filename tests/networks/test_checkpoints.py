import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bundles import tiny_spec
from parckit.contract import SPEC_KEY, InputError
from parckit.networks import add_digest, build_network, open_checkpoint, save_weights
from parckit.runtimes.torch import TorchSession

SPEC = tiny_spec((32, 48))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(SPEC).eval()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 32, 48), np.float32)


def write_lightning(path: Path, model: torch.nn.Module, **changes: object) -> Path:
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    content = {"state_dict": state, SPEC_KEY: SPEC.to_dict(), "epoch": 3} | changes
    checkpoint = {key: value for key, value in content.items() if value is not None}
    if "state_dict" in checkpoint:
        add_digest(checkpoint)
    torch.save(checkpoint, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_safetensors_bring_back_the_same_model(model, images, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(model, SPEC, path)
    again, spec = open_checkpoint(path)
    assert spec == SPEC
    assert not again.training
    np.testing.assert_array_equal(TorchSession(again, spec)(images), TorchSession(model, SPEC)(images))


def test_lightning_checkpoints_bring_back_the_same_model(model, images, tmp_path):
    again, spec = open_checkpoint(write_lightning(tmp_path / "last.ckpt", model))
    assert spec == SPEC
    np.testing.assert_array_equal(TorchSession(again, spec)(images), TorchSession(model, SPEC)(images))


def test_what_a_lightning_module_keeps_beside_the_network_is_ignored(model, images, tmp_path):
    state = {f"model.{key}": value for key, value in model.state_dict().items()} | {"loss.weight": torch.ones(3)}
    again, spec = open_checkpoint(write_lightning(tmp_path / "last.ckpt", model, state_dict=state))
    np.testing.assert_array_equal(TorchSession(again, spec)(images), TorchSession(model, SPEC)(images))
    assert "loss.weight" not in again.state_dict()


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.99])
def test_truncated_files_are_refused(model, tmp_path, suffix, keep):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".ckpt":
        write_lightning(path, model)
    else:
        save_weights(model, SPEC, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    assert "damaged" in refusal(path)


def test_flipped_bytes_never_end_in_another_error(model, tmp_path):
    rng = np.random.default_rng(0)
    content = write_lightning(tmp_path / "good.ckpt", model).read_bytes()
    refused = 0
    for _ in range(40):
        damaged = bytearray(content)
        for position in rng.integers(0, 2000, 20):
            damaged[position] = rng.integers(256)
        (tmp_path / "bad.ckpt").write_bytes(damaged)
        try:
            open_checkpoint(tmp_path / "bad.ckpt")
        except InputError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_altered_weights_are_refused(model, tmp_path, suffix):
    path = tmp_path / f"altered{suffix}"
    save_weights(model, SPEC, path) if suffix == ".safetensors" else write_lightning(path, model)
    content = bytearray(path.read_bytes())
    content[content.index(model.state_dict()["head.fc.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert ("sha256 differs" if suffix == ".safetensors" else "checksum") in refusal(path)


@pytest.mark.parametrize("has_digest", [True, False])
def test_weights_that_another_program_saved_again_are_refused(model, tmp_path, has_digest):
    """All checksums of the archive are right then; only the digest of the weights tells."""
    path = write_lightning(tmp_path / "last.ckpt", model)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.head.fc.weight"][0, 0] += 1
    if not has_digest:
        del checkpoint["parckit_sha256"]
    torch.save(checkpoint, path)
    assert ("sha256 differs" if has_digest else "sha256 is missing") in refusal(path)


def test_safetensors_without_a_digest_are_refused_unless_they_are_of_0_1_0(model, tmp_path):
    path, weights = tmp_path / "w.safetensors", {key: value.clone() for key, value in model.state_dict().items()}
    save_file(weights, path, metadata={SPEC_KEY: json.dumps(SPEC.to_dict())})
    assert "sha256 is missing" in refusal(path)
    former = SPEC.to_dict()
    former = {key: former[key] for key in ("labels", "preprocessing")}
    former |= {"model": SPEC.backbone, "model_kwargs": dict(SPEC.backbone_kwargs)}
    save_file(weights, path, metadata={SPEC_KEY: json.dumps(former)})
    assert open_checkpoint(path)[1] == SPEC


def test_an_altered_description_is_refused(model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(model, SPEC, path)
    path.write_bytes(path.read_bytes().replace(b"ant", b"eel"))
    assert "sha256 differs" in refusal(path)


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    state = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
    name = next(key for key in state if key.endswith("weight"))
    state[name].view(-1)[0] = float("nan")
    path = write_lightning(tmp_path / "nan.ckpt", model, state_dict=state)
    assert f"weight {name.removeprefix('model.')!r} has values that are not finite" in refusal(path)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_foreign_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    assert "damaged" in refusal(path)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path(self.target),)

    def __init__(self, target: Path) -> None:
        self.target = str(target)


def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path):
    target, path = tmp_path / "exploded", tmp_path / "bomb.ckpt"
    torch.save({SPEC_KEY: SPEC.to_dict(), "state_dict": {}, "x": Bomb(target)}, path)
    assert "damaged" in refusal(path)
    path.write_bytes(pickle.dumps(Bomb(target)))
    assert "damaged" in refusal(path)
    assert not target.exists()


def test_checkpoints_of_others_are_refused(model, tmp_path):
    assert "parckit" in refusal(write_lightning(tmp_path / "a.ckpt", model, **{SPEC_KEY: None}))
    assert "state_dict" in refusal(write_lightning(tmp_path / "b.ckpt", model, state_dict=None))
    torch.save([1, 2], tmp_path / "c.ckpt")
    refusal(tmp_path / "c.ckpt")
    save_file({"w": torch.ones(2)}, tmp_path / "d.safetensors")
    assert "parckit" in refusal(tmp_path / "d.safetensors")


def test_a_spec_that_is_none_is_refused(model, tmp_path):
    assert "spec" in refusal(write_lightning(tmp_path / "text.ckpt", model, **{SPEC_KEY: "parcnet_s"}))
    save_file({"w": torch.ones(2)}, tmp_path / "json.safetensors", metadata={SPEC_KEY: "{"})
    assert "spec" in refusal(tmp_path / "json.safetensors")


def test_wrong_names_and_missing_files_are_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    assert ".safetensors" in refusal(tmp_path / "model.pt")
    assert "no such file" in refusal(tmp_path / "absent.ckpt")


def test_keys_that_do_not_fit_are_named(model, tmp_path):
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    missing, *_, misshaped = state
    del state[missing]
    state |= {"model.extra": torch.ones(1), misshaped: torch.ones(7, 7)}
    message = refusal(write_lightning(tmp_path / "odd.ckpt", model, state_dict=state))
    assert f"missing: {missing.removeprefix('model.')};" in message
    assert "unexpected: extra;" in message
    assert f"mis-shaped: {misshaped.removeprefix('model.')})" in message


def test_long_lists_of_keys_are_cut_but_counted(model, tmp_path):
    message = refusal(write_lightning(tmp_path / "empty.ckpt", model, state_dict={}))
    assert f"and {len(model.state_dict()) - 8} more" in message


def test_weights_are_saved_under_their_own_suffix_alone(model, tmp_path):
    with pytest.raises(InputError, match="safetensors"):
        save_weights(model, SPEC, tmp_path / "w.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [None, 3, "x", [1.0]], ids=repr)
def test_a_weight_that_is_no_tensor_is_refused(model, tmp_path, wrong):
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    key = next(iter(state))
    path = write_lightning(tmp_path / "last.ckpt", model, state_dict=state | {key: wrong})
    assert f"weight {key.removeprefix('model.')!r} is no tensor" in refusal(path)
