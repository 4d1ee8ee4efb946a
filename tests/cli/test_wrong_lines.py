"""Wrong command lines of all verbs: one line that names what is wrong, exit code 2, and nothing is left behind."""

import os
from pathlib import Path

import pytest
import torch

from parckit.contract import printable

ENDLESS = "a: &a [*a]\nmodel: *a\n"
EXPLODING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with files that are not what a command expects."""
    path = tmp_path / "work"
    for name in ("empty", "folder.ckpt", "bundle"):
        (path / name).mkdir(parents=True)
    (path / "bundle" / "contract.json").write_text("{}")
    (path / "text.txt").write_text("hello\n")
    for name in ("fake.ckpt", "fake.onnx", "fake.safetensors", "binary.yaml"):
        (path / name).write_bytes(bytes(range(256)))
    (path / "tag.yaml").write_text("model: !!python/object/apply:os.system ['touch harm']\n")
    (path / "endless.yaml").write_text(ENDLESS)
    (path / "exploding.yaml").write_text(EXPLODING)
    (path / "utf16.yaml").write_bytes("model: {name: x}".encode("utf-16"))
    (path / "latin.yaml").write_bytes(b"out: caf\xe9\n")
    torch.save({"a": 1, "model": {"x": None}}, path / "no_weights.pt")
    os.mkfifo(path / "pipe.png")
    (path / "loop.png").symlink_to("loop.png")
    monkeypatch.chdir(path)
    return path


RECIPE = ("train", "--config=classify/digits_parcnet_xxs", "--out=new")
LINES = [
    *(("train", "--out=new", f"--config={name}.yaml") for name in ("binary", "tag", "endless", "exploding", "utf16")),
    ("train", "--out=new", "--config=latin.yaml"),
    ("train", "--out=new", "--config=empty"),
    ("train", "--out=new", f"--config={'x' * 5000}"),
    *((*RECIPE, option) for option in ("--lr=nan", "--epochs=1e400", "--ema=[]")),
    *((*RECIPE, f"--data={source}") for source in ("empty", "fake.ckpt", "猫\x1b[1m")),
    *((*RECIPE, f"--resume={path}") for path in ("fake.ckpt", "bundle", "folder.ckpt")),
    (*RECIPE, "--trainer.devices=-5", "--trainer.accelerator=cpu"),
    (*RECIPE, "--trainer.accumulate_grad_batches=99999999999999999999"),
    (*RECIPE, "--data.repeats=99999999999"),
    (*RECIPE, "--data.sizes={sides: [99999999], base: 32}"),
    *(("eval", path, "--data=digits") for path in ("fake.ckpt", "fake.onnx", "folder.ckpt", "bundle", "pipe.png")),
    *(("predict", path, "x.png") for path in ("fake.safetensors", "text.txt", "a" * 300, "猫\x1b[1m")),
    *(("predict", "BUNDLE", name) for name in ("pipe.png", "loop.png", "/dev/null", "x" * 300)),
    *(("export", path, "--out=new/er") for path in ("BUNDLE", "fake.ckpt", "none.ckpt", "none")),
    *(("bench", "BUNDLE", option) for option in ("--seconds=nan", "--threads=0", "--threads=1,x", "--record=empty")),
    *(("cam", model, "x.png") for model in ("BUNDLE", "none")),
    ("convert-weights", "no_weights.pt", "new.safetensors", "--model=test_parcnet"),
    ("convert-weights", "no_weights.pt", "new.safetensors", "--model=test_parcnet", "--num-classes=99999999999"),
    *(("info", "test_parcnet", f"--size={size}") for size in ("9" * 21, "-1", "1x2x3")),
    ("data", "pack", "text.txt", "new"),
    ("data", "check", "none"),
    ("report", "empty", "--out=new/page.html"),
    ("tune", "binary.yaml"),
]


@pytest.mark.parametrize("argv", LINES, ids=lambda argv: ascii(" ".join(argv))[:90])
def test_a_wrong_line_ends_in_one_line_and_leaves_nothing(argv, folder, two_artefacts, mistake):
    before = sorted(folder.rglob("*"))
    message = mistake(*(str(two_artefacts) if arg == "BUNDLE" else arg for arg in argv))
    assert message == printable(message)
    assert len(message) < 1000 or "x" * 5000 in message
    assert sorted(folder.rglob("*")) == before
