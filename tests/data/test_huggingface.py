import io
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest

from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, image_loader, open_images
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
    for table in (train, val):  # targets stay with their pictures, whose classes alternate
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
    with pytest.raises(InputError, match=r"one column of type ClassLabel .* \?label=COLUMN from: label, coarse"):
        open_huggingface(source, split="train")
    assert open_huggingface(f"{source}?label=coarse", split="train").labels == ("animal",)
    assert open_huggingface(f"{source}?image=img&label=label", split="train").labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?label=id", r"one column of type ClassLabel .* \?label=COLUMN from: label"),
        ("?image=label", r"one column of type Image .* \?image=COLUMN from: img"),
        ("?split=train", r"unknown option 'split'; accepted are image=COLUMN and label=COLUMN"),
    ],
)
def test_columns_that_do_not_serve_are_told(saved, rows, query, message):
    with pytest.raises(InputError, match=message):
        open_huggingface(saved(test=rows([0])) + query, split="test")


def test_what_does_not_fit_is_told(saved, rows, tmp_path):
    with pytest.raises(InputError, match="the classes of test differ"):
        open_huggingface(saved(train=rows([0]), test=rows([0], names=("dog", "cat"))), split="all")
    with pytest.raises(InputError, match=r"has only the splits extra; accepted are train, training, val, valid"):
        open_huggingface(saved(extra=rows([0])), split="test")
    with pytest.raises(InputError, match="no split has a class in column 'label' for every row"):
        open_huggingface(saved(test=rows([-1])), split="test")
    with pytest.raises(InputError, match="class 1 has one sample only, which cannot be both trained on and held out"):
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
    with pytest.raises(InputError, match=r'hf://mnist: needs the package datasets: pip install "parckit\[hf\]"'):
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
