"""Quantization-aware training from the command line: it resumes, and its artefacts are what was trained."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from parckit.cli.main import main
from parckit.contract import read_contract
from parckit.data import IndexedImages, image_loader
from parckit.measure.evaluators import evaluator_of
from parckit.networks import find_quantizers, open_checkpoint
from parckit.runtimes import open_session
from training_moments import Moment, train_until
from training_processes import ends, fork
from training_state import assert_same, state_of

OPTIONS = (
    "--config=classify/digits_parcnet_xxs",
    "--model.name=test_resnet",
    "--model.kwargs={}",
    "--model.optimizer.lr=0.01",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
    "--data.workers=0",
    "--ema=null",
)
QAT = (*OPTIONS, "--qat={images: 64}", "--model.optimizer.lr=0.001", "--trainer.limit_train_batches=8")


@pytest.fixture(scope="module", autouse=True)
def short_timing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parckit.deploy.bundling._SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the float checkpoint that the trainings start from."""
    out = tmp_path_factory.mktemp("qat") / "float"
    main(["train", *OPTIONS, "--trainer.max_epochs=2", f"--out={out}"])
    return out / "last.ckpt"


@pytest.fixture(scope="module")
def bundle(start: Path) -> Path:
    """Return the bundle of a training; the checkpoint lies beside it."""
    run, out = start.parent.with_name("run"), start.parent.with_name("bundle")
    main(["train", *QAT, f"--model.weights={start}", "--trainer.max_epochs=1", f"--out={run}"])
    main(["export", str(run / "last.ckpt"), f"--out={out}"])
    return out


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(start, tmp_path):
    options = [
        *QAT,
        f"--model.weights={start}",
        "--qat.images=16",
        "--ema={decay: 0.5}",
        "--trainer.max_epochs=2",
        "--trainer.limit_train_batches=3",
        "--save_minutes=1e-6",
        "--resume=auto",
    ]
    main(["train", *options, f"--out={tmp_path / 'whole'}"])
    killed = [*options, f"--out={tmp_path / 'killed'}"]
    process = fork(train_until, Moment(action="step", count=5), killed)
    assert ends(process) == -signal.SIGKILL
    main(["train", *killed])
    assert_same(state_of(tmp_path / "whole" / "last.ckpt"), state_of(tmp_path / "killed" / "last.ckpt"))
    for weights in open_checkpoint(tmp_path / "whole" / "last.ckpt")[0].parameters():
        assert weights.isfinite().all()


def test_the_int8_artefact_answers_as_the_network_with_fake_quantizers(bundle):
    sessions = [open_session(bundle, artefact=name) for name in ("onnx-int8", "onnx-fp32")]
    trained = open_session(bundle.with_name("run") / "last.ckpt")
    evaluator = evaluator_of("classify")
    table = evaluator.open_table("digits", split="test")
    images = IndexedImages(table, transform=evaluator.transform(trained.spec.preprocessing))
    batches = [batch.images.numpy() for batch in image_loader(images, batch_size=91)]
    expected = np.concatenate([trained(batch)[0] for batch in batches])
    int8, fp32 = (np.concatenate([run(one[None])[0] for batch in batches for one in batch]) for run in sessions)
    assert (expected.argmax(1) == np.asarray(table.targets)).mean() > 0.8, "it has learned something"
    assert (int8.argmax(1) == expected.argmax(1)).mean() >= 0.99
    # Sums in another order decide ties of rounding, and engines round biases: a few levels of 255 in the last map.
    assert np.abs(int8 - expected).max() < 0.05 * np.abs(expected).max()
    assert np.abs(fp32 - expected).max() > np.abs(int8 - expected).mean(), "activations are not rounded in float"


def test_the_artefact_says_how_it_was_made(bundle):
    contract = json.loads((bundle / "contract.json").read_text(encoding="utf-8"))
    fp32, int8 = contract["artefacts"]
    assert (fp32["name"], int8["name"], int8["precision"]) == ("onnx-fp32", "onnx-int8", "int8")
    assert int8["options"]["quantization"] == "trained"
    assert int8["options"]["weight_bits"] == [8]
    assert int8["checks"][0]["passed"] is True
    assert int8["checks"][0]["figures"]["speedup"] > 0, "it was timed beside onnx-fp32"
    assert contract["spec"]["quantization"] is None, "a bundle describes the float network"
    float_file, int8_file = (bundle / next(iter(entry["files"])) for entry in (fp32, int8))
    assert int8_file.stat().st_size < 0.6 * float_file.stat().st_size, "names are half of such a small file"
    network, spec = open_checkpoint(bundle.with_name("run") / "last.ckpt")
    assert {quantizer.bits for quantizer in find_quantizers(network).weights.values()} == {8}
    assert len(spec.quantization.weights) > 10


def test_a_board_gets_the_trained_weights_without_fake_quantizers(bundle, tmp_path, caplog):
    """Its compiler takes opset 11, in which the trained scales cannot be written, and chooses ranges itself."""
    command = ["export", str(bundle.with_name("run") / "last.ckpt"), "--target=rdk-x5", f"--out={tmp_path / 'x5'}"]
    main([*command, "--data=digits", "--samples=2"])
    assert "opset=11: onnx-int8 has opset 18" in caplog.text
    fp32, int8 = read_contract(tmp_path / "x5").artefacts
    assert (fp32.options["opset"], int8.options["opset"]) == (11, 18)
    assert int8.checks[0].passed
    operators = {node.op_type for node in onnx.load(tmp_path / "x5_kit" / "bundle" / fp32.main_file).graph.node}
    assert "Conv" in operators
    assert not {"QuantizeLinear", "DequantizeLinear"} & operators
    image = np.random.default_rng(0).standard_normal((1, *fp32.input.shape[1:]), np.float32)
    ours, usual = (open_session(folder, artefact="onnx-fp32")(image)[0] for folder in (tmp_path / "x5", bundle))
    assert np.allclose(ours, usual, rtol=1e-4, atol=1e-4), "the same rounded weights; sums have another order"
    assert "was trained in INT8" in (tmp_path / "x5_kit" / "README.md").read_text(encoding="utf-8")


def test_its_bundle_may_be_replaced(bundle, monkeypatch):
    monkeypatch.setattr("parckit.deploy.bundling.source_of", None)  # the work begins behind the check
    with pytest.raises(TypeError):
        main(["export", str(bundle.with_name("run") / "last.ckpt"), f"--out={bundle}"])
    assert (bundle / "onnx-int8").is_dir()


def test_mistakes_are_told_in_one_line(bundle, start, tmp_path, mistake):
    trained, out = bundle.with_name("run") / "last.ckpt", f"--out={tmp_path / 'run'}"
    command = ("train", *QAT, out)
    assert mistake(*command).startswith("--qat: starts from a float network")
    weighted = (*command, f"--model.weights={start}")
    assert "trains the network that is exported" in mistake(*weighted, "--data.sizes={sides: [24, 32], base: 32}")
    assert mistake(*weighted, "--qat.weight_bits=9") == "qat.weight_bits=9: must be from 2 to 8"
    assert mistake(*weighted, "--qat.keep_float=[none]").startswith("--qat: keep_float=none: the folded network has no")
    message = mistake(*command, f"--model.weights={trained}")
    assert message == f"model.weights={trained}: has fake quantizers; start from the float checkpoint it was made of"
    goes_on = (*command, f"--resume={trained}", "--trainer.max_epochs=3")
    assert "goes on only with --qat given, not None" in mistake(*goes_on, "--qat=null")
    assert "goes on only with --qat {'weight_bits': 8" in mistake(*goes_on, "--qat.weight_bits=5")
    message = mistake("quantize", bundle, "--data=digits")
    assert message.startswith(f"{bundle}: onnx-int8 was trained in int8, and is better than")
    message = mistake("export", trained, "--size=48", f"--out={tmp_path / 'bundle'}")
    assert "were trained for --size 32x32 alone" in message
