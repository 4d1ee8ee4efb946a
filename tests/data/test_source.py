import pickle

import pytest
import torch

import parckit.data
from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, open_images

TRANSFORM = eval_transform(Preprocessing(size=(4, 4)))


def test_each_kind_of_source_is_recognised(image_folder, shard):
    folder = image_folder({"test/cat": 2, "test/dog": 1})
    path = shard("test-0.tar", [0, 1, 1, 1])
    lengths = [
        len(open_images(str(s), split="test", transform=TRANSFORM)) for s in ("digits", folder, path, path.parent)
    ]
    assert lengths == [364, 3, 4, 4]


def test_a_dataset_knows_its_labels_and_what_is_true(image_folder):
    dataset = open_images(str(image_folder({"test/cat": 1, "test/dog": 2})), split="test", transform=TRANSFORM)
    assert dataset.table.labels == ("cat", "dog")
    assert dataset.table.targets.tolist() == [0, 1, 1]
    sample = dataset[2]
    assert (sample.image.shape, sample.target, sample.geometry.input_size) == ((3, 4, 4), 1, (4, 4))


def test_a_dataset_tells_what_served_as_its_split(image_folder, shard):
    folder = image_folder({"cat": 4, "dog": 4})
    shard("train-0.tar", [0, 1])
    shards = shard("train-1.tar", [0, 1]).parent
    served = [
        open_images(str(source), split=split, transform=TRANSFORM).table.served
        for source in ("digits", folder, shards)
        for split in ("test", "train", "all")
    ]
    filled = ["the held-out part of train", "train without its held-out part", "all"]
    assert served == ["test", "train", "all", *filled, *filled]


def test_an_unknown_source_lists_the_accepted_ones(tmp_path):
    with pytest.raises(InputError, match=r"^digit: no such folder; accepted are 'digits', a folder .*shards"):
        open_images("digit", split="test", transform=TRANSFORM)
    (tmp_path / "images.zip").write_bytes(b"")
    with pytest.raises(InputError, match=r"images\.zip: not a folder; accepted are"):
        open_images(str(tmp_path / "images.zip"), split="test", transform=TRANSFORM)


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "{" * 3000 + "a,b" + "}" * 3000, "a" * 300 + ".tar"])
def test_a_name_that_no_system_can_have_is_refused_in_one_short_line(name):
    with pytest.raises(InputError) as caught:
        open_images(name, split="test", transform=TRANSFORM)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("http://host/a.tar", "curl --fail --output-dir FOLDER --remote-name-all http://host/a.tar"),
        ("HTTPS://host/{a,b}.tar", "curl --fail --output-dir FOLDER --remote-name-all HTTPS://host/{a,b}.tar"),
        ("s3://bucket/a-{0..9}.tar", "for shard in s3://bucket/a-{0..9}.tar; do aws s3 cp $shard FOLDER/; done"),
        ("gs://bucket/a.tar", "gsutil cp gs://bucket/a.tar FOLDER"),
    ],
)
def test_an_address_of_shards_is_refused_with_the_command_that_copies_them(address, command):
    with pytest.raises(InputError) as caught:
        open_images(address, split="train", transform=TRANSFORM)
    message = str(caught.value)
    assert message.startswith(f"{address}: parckit reads shards from disk; copy them first")
    assert message.endswith(f"(mkdir FOLDER; {command}), then give --data FOLDER")


def test_an_address_of_another_scheme_is_refused_without_a_command():
    with pytest.raises(InputError, match=r"^ftp://host/a\.tar: .*; copy them first, [^()]*, then give --data FOLDER$"):
        open_images("ftp://host/a.tar", split="train", transform=TRANSFORM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split='dev': choose from"),
        ({"split": "test", "on_error": "stop"}, "on_error='stop': choose"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        open_images("digits", transform=TRANSFORM, **options)


def test_the_public_names_exist():
    assert [name for name in parckit.data.__all__ if not hasattr(parckit.data, name)] == []


@pytest.mark.parametrize("kind", ["digits", "folder", "shards"])
def test_a_dataset_can_be_sent_to_a_fresh_worker_process(image_folder, shard, kind):
    source = {"digits": "digits", "folder": image_folder({"test/cat": 2}), "shards": shard("test-0.tar", [0, 0])}[kind]
    dataset = open_images(str(source), split="test", transform=TRANSFORM)
    sent = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert torch.equal(sent[1][0], dataset[1][0])


def test_a_tar_beside_class_folders_is_what_they_were_unpacked_from(image_folder):
    root = image_folder({"cat": 3, "dog": 3})
    (root / "all.tar.gz").touch()
    assert open_images(str(root), split="train", transform=None).table.labels == ("cat", "dog")
