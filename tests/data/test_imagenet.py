import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, open_images
from parckit.data.imagenet import DEVKIT_ARCHIVE, TRAIN_ARCHIVE, VAL_ARCHIVE, lay_out_imagenet

WNIDS = ("n01", "n02", "n03")
# The official numbers are not in the order of the names. The last synset is not a class but a group of classes.
SYNSETS = ((1, "n03", 0), (2, "n01", 0), (3, "n02", 0), (4, "n00", 3))
ANSWERS = (3, 1, 2, 1)
VAL_CLASSES = ("n02", "n03", "n01", "n03")


def _tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def _devkit() -> bytes:
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("num_children", "f8")]
    synsets = np.zeros(len(SYNSETS), dtype=kinds)
    for row, (number, wnid, children) in zip(synsets, SYNSETS, strict=True):
        row["ILSVRC2012_ID"], row["WNID"], row["words"], row["num_children"] = number, wnid, f"the {wnid}", children
    table = io.BytesIO()
    savemat(table, {"synsets": synsets[:, None]})
    answers = "".join(f"{answer}\n" for answer in ANSWERS).encode()
    folder = "ILSVRC2012_devkit_t12"
    names = {"readme.txt": b"", "data/meta.mat": table.getvalue()}
    names["data/ILSVRC2012_validation_ground_truth.txt"] = answers
    return _tar({f"{folder}/{name}": data for name, data in names.items()}, "w:gz")


@pytest.fixture
def encoded(picture):
    def make(seed: int) -> bytes:
        stream = io.BytesIO()
        picture(seed).save(stream, "JPEG")
        return stream.getvalue()

    return make


@pytest.fixture
def archives(tmp_path: Path, encoded) -> Path:
    """Return a folder of the three archives in their official form: 2 training images per class, 4 to validate."""
    train = {f"{wnid}_{i}.JPEG": encoded(10 * c + i) for c, wnid in enumerate(WNIDS) for i in range(2)}
    classes = {
        f"{wnid}.tar": _tar({name: data for name, data in train.items() if name.startswith(wnid)})
        for wnid in reversed(WNIDS)
    }
    val = {f"ILSVRC2012_val_0000000{i}.JPEG": encoded(100 + i) for i in (2, 1, 4, 3)}
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / TRAIN_ARCHIVE).write_bytes(_tar(classes))
    (folder / VAL_ARCHIVE).write_bytes(_tar(val))
    (folder / DEVKIT_ARCHIVE).write_bytes(_devkit())
    return folder


def test_folders(archives, tmp_path, encoded):
    counts = lay_out_imagenet(archives, tmp_path / "out")
    assert counts == {"train": 6, "val": 4}
    files = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*.JPEG")}
    train = {f"train/{wnid}/{wnid}_{i}.JPEG": 10 * c + i for c, wnid in enumerate(WNIDS) for i in range(2)}
    val = {f"val/{wnid}/ILSVRC2012_val_0000000{i}.JPEG": 100 + i for i, wnid in enumerate(VAL_CLASSES, start=1)}
    assert {name: path.read_bytes() for name, path in files.items()} == {
        name: encoded(seed) for name, seed in (train | val).items()
    }


def test_shards_hold_what_the_folders_do(archives, tmp_path):
    transform = eval_transform(Preprocessing(size=(8, 8)))
    contents = {}
    for form in ("folders", "shards"):
        lay_out_imagenet(archives, tmp_path / form, form=form, shard_size=4)
        for split in ("train", "val"):
            images = open_images(str(tmp_path / form), split=split, transform=transform)
            assert images.table.labels == WNIDS
            contents[form, split] = sorted((images[i][1], images[i][0].numpy().tobytes()) for i in range(len(images)))
    assert contents["folders", "train"] == contents["shards", "train"]
    assert contents["folders", "val"] == contents["shards", "val"]
    assert len(list((tmp_path / "shards").glob("train-*.tar"))) == 2


@pytest.mark.parametrize(("missing", "left"), [(TRAIN_ARCHIVE, {"val": 4}), (VAL_ARCHIVE, {"train": 6})])
def test_one_archive_is_enough(archives, tmp_path, missing, left):
    (archives / missing).unlink()
    assert lay_out_imagenet(archives, tmp_path / "out") == left


def test_validation_images_need_the_devkit(archives, tmp_path):
    (archives / DEVKIT_ARCHIVE).unlink()
    with pytest.raises(InputError, match=rf"{DEVKIT_ARCHIVE}: no such file; it has the classes"):
        lay_out_imagenet(archives, tmp_path / "out")


def test_a_folder_without_archives_is_told(tmp_path):
    with pytest.raises(InputError, match=f"has neither {TRAIN_ARCHIVE} nor {VAL_ARCHIVE}"):
        lay_out_imagenet(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", [TRAIN_ARCHIVE, VAL_ARCHIVE, DEVKIT_ARCHIVE])
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_a_cut_archive_is_named_and_nothing_is_left(archives, tmp_path, name, share):
    data = (archives / name).read_bytes()
    (archives / name).write_bytes(data[: int(len(data.rstrip(b"\0")) * share)])
    with pytest.raises(InputError, match=rf"{name}: (broken archive|not the official development kit)"):
        lay_out_imagenet(archives, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["archives"]


def test_an_archive_cut_between_two_classes_is_named(archives, tmp_path):
    path = archives / TRAIN_ARCHIVE
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1]
    path.write_bytes(path.read_bytes()[: second.offset])
    with pytest.raises(InputError, match=f"{TRAIN_ARCHIVE}: broken archive .*end mark"):
        lay_out_imagenet(archives, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (TRAIN_ARCHIVE, {"n01/1.JPEG": b""}, r"holds n01/1\.JPEG; expected one tar of images per class"),
        (TRAIN_ARCHIVE, {"n01.tar": _tar({}), "n09.tar": _tar({})}, "class n02 is not in both train and val"),
        (VAL_ARCHIVE, {"1.JPEG": b""}, f"holds 1 images, but {DEVKIT_ARCHIVE} has 4 answers"),
    ],
)
def test_what_is_not_official_is_told(archives, tmp_path, name, files, message):
    (archives / name).write_bytes(_tar(files))
    with pytest.raises(InputError, match=message):
        lay_out_imagenet(archives, tmp_path / "out")


@pytest.mark.parametrize("name", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
def test_an_incomplete_devkit_is_told(archives, tmp_path, name):
    other = "meta.mat" if name != "meta.mat" else "ILSVRC2012_validation_ground_truth.txt"
    (archives / DEVKIT_ARCHIVE).write_bytes(_tar({f"d/data/{other}": b""}, "w:gz"))
    with pytest.raises(InputError, match=rf"not the official development kit \(data/{name} is missing\)"):
        lay_out_imagenet(archives, tmp_path / "out")


def test_other_forms_are_refused(archives, tmp_path):
    with pytest.raises(InputError, match="form='zip': choose from"):
        lay_out_imagenet(archives, tmp_path / "out", form="zip")
