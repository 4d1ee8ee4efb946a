import csv
import json
import os
import shutil
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parckit.cli import predict
from parckit.cli.main import main
from parckit.networks import open_checkpoint, save_weights
from parckit.processing import open_picture
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
    assert printed.err.endswith(f"; 1 more without a complete answer: {absent}\n")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "images"),
        (["no/such.png"], "no/such.png"),
        (["PICTURE", "--top=0"], "top=0: must be a whole number of classes"),
        (["PICTURE", "--top=some"], "--top"),
        (["PICTURE", "--threshold=2"], "threshold=2.0: must be a probability"),
        (["PICTURE", "--runtime=torch"], "no artefact fits runtime='torch'"),
        (["PICTURE", "--runtime=tensorflow"], "runtime='tensorflow': choose from torch, onnxruntime"),
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


def test_answers_do_not_go_into_the_folder_of_the_pictures(bundle, picture, mistake):
    # A second run would answer them.
    assert "--draw" in mistake("predict", bundle, picture.parent, f"--draw={picture.parent / 'drawn'}")
    assert "name a folder elsewhere" in mistake("predict", bundle, picture.parent, f"--draw={picture.parent}")


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


@pytest.fixture
def three(picture, tmp_path) -> list[Path]:
    """Return a picture, a broken one and another picture, in a folder with a comma in its name."""
    folder = tmp_path / "a, b"
    folder.mkdir()
    paths = [folder / name for name in ("1.png", "2.png", "3.png")]
    for path in paths:
        shutil.copy(picture, path)
    paths[1].write_bytes(b"")
    return paths


def answered(capsys, code: int, *argv: object) -> str:
    """Run `predict`, which ends with an exit code; return what it prints."""
    with pytest.raises(SystemExit) as ending:
        main(["predict", *map(str, argv)])
    assert ending.value.code == code
    return capsys.readouterr().out


def test_json_lines_tell_every_picture_in_order(bundle, three, capsys, parckit):
    lines = [json.loads(line) for line in answered(capsys, 2, bundle, *three, "--format=jsonl").splitlines()]
    assert [line["picture"] for line in lines] == [str(path) for path in three]
    assert lines[1]["error"].startswith(f"{three[1]}: not an image")
    whole = json.loads(parckit("predict", bundle, three[0], "--format=json"))
    assert lines[0]["answer"] == lines[2]["answer"] == whole[str(three[0])]


def test_csv_has_a_line_for_every_class(bundle, three, capsys, ranked):
    printed = answered(capsys, 2, bundle, *three, "--format=csv", "--threshold=0.99", "--top=2")
    header, *rows = csv.reader(printed.splitlines())
    assert header == ["picture", "class", "probability"]
    expected = [
        [str(path), label, "" if share is None else json.dumps(share)]
        for path in (three[0], three[2])
        for label, share in ranked(bundle, path, "--threshold=0.99", "--top=2")
    ]
    assert rows == expected
    assert rows[0][1:] == ["unknown", ""]


def test_csv_for_a_program_has_the_true_names(bundle, picture, monkeypatch):
    files = [picture.with_name(name) for name in ('two\nlines ".png', "\x1b[31m.png", os.fsdecode(b"\xff.png"))]
    for file in files:
        shutil.copy(picture, file)
    written = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(written))
    main(["predict", str(bundle), *map(str, files), "--format=csv", "--top=1"])
    text = written.getvalue().decode(errors="surrogateescape")
    assert [row[0] for row in csv.reader(StringIO(text))] == ["picture", *map(str, files)]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_answers_come_one_by_one(form, two_artefacts, three, parckit, monkeypatch):
    seen: list[int] = []
    first_printed = StringIO()
    monkeypatch.setattr("sys.stdout", first_printed)

    def open_and_look(path: Path) -> Image.Image:
        seen.append(len(first_printed.getvalue().splitlines()))
        return open_picture(path)

    monkeypatch.setattr(predict, "open_picture", open_and_look)
    main(["predict", str(two_artefacts), str(three[0]), str(three[2]), f"--format={form}", "--top=1"])
    before_second = seen[1]
    assert before_second == (1 if form == "jsonl" else 2)  # a CSV has a heading


@pytest.mark.parametrize("names", ["*.png", "[12].png", "**/?.png", "."])
def test_patterns_and_folders_stand_for_pictures(names, bundle, three, parckit, monkeypatch):
    shutil.copy(three[0], three[1])
    expected = three[:2] if names == "[12].png" else three
    for place, beginning in ((three[0].parent, ""), (Path("/"), f"{three[0].parent}/")):
        monkeypatch.chdir(place)
        printed = json.loads(parckit("predict", bundle, f"{beginning}{names}", "--json"))
        assert [Path(name).resolve() for name in printed] == expected


def test_a_file_with_a_pattern_for_a_name_is_that_file(bundle, three, parckit):
    path = three[0].rename(three[0].with_name("[12].png"))
    assert [*json.loads(parckit("predict", bundle, path, "--json"))] == [str(path)]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_list_names_files_folders_and_patterns(ending, piped, bundle, three, tmp_path, parckit, monkeypatch):
    odd = shutil.copy(three[0], tmp_path / os.fsdecode(b"\xff \xc3\xa9.png"))
    shutil.copy(three[0], three[1])
    lines = (str(odd), "", str(three[2]), str(three[0].with_name("[12].png")), str(three[0].parent))
    data = b"\xef\xbb\xbf" + os.fsencode(ending.join(lines))
    (tmp_path / "list.txt").write_bytes(data)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(data)))
    printed = parckit("predict", bundle, "@-" if piped else f"@{tmp_path}/list.txt", "--format=jsonl", "--top=1")
    paths = [json.loads(line)["picture"] for line in printed.splitlines()]
    assert paths == [str(path) for path in (odd, three[2], three[0], three[1], *three)]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("@EMPTY", "names no picture"),
        ("@PICTURE", "is no text file"),
        ("@none.txt", "none.txt: No such file"),
        ("none/*.png", "none/*.png: matches no file"),
    ],
)
def test_mistakes_in_lists_and_patterns_are_named(name, told, bundle, picture, tmp_path, mistake):
    (tmp_path / "empty").touch()
    name = name.replace("EMPTY", str(tmp_path / "empty")).replace("PICTURE", str(picture))
    assert told in mistake("predict", bundle, name)


def test_many_broken_pictures_are_counted(bundle, tmp_path, mistake):
    absent = [tmp_path / f"{number}.png" for number in range(15)]
    message = mistake("predict", bundle, *absent)
    assert message.startswith(f"{absent[0]}: no such image file; 14 more without a complete answer: {absent[1]}, ")
    assert message.endswith(f"{absent[10]}, ...")


def test_two_formats_are_a_mistake(bundle, picture, mistake):
    assert mistake("predict", bundle, picture, "--json", "--format=csv") == "--json, --format csv: give one of them"
    assert "--format: Expected 'table', 'json', 'jsonl', 'csv'" in mistake("predict", bundle, picture, "--format=xml")
