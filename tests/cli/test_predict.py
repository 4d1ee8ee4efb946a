import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parckit.cli.main import main
from parckit.networks import open_checkpoint, save_weights
from pictures import coloured


@pytest.fixture
def ranked(parckit):
    def run(artefact: Path, picture: Path, *options: object) -> list[tuple[str, float | None]]:
        """Return the classes of a picture with their probabilities, best first."""
        printed = json.loads(parckit("predict", artefact, picture, "--json", *options))
        assert printed.keys() == {str(picture)}
        return [(entry["class"], entry["probability"]) for entry in printed[str(picture)]]

    return run


@pytest.fixture
def weights(checkpoint, tmp_path):
    model, spec = open_checkpoint(checkpoint)
    save_weights(model, spec, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_json_gives_the_probabilities_of_the_model(checkpoint, tmp_path, ranked):
    # At the model's own size the preprocessing only normalises.
    path = tmp_path / "exact.png"
    coloured("green", size=(32, 32)).save(path)
    model, spec = open_checkpoint(checkpoint)
    pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = model((pixels - 0.3) / 0.35).softmax(1)[0]
    probabilities = dict(ranked(checkpoint, path, "--top=10"))
    # Float32 through two orders of operations.
    assert probabilities == pytest.approx(dict(zip(spec.labels, expected.tolist(), strict=True)), rel=1e-4)


def test_every_kind_of_artefact_says_the_same(checkpoint, bundle, weights, picture, ranked):
    first, *others = (dict(ranked(artefact, picture)) for artefact in (checkpoint, bundle, weights))
    for other in others:
        assert [*other] == [*first]
        # The bundle's logits differ by millionths.
        assert other == pytest.approx(first, rel=1e-4)


def test_the_best_classes_come_first(bundle, picture, ranked):
    labels, probabilities = zip(*ranked(bundle, picture, "--top=99"), strict=True)
    assert sorted(labels) == [*"0123456789"]
    assert [*probabilities] == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1.0, rel=1e-5)  # float32
    best_labels, best = zip(*ranked(bundle, picture), strict=True)
    assert best_labels == labels[:3]
    # Threads of the engine may sum in another order.
    assert best == pytest.approx(probabilities[:3], rel=1e-5)


def test_the_table_shows_every_picture_with_its_classes(bundle, tmp_path, parckit, ranked):
    paths = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for path in paths:
        coloured(path.stem, size=(50, 30)).save(path)
    printed = parckit("predict", bundle, *paths, "--top", "2")
    lines = [line.split() for line in printed.splitlines()]
    for path in paths:
        start = next(i for i, line in enumerate(lines) if str(path) in line)
        first, second = ranked(bundle, path, "--top=2")
        assert lines[start] == ["│", str(path), "│", first[0], "│", f"{100 * first[1]:.1f}", "│"]
        assert lines[start + 1] == ["│", "│", second[0], "│", f"{100 * second[1]:.1f}", "│"]


def test_an_answer_below_the_threshold_is_unknown(bundle, picture, parckit, ranked):
    best, probability = ranked(bundle, picture)[0]
    below = f"--threshold={probability - 1e-3}"
    assert ranked(bundle, picture, below)[0] == (best, pytest.approx(probability, rel=1e-5))
    above = f"--threshold={probability + 1e-3}"
    # The classes that were not probable enough follow.
    assert [entry[0] for entry in ranked(bundle, picture, above, "--top=1")] == ["unknown", best]
    assert ranked(bundle, picture, above)[0] == ("unknown", None)
    first = next(line for line in parckit("predict", bundle, picture, above).splitlines() if str(picture) in line)
    assert first.split() == ["│", str(picture), "│", "unknown", "│", "│"]


@pytest.mark.parametrize(
    ("options", "artefact"),
    [
        ([], "onnx-fp32"),
        (["--artefact=pairs"], "pairs"),
        (["--precision=int8"], "pairs"),
        (["--precision=fp32", "--runtime=onnxruntime"], "onnx-fp32"),
    ],
    ids=str,
)
def test_an_artefact_can_be_chosen(two_artefacts, picture, parckit, options, artefact):
    printed = parckit("predict", two_artefacts, picture, *options)
    assert f"{two_artefacts} ({artefact} on onnxruntime" in printed


def test_a_file_of_a_bundle_answers_alone(bundle, picture, tmp_path, ranked):
    alone = shutil.copy(bundle / "onnx-fp32" / "model.onnx", tmp_path / "alone.onnx")
    assert ranked(alone, picture) == ranked(bundle, picture)


def test_broken_pictures_are_named_and_the_others_are_answered(bundle, picture, tmp_path, capsys):
    broken, absent = tmp_path / "broken.png", tmp_path / "absent.png"
    broken.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(bundle), str(broken), str(absent), str(picture), "--json"])
    printed = capsys.readouterr()
    assert [*json.loads(printed.out)] == [str(picture)]
    assert printed.err.startswith(f"parckit: error: {broken}: ")
    assert printed.err.endswith(f"; 1 more cannot be read: {absent}\n")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "images"),
        (["no/such.png"], "no/such.png"),
        (["PICTURE", "--top=0"], "top=0: must be a whole number of classes"),
        (["PICTURE", "--top=some"], "--top"),
        (["PICTURE", "--threshold=2"], "threshold=2.0: must be a probability"),
        (["PICTURE", "--runtime=torch"], "no artefact fits runtime='torch'"),
        (["PICTURE", "--runtime=tensorrt"], "runtime='tensorrt': choose from torch, onnxruntime"),
        (["PICTURE", "--precision=int8"], "no artefact fits precision='int8'; it has onnx-fp32"),
        (["PICTURE", "--precision=int3"], "--precision: Expected 'fp32', 'fp16', 'int8', null"),
        (["PICTURE", "--artefact=nms"], "artefact='nms': the bundle has onnx-fp32"),
        (["PICTURE", "--js"], "--js"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, named, bundle, picture, mistake):
    options = [str(picture) if option == "PICTURE" else option for option in options]
    assert named in mistake("predict", bundle, *options)


def test_a_picture_is_no_model(picture, mistake):
    assert mistake("predict", picture, picture).startswith(f"{picture}: ")


def test_answers_can_be_drawn_and_a_folder_stands_for_its_pictures(bundle, picture, tmp_path, parckit):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        shutil.copy(picture, folder / "same.png")
    printed = json.loads(parckit("predict", bundle, *folders, "--json", "--draw", tmp_path / "drawn"))
    assert [*printed] == [str(folder / "same.png") for folder in folders]
    drawings = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawings] == ["same.png.2.answer.png", "same.png.answer.png"]
    with Image.open(picture) as original, Image.open(drawings[0]) as drawing:
        assert drawing.height > original.height


def test_a_picture_that_is_given_twice_is_shown_twice(bundle, picture, parckit):
    assert parckit("predict", bundle, picture, picture).count(str(picture)) == 2
