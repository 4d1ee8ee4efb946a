import shutil

import pytest
import torch

from parckit.contract import InputError
from parckit.data import AugmentSettings
from pictures import break_picture


def test_labels_are_the_class_folders_in_order(make_data):
    assert make_data().labels == ("blue", "green", "red")


def test_validation_has_the_classes_of_training(make_data, folder, caplog):
    (folder / "val" / "green").rename(folder / "val" / "violet")
    data = make_data()
    assert data.labels == ("blue", "green", "red")
    (batch,) = data.val_dataloader()
    assert batch.targets.tolist() == [0, 0, 2, 2]
    assert "does not know violet (2); 2 images are left out" in caplog.text


def test_a_file_sets_the_order_of_the_classes(make_data, folder, tmp_path):
    (tmp_path / "names.txt").write_text("red\nblack\ngreen\nblue\n")
    plain, ordered = make_data(), make_data(class_names=str(tmp_path / "names.txt"))
    assert ordered.labels == ("red", "black", "green", "blue")
    for name in ("train_dataloader", "val_dataloader"):
        targets = [torch.cat([batch.targets for batch in getattr(data, name)()]) for data in (plain, ordered)]
        assert torch.equal(torch.tensor([3, 2, 0])[targets[0]], targets[1])


def test_training_leaves_out_a_batch_that_is_not_full(make_data):
    assert [len(batch.targets) for batch in make_data(batch_size=8).train_dataloader()] == [8, 8, 8]


def test_validation_sees_every_image_once(make_data):
    batches = [*make_data(batch_size=4).val_dataloader()]
    assert [len(batch.targets) for batch in batches] == [4, 2]
    assert torch.cat([batch.targets for batch in batches]).bincount().tolist() == [2, 2, 2]


def test_images_have_the_size_of_the_preprocessing(make_data):
    data = make_data()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert next(iter(loader)).images.shape[1:] == (3, 32, 32)


def test_training_shuffles_by_the_seed(make_data):
    def order(seed: int) -> list[list[int]]:
        return [batch.targets.tolist() for batch in make_data(seed=seed).train_dataloader()]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_repeated_images_are_augmented_anew(make_data):
    augment = AugmentSettings(crop="random_resized", scale=(0.3, 1.0))
    data = make_data(source="digits", repeats=2, augment=augment)
    images = next(iter(data.train_dataloader())).images
    assert len(images.flatten(1).unique(dim=0)) == len(images) == 10
    by_class = next(iter(data.train_dataloader())).targets.bincount()
    assert (by_class % 2 == 0).all()


def test_only_training_is_augmented(make_data):
    plain, mirrored = (make_data(augment=AugmentSettings(crop="none", flip=flip)) for flip in (0.0, 1.0))
    for one, other in zip(plain.train_dataloader(), mirrored.train_dataloader(), strict=True):
        assert torch.equal(one.images.flip(3), other.images)
    for one, other in zip(plain.val_dataloader(), mirrored.val_dataloader(), strict=True):
        assert torch.equal(one.images, other.images)


def test_a_broken_image_is_named(folder, make_data):
    path = break_picture(folder / "train")
    with pytest.raises(InputError, match=str(path)):
        list(make_data().train_dataloader())


def test_a_broken_image_is_counted_where_it_is_skipped(folder, make_data):
    break_picture(folder / "train")
    data = make_data(on_error="skip")
    assert sum(batch.skipped for batch in data.train_dataloader()) == 1


def test_a_single_class_is_refused(folder, make_data, tmp_path):
    (tmp_path / "above").mkdir()
    shutil.copytree(folder / "train", tmp_path / "above" / "flowers")
    with pytest.raises(InputError, match="above: has only the class 'flowers'; is the folder one level too high"):
        make_data(source=str(tmp_path / "above"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 1}, "batch_size=1.* at least 2"),
        ({"workers": -1}, "workers=-1"),
        ({"source": "no/such/folder"}, "no/such/folder"),
        ({"batch_size": 31}, "batch_size=31.* 30 images"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"max_broken": 10}, "max_broken=10"),
    ],
)
def test_mistakes_are_named(options, named, make_data):
    with pytest.raises(InputError, match=named):
        make_data(**options)
