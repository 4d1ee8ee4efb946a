import resource
import shutil
from pathlib import Path

import pytest

from parckit.contract import (
    InputError,
    check_folder,
    check_place,
    check_target,
    find_obstacle,
    remove_leftovers,
    replacing,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_half(path: Path):
    with replacing(path) as temporary:
        temporary.write_text("half" * (1 // 0 if temporary.write_text("half") else 1))


def test_a_file_appears_whole_under_its_name(tmp_path):
    with replacing(tmp_path / "new" / "record.json") as temporary:
        temporary.write_text("{}")
        assert not (tmp_path / "new" / "record.json").exists()
    assert names(tmp_path / "new") == ["record.json"]


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "record.json").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "record.json")
    assert names(tmp_path) == ["record.json"]
    assert (tmp_path / "record.json").read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").touch()
    with replacing(tmp_path / "bundle") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert names(tmp_path) == ["bundle"]
    assert names(tmp_path / "bundle") == ["new"]


def test_a_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").touch()
    real = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(28, "No space left on device", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "bundle") as temporary:
        temporary.mkdir()
    assert caught.value.filename == str(tmp_path / "bundle")
    assert names(tmp_path) == ["bundle"]
    assert names(tmp_path / "bundle") == ["old"]


def test_an_unwritable_place_is_named_and_not_the_temporary_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught, replacing(tmp_path / "file" / "x"):
        pass
    assert ".tmp" not in str(caught.value)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = [".hidden", ".notes.json.tmp", ".other.txt~7.tmp", "notes.tmp", "record.json"]
    for name in kept:
        (tmp_path / name).touch()
    with replacing(tmp_path / "record.json") as temporary:
        left = temporary.name
        temporary.touch()
    (tmp_path / left).touch()
    (tmp_path / left.replace("record", "folder")).mkdir()
    remove_leftovers(tmp_path, names=r".*\.json")
    assert names(tmp_path) == kept


def test_equal_process_numbers_of_two_machines_do_not_meet(tmp_path):
    with replacing(tmp_path / "record.json") as one, replacing(tmp_path / "record.json") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "record.json").read_text() == "one"


SOURCE = 2000


def write_file(path: Path) -> None:
    path.write_bytes(b"x" * SOURCE)


def write_inner_file(path: Path) -> None:
    path.mkdir()
    write_file(path / "inner")


def copy_file(path: Path) -> None:
    path.mkdir()
    shutil.copyfile(path.parent.parent / "source", path / "copy")


@pytest.mark.parametrize("write", [write_file, write_inner_file, copy_file])
def test_a_full_disk_is_named_with_the_target(write, tmp_path):
    (tmp_path / "source").write_bytes(b"x" * SOURCE)
    target = tmp_path / "new" / "out"

    def fill() -> None:
        with replacing(target) as temporary:
            write(temporary)

    # A file that grows too large fails as on a full disk: the error of a write has no file name.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SOURCE // 2, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(target)
    # The folder that was made for the target is gone.
    assert names(tmp_path) == ["source"]


def test_a_file_is_no_folder_for_results(tmp_path):
    (tmp_path / "there").touch()
    check_target(tmp_path / "there", option="--record")
    with pytest.raises(InputError, match=r"--out .*there: is a file"):
        check_folder(tmp_path / "there", option="--out")
    with pytest.raises(InputError, match=r"--out .*x: cannot be written \(.*there: Not a directory\)"):
        check_place(tmp_path / "there" / "x", option="--out")
    assert names(tmp_path) == ["there"]


def test_a_folder_is_no_file_for_a_result(tmp_path):
    (tmp_path / "there").mkdir()
    check_folder(tmp_path / "there", option="--out")
    with pytest.raises(InputError, match=r"--record .*there: is a folder"):
        check_target(tmp_path / "there", option="--record")
    assert find_obstacle(tmp_path / "there" / "a" / "b.json") is None
    assert names(tmp_path / "there") == []
