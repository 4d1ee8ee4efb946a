import json
import tarfile
from pathlib import Path

import pytest

from box_files import coco, write_coco
from parckit.cli.main import main
from parckit.data.imagenet import TRAIN_ARCHIVE
from parckit.data.shards import open_shards
from pictures import coloured, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "colours", count=4)


def test_a_packed_folder_is_a_source_for_training(folder, tmp_path, parckit):
    out = tmp_path / "shards"
    assert parckit("data", "pack", folder, out, "--shard-size", 5) == f"{out}: 9 train images, 3 val images\n"
    table = open_shards(str(out), split="all")
    assert table.labels == ("blue", "green", "red")
    assert sorted(table.targets.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert [path.name for path in sorted(out.iterdir())] == [
        "classes.txt",
        "train-0000.tar",
        "train-0001.tar",
        "val-0000.tar",
    ]


def test_a_sound_folder_passes(folder, parckit):
    assert parckit("data", "check", folder, "--smallest=20").splitlines()[-1] == (
        f"{folder}: no problems found in 12 images"
    )


def test_a_folder_with_boxes_is_told_apart(folder, capsys):
    write_coco(folder / "annotations" / "instances_train.json", coco([{"bbox": [1, 2, 20, 10]}]))
    with pytest.raises(SystemExit):
        main(["data", "check", str(folder)])
    assert "--task detect" in capsys.readouterr().out


def test_a_check_says_what_a_training_says(folder, parckit, tmp_path):
    (folder / "red" / "@eaDir").mkdir()
    checked = parckit("data", "check", folder, "--smallest=20").splitlines()[:3]
    run = ("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--data.workers=0", "--data.batch_size=2")
    trained = parckit(
        "train", "--config=classify/digits_parcnet_xxs", "--data", folder, *run, "--out", tmp_path / "run"
    ).splitlines()[1:4]
    assert [line.partition(": ")[2] for line in checked] == [line.partition(": ")[2] for line in trained]
    assert checked[2] == "left out: 1 hidden or left by a system (red/@eaDir)"


def _check_failing(capsys, *argv: object) -> str:
    with pytest.raises(SystemExit) as ending:
        main(["data", "check", *map(str, argv)])
    assert ending.value.code == 1
    return capsys.readouterr().out


def test_what_is_wrong_is_shown_and_ends_with_1(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (folder / "red" / "new.jpg").write_bytes(b"")
    coloured("red", size=(60, 60), seed=77).save(folder / "blue" / "new.bmp", "PNG")
    printed = _check_failing(capsys, folder, "--smallest=20", "--threads=1")
    assert f"\n{folder}: 1 wrong ending, 1 broken\n" in printed
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert ["blue/new.bmp", "wrong ending", "PNG image"] in rows
    assert [row[:2] for row in rows] == [["blue/new.bmp", "wrong ending"], ["red/new.jpg", "broken"]]


def test_json_can_be_read_by_programs(folder, capsys):
    path = folder / "red" / "new.png"
    coloured("red", size=(5, 60)).save(path)
    findings = json.loads(_check_failing(capsys, folder, "--smallest=6", "--json"))
    assert findings == [{"file": str(path), "problem": "tiny", "detail": "shorter side of 5 pixels"}]


def test_json_of_a_sound_folder_is_an_empty_list(folder, parckit):
    assert json.loads(parckit("data", "check", folder, "--smallest=20", "--json")) == []


@pytest.mark.parametrize("form", ["folders", "shards"])
def test_imagenet(tmp_path, parckit, form):
    coloured("red").save(tmp_path / "n01_1.JPEG")
    for archive, member in (("n01.tar", "n01_1.JPEG"), (TRAIN_ARCHIVE, "n01.tar")):
        with tarfile.open(tmp_path / archive, "w") as tar:
            tar.add(tmp_path / member, arcname=member)
    out = tmp_path / "out"
    assert parckit("data", "imagenet", tmp_path, out, f"--form={form}") == f"{out}: 1 train images\n"
    expected = {"folders": "train/n01/n01_1.JPEG", "shards": "train-0000.tar"}
    assert (out / expected[form]).is_file()


def test_the_bar_is_no_part_of_what_is_printed(folder, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # treat the output as a terminal
    main(["data", "pack", str(folder), str(tmp_path / "out")])
    printed, shown = capfd.readouterr()
    assert "packing" in shown
    assert "100%" in shown
    assert "packing" not in printed


@pytest.mark.parametrize("action", ["pack", "check", "imagenet"])
def test_every_action_has_help(action, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["data", action, "--help"])
    assert ending.value.code == 0
    assert f"parckit data {action}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check", "nowhere"], "nowhere: no such folder"),
        (["pack", "nowhere", "out"], "nowhere: no such folder"),
        (["imagenet", ".", "out", "--form=zip"], "zip"),
        (["check", ".", "--threads=0"], "--threads"),
        (["pack", ".", "out", "--shard_size=0"], "--shard_size"),
        (["pack", "."], "out"),
        (["clean", "."], "clean"),
        ([], "action"),
    ],
)
def test_mistakes_are_named(argv, said, mistake):
    assert said in mistake("data", *argv)


def test_images_in_shards_and_several_sources_are_checked(folder, tmp_path, parckit, capsys):
    parckit("data", "pack", folder, tmp_path / "shards")
    checked = parckit("data", "check", tmp_path / "shards", "--smallest=20").splitlines()
    assert checked[-1] == f"{tmp_path / 'shards'}: no problems found in 12 images"
    printed = _check_failing(capsys, folder, tmp_path / "shards", "--smallest=20")
    assert f"\n[{folder}, {tmp_path / 'shards'}]: 12 same bytes\n" in printed


def test_a_folder_without_images_is_not_called_sound(tmp_path, mistake):
    (tmp_path / "notes.txt").write_text("no picture")
    assert mistake("data", "check", tmp_path) == f"{tmp_path}: none of its 1 files is an image"


def test_a_network_names_the_images_whose_class_it_doubts(animal_folder, two_artefacts, capsys):
    options = ("--smallest=1", "--model", two_artefacts, "--doubtful=2", "--json")
    findings = json.loads(_check_failing(capsys, animal_folder, *options))
    doubtful = [finding for finding in findings if finding["problem"] == "doubtful class"]
    assert len(doubtful) == 2
    for finding in doubtful:
        assert finding["detail"].startswith(f"{Path(finding['file']).parent.name} has ")
