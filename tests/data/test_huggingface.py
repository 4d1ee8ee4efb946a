import io
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest

from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, image_loader, open_images, open_table
from parckit.data.checking import find_problems, inspect
from parckit.data.checklist import list_members
from parckit.data.huggingface import open_huggingface


@pytest.fixture(autouse=True)
def _quiet(tmp_path, monkeypatch):
    """Keep the library's tables out of the user's cache and its progress bars out of the output."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()


@pytest.fixture
def rows(picture):
    def make(targets: Sequence[int], *, first: int = 0, names: Sequence[str] = ("cat", "dog")):
        """Return rows of pictures numbered from `first`, with their class."""
        encoded = []
        for number in range(first, first + len(targets)):
            stream = io.BytesIO()
            picture(number).save(stream, "PNG")
            encoded.append({"bytes": stream.getvalue(), "path": None})
        features = {
            "img": datasets.Image(),
            "label": datasets.ClassLabel(names=list(names)),
            "id": datasets.Value("int64"),
        }
        columns = {"img": encoded, "label": list(targets), "id": list(range(len(targets)))}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return make


@pytest.fixture
def saved(tmp_path, rows):
    def make(**splits) -> str:
        """Save splits with `save_to_disk`; return their source."""
        datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
        return f"hf://{tmp_path / 'saved'}"

    return make


def _pixels(table) -> list[bytes]:
    return [np.asarray(table.load(index)).tobytes() for index in range(len(table.targets))]


def _pictures(picture, numbers) -> list[bytes]:
    return [np.asarray(picture(number)).tobytes() for number in numbers]


def test_rows_come_back_in_their_order(saved, rows, picture):
    source = saved(train=rows([0, 1, 1, 0]), validation=rows([1, 0], first=50), test=rows([1], first=70))
    for split, targets, numbers in (("train", [0, 1, 1, 0], range(4)), ("val", [1, 0], (50, 51)), ("test", [1], (70,))):
        table = open_huggingface(source, split=split)
        assert table.labels == ("cat", "dog")
        assert table.targets.tolist() == targets
        assert _pixels(table) == _pictures(picture, numbers)
    assert open_huggingface(source, split="all").targets.tolist() == [0, 1, 1, 0, 1, 0, 1]


def test_a_single_saved_table_is_train_with_a_part_held_out(rows, picture, tmp_path):
    rows([0, 1] * 15).save_to_disk(tmp_path / "saved")
    source = f"hf://{tmp_path / 'saved'}"
    train, val, test = (open_huggingface(source, split=split) for split in ("train", "val", "test"))
    np.testing.assert_array_equal(np.bincount(val.targets), [2, 2])  # a tenth of each class, rounded up
    assert sorted(_pixels(train) + _pixels(val)) == sorted(_pictures(picture, range(30)))
    assert _pixels(test) == _pixels(val)
    for table in (train, val):  # every picture keeps its class; the classes alternate
        classes = dict(zip(_pictures(picture, range(30)), [0, 1] * 15, strict=True))
        assert [classes[pixels] for pixels in _pixels(table)] == table.targets.tolist()


def test_a_split_with_hidden_labels_counts_as_missing(saved, rows):
    source = saved(train=rows([0, 1]), validation=rows([1]), test=rows([-1, -1]))
    test = open_huggingface(source, split="test")
    assert (test.targets.tolist(), test.served) == ([1], "val")
    assert len(open_huggingface(source, split="all").targets) == 3


def test_folders_that_load_dataset_reads(rows, tmp_path):
    (tmp_path / "set").mkdir()
    rows([0, 1, 1]).to_parquet(tmp_path / "set" / "train-00000.parquet")
    rows([1, 0]).to_parquet(tmp_path / "set" / "test-00000.parquet")
    source = f"hf://{tmp_path / 'set'}"
    assert open_huggingface(source, split="test").targets.tolist() == [1, 0]
    assert open_huggingface(source, split="all").targets.tolist() == [0, 1, 1, 1, 0]


def _folder(tmp_path, files) -> str:
    for name, table in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(tmp_path / "set" / name)
    return f"hf://{tmp_path / 'set'}"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("training/part[1].parquet", "Test/part.parquet"),
    ],
)
def test_names_say_which_split_a_table_belongs_to(rows, tmp_path, train, test):
    source = _folder(tmp_path, {train: rows([0, 1, 1, 0]), test: rows([1, 0])})
    assert open_huggingface(source, split="train").targets.size == 2  # one of each class is held out
    assert open_huggingface(source, split="test").targets.tolist() == [1, 0]


@pytest.mark.parametrize("name", ["my_test_pictures.parquet", "part-test.parquet", "latest.parquet", "eval.parquet"])
def test_no_split_is_guessed(rows, tmp_path, name):
    assert len(open_huggingface(_folder(tmp_path, {name: rows([0, 1])}), split="all").targets) == 2
    source = _folder(tmp_path, {name: rows([0, 1]), "train.parquet": rows([0, 1])})
    with pytest.raises(InputError, match=f"{name} belongs to no split, but other files do"):
        open_huggingface(source, split="all")


def test_folders_without_one_kind_of_table_are_told(rows, tmp_path, image_folder):
    photos = image_folder({"cat": 1, "test": 1})
    with pytest.raises(InputError, match=f"holds no table; .*; for images in class folders give --data {photos}"):
        open_huggingface(f"hf://{photos}", split="train")
    source = _folder(tmp_path, {"a.parquet": rows([0])})
    (tmp_path / "set" / "b.csv").write_text("x\n")
    with pytest.raises(InputError, match="tables of several kinds, csv, parquet"):
        open_huggingface(source, split="train")


@pytest.mark.parametrize(
    ("values", "query", "labels", "targets"),
    [
        (["dog", "cat", "dog"], "", ("cat", "dog"), [1, 0, 1]),
        ([10, 9, 2_000_000_000], "", ("9", "10", "2000000000"), [1, 0, 2]),
        ([True, False, True], "", ("False", "True"), [1, 0, 1]),
        (["2", "10", "2"], "?label=label", ("2", "10"), [0, 1, 0]),
    ],
)
def test_plain_columns_hold_classes(rows, saved, values, query, labels, targets):
    table = rows([0, 1, 0]).remove_columns("label").add_column("label", values)
    opened = open_huggingface(saved(test=table) + query, split="test")
    assert opened.labels == labels
    assert opened.targets.tolist() == targets


@pytest.mark.parametrize("hidden", [[None, None], ["", " "], [-1, -1]])
def test_a_split_with_hidden_plain_classes_counts_as_missing(rows, saved, hidden):
    plain = rows([0, 1]).remove_columns("label")
    train = plain.add_column("label", [3, 4] if hidden == [-1, -1] else ["a", "b"])
    table = open_huggingface(saved(validation=train, test=plain.add_column("label", hidden)), split="test")
    assert table.served == "val"
    assert [(entry.path, entry.cause) for entry in table.left_out] == [("test", "split")]


LISTS = {
    "numbers of classes": (datasets.List(datasets.ClassLabel(names=["cat", "dog", "elk"])), [[0, 1], [], [1], None]),
    "strings": (datasets.List(datasets.Value("string")), [["cat", "dog"], [], ["dog"], None]),
}


@pytest.mark.parametrize("kind", LISTS)
def test_columns_of_lists_hold_several_labels(kind, rows, saved):
    feature, values = LISTS[kind]
    table = rows([0, 1, 0, 1]).remove_columns("label").add_column("tags", values, feature=feature)
    opened = open_huggingface(saved(test=table), split="test", several_labels=True)
    assert opened.labels == (("cat", "dog", "elk") if "numbers" in kind else ("cat", "dog"))
    assert opened.targets[:, :2].tolist() == [[True, True], [False, False], [False, True], [False, False]]


def test_several_labels_are_held_out_joined_and_hidden(rows, saved):
    plain, feature = rows([0] * 30).remove_columns("label"), datasets.List(datasets.Value("string"))
    train = plain.add_column(
        "label", [["often"] + ["rare"] * (number % 10 == 0) for number in range(30)], feature=feature
    )
    hidden = plain.add_column("label", [[] for _ in range(30)], feature=feature)
    source = saved(train=train, test=hidden)
    parts = [open_huggingface(source, split=split, several_labels=True) for split in ("train", "val", "all")]
    assert [part.targets.sum(axis=0).tolist() for part in parts] == [[26, 2], [4, 1], [30, 3]]
    assert "30 of its 30 rows have no class" in parts[0].left_out[0].detail
    assert open_table(source, split="val", several_labels=True).targets.shape == (4, 2)
    with pytest.raises(InputError, match="one column of type ClassLabel"):
        open_huggingface(source, split="all")


def test_pictures_beside_the_table_are_read(tmp_path, picture):
    picture(5).save(tmp_path / "5.png")
    features = datasets.Features({"image": datasets.Image(decode=False), "y": datasets.ClassLabel(names=["a"])})
    columns = {"image": [{"bytes": None, "path": str(tmp_path / "5.png")}], "y": [0]}
    table = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(test=table).save_to_disk(tmp_path / "saved")
    assert _pixels(open_huggingface(f"hf://{tmp_path / 'saved'}", split="test")) == _pictures(picture, [5])


def test_columns_can_be_chosen(saved, rows):
    train = rows([0, 1]).add_column("coarse", [0, 0], feature=datasets.ClassLabel(names=["animal"]))
    source = saved(train=train, validation=train, test=train)
    with pytest.raises(InputError, match=r"one column of type ClassLabel.* \?label=COLUMN from: label, coarse, id"):
        open_huggingface(source, split="train")
    assert open_huggingface(f"{source}?label=coarse", split="train").labels == ("animal",)
    assert open_huggingface(f"{source}?image=img&label=label", split="train").labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?label=img", r"one column of type ClassLabel.* \?label=COLUMN from: label, id"),
        ("?image=label", r"one column of type Image .* \?image=COLUMN from: img"),
        ("?split=train", r"unknown option 'split'; accepted are image=COLUMN and label=COLUMN"),
    ],
)
def test_columns_that_do_not_serve_are_told(saved, rows, query, message):
    with pytest.raises(InputError, match=message):
        open_huggingface(saved(test=rows([0])) + query, split="test")


def test_splits_with_other_classes_are_joined_by_name(saved, rows):
    table = open_huggingface(saved(train=rows([0]), test=rows([0], names=("owl", "cat"))), split="all")
    assert [table.labels[target] for target in table.targets] == [rows([0]).features["label"].names[0], "owl"]


def test_what_does_not_fit_is_told(saved, rows, tmp_path):
    with pytest.raises(InputError, match=r"has only the splits extra; accepted are train, training, val, valid"):
        open_huggingface(saved(extra=rows([0])), split="test")
    with pytest.raises(InputError, match="no split has a class in column 'label' for every row"):
        open_huggingface(saved(test=rows([-1])), split="test")
    with pytest.raises(InputError, match="class 'dog' has one image, which cannot be both trained on and held out"):
        open_huggingface(saved(train=rows([0, 0, 1])), split="train")
    with pytest.raises(InputError, match=r"hf://\./nowhere/x: cannot be loaded \(") as caught:
        open_huggingface("hf://./nowhere/x", split="train")
    assert "\n" not in str(caught.value)
    (tmp_path / "scripted").mkdir()
    (tmp_path / "scripted" / "scripted.py").write_text("raise SystemExit")
    with pytest.raises(InputError, match=r"scripted: cannot be loaded \(.*no longer supported"):
        open_huggingface(f"hf://{tmp_path}/scripted", split="train")


def test_a_broken_picture_is_named_by_split_and_row(tmp_path, rows):
    spoilt = rows([0, 1]).to_dict() | {"img": [{"bytes": b"spoilt", "path": None}, None]}
    table = datasets.Dataset.from_dict(spoilt, features=rows([0]).features)
    datasets.DatasetDict(test=table).save_to_disk(tmp_path / "saved")
    opened = open_huggingface(f"hf://{tmp_path / 'saved'}", split="test")
    with pytest.raises(InputError, match="saved, test, row 0: not an image"):
        opened.load(0)
    with pytest.raises(InputError, match="saved, test, row 1: has no image"):
        opened.load(1)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r'hf://mnist: needs the package datasets; install it with: pip install "parckit\[hf\]"'
    ):
        open_huggingface("hf://mnist", split="train")


def test_a_name_may_carry_a_configuration(monkeypatch, rows):
    asked = []

    def load(name: str, config: str | None):
        asked.append((name, config))
        return datasets.DatasetDict(test=rows([0]))

    monkeypatch.setattr(datasets, "load_dataset", load)
    for source in ("hf://user/flowers:small?label=label", "hf://mnist"):
        open_huggingface(source, split="test")
    assert asked == [("user/flowers", "small"), ("mnist", None)]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_it_is_a_source_that_worker_processes_read(saved, rows, tmp_path: Path):
    source = saved(test=rows([0, 1, 1]))
    dataset = open_images(source, split="test", transform=eval_transform(Preprocessing(size=(8, 8))))
    alone, parallel = (next(iter(image_loader(dataset, batch_size=3, workers=workers))) for workers in (0, 2))
    assert alone.targets.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(alone.images.numpy(), parallel.images.numpy())


def test_a_check_reads_what_training_reads(saved, rows):
    source = saved(train=rows([0, 1, 0, 1]), test=rows([0, 0], first=9))
    checklist = list_members(source)
    inspections = list(inspect(checklist.members, threads=1))
    assert [(member.split, member.label) for member in checklist.members][-3:] == [
        ("val", "dog"),
        ("test", "cat"),
        ("test", "cat"),
    ]
    assert {finding.problem for finding in find_problems(inspections)} == {"tiny"}
    assert str(checklist.members[-1].path) == f"{source.removeprefix('hf://')}, test, row 1"
