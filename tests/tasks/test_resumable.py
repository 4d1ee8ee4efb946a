"""Finding the checkpoint that a training can go on from."""

import logging

import pytest

from checkpoint_files import SPEC, content, cut, save
from parckit.contract import InputError
from parckit.tasks import AtomicCheckpointIO, find_resumable, open_resumable


def test_a_whole_checkpoint_is_resumable(tmp_path):
    last = save(tmp_path, steps=2)
    assert open_resumable(last).spec == SPEC
    assert find_resumable(tmp_path) == open_resumable(last)
    assert find_resumable(tmp_path / "nothing") is None


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_offered(share, tmp_path, caplog):
    last = cut(save(tmp_path, steps=2), share=share)
    with pytest.raises(
        InputError, match=rf"^{last}: damaged.*; the checkpoint before it is intact: {tmp_path}/previous.ckpt$"
    ):
        open_resumable(last)
    with caplog.at_level(logging.WARNING):
        assert find_resumable(tmp_path).path == tmp_path / "previous.ckpt"
    assert [message.split(" (")[0] for message in caplog.messages] == [
        f"refused {last}: damaged, or not a .ckpt file with only weights"
    ]


def test_what_is_lost_is_said(tmp_path):
    last = cut(save(tmp_path, steps=2), share=0.5)
    cut(tmp_path / "previous.ckpt", share=0.5)
    with pytest.raises(InputError, match=rf"^{last}: damaged[^;]*$"):
        open_resumable(last)
    with pytest.raises(InputError, match=rf"^{tmp_path}: .* damaged: last.ckpt, previous.ckpt$"):
        find_resumable(tmp_path)


def test_a_file_with_only_weights_is_refused(tmp_path):
    path = save(tmp_path, steps=1)
    weights = content()
    del weights["optimizer_states"]
    AtomicCheckpointIO().save_checkpoint(weights, path)
    with pytest.raises(InputError, match="only weights"):
        open_resumable(path)
