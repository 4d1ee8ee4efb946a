"""Finding the checkpoint that a training can go on from."""

import logging

import pytest

from checkpoint_files import SPEC, content, cut, save
from parckit.contract import InputError
from parckit.tasks import AtomicCheckpointIO, find_resumable, open_resumable
from parckit.tasks.checkpoints import SETTINGS_KEY


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
        f"refused {last}: damaged, or it holds objects other than tensors and plain values"
    ]


def test_what_is_lost_is_said(tmp_path):
    last = cut(save(tmp_path, steps=2), share=0.5)
    cut(tmp_path / "previous.ckpt", share=0.5)
    with pytest.raises(InputError, match=rf"^{last}: damaged[^;]*$"):
        open_resumable(last)
    with pytest.raises(InputError, match=rf"^{tmp_path}: no training .*: last.ckpt, previous.ckpt$"):
        find_resumable(tmp_path)


def test_a_file_with_only_weights_is_refused(tmp_path):
    path = save(tmp_path, steps=1)
    weights = content()
    del weights["optimizer_states"]
    AtomicCheckpointIO().save_checkpoint(weights, path)
    with pytest.raises(InputError, match="only weights"):
        open_resumable(path)


@pytest.mark.parametrize(("batches", "is_last", "is_refused"), [(3, False, True), (4, False, False), (3, True, False)])
def test_no_run_goes_on_in_the_middle_of_a_step(batches, is_last, is_refused, tmp_path):
    path = tmp_path / "best.ckpt"
    checkpoint = content(batches)
    checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = is_last
    checkpoint[SETTINGS_KEY] = {"--trainer.accumulate_grad_batches": 2}
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    if is_refused:
        with pytest.raises(InputError, match=rf"^{path}: was written inside an optimizer step"):
            open_resumable(path)
    else:
        assert find_resumable(tmp_path).position.batches == batches


def test_the_newest_of_the_best_checkpoints_serves_if_there_is_no_other(tmp_path):
    for steps in (9, 10, 2):
        save(tmp_path, steps=steps, name=f"best-0-{steps}.ckpt")
    cut(tmp_path / "best-0-10.ckpt", share=0.5)
    assert find_resumable(tmp_path).path == tmp_path / "best-0-9.ckpt"


ABSENT = object()


@pytest.mark.parametrize("wrong", [ABSENT, None, "x"], ids=["absent", "None", "text"])
@pytest.mark.parametrize(
    "keys",
    [
        ("loops",),
        ("loops", "fit_loop"),
        ("loops", "fit_loop", "epoch_progress"),
        ("loops", "fit_loop", "epoch_progress", "current", "processed"),
        ("loops", "fit_loop", "epoch_loop.batch_progress", "current"),
        ("callbacks",),
        ("lr_schedulers",),
        ("optimizer_states",),
    ],
    ids=".".join,
)
def test_a_checkpoint_with_missing_or_wrong_parts_is_damaged(keys, wrong, tmp_path):
    checkpoint = content(1)
    part = checkpoint
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = wrong
    if wrong is ABSENT:
        del part[keys[-1]]
    path = tmp_path / "wrong.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    with pytest.raises(InputError, match=rf"^{path}: (damaged: its state|holds only weights)"):
        open_resumable(path)


@pytest.mark.parametrize("name", ["averaging_state", "current_model_state"])
def test_an_average_needs_the_current_weights_too(name, tmp_path):
    AtomicCheckpointIO().save_checkpoint({**content(1), name: {}}, tmp_path / "half.ckpt")
    with pytest.raises(InputError, match="only one of"):
        open_resumable(tmp_path / "half.ckpt")
