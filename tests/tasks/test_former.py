"""Former names of weights that are trained beside a network."""

import torch

from parckit.contract import SPEC_KEY
from parckit.tasks import AtomicCheckpointIO, Classify, DistillationSettings
from parckit.tasks.former import translate_training


def test_the_weights_of_a_former_distillation_are_found_again(tmp_path, make_data, make_module):
    data = make_data()
    teacher = make_module(data)
    checkpoint = {"state_dict": teacher.state_dict(), SPEC_KEY: teacher.spec.to_dict()}
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "teacher.ckpt")
    distillation = DistillationSettings(teacher=str(tmp_path / "teacher.ckpt"), features=1.0)
    pupil, other = (make_module(data, task=Classify(distillation=distillation)) for _ in range(2))
    weights = pupil.state_dict()
    former = {name.replace("task.distiller.", "distiller."): value for name, value in weights.items()}
    assert sorted(former.keys() - weights.keys()) == ["distiller.projection.bias", "distiller.projection.weight"]
    saved = {"state_dict": former, "current_model_state": former, SPEC_KEY: pupil.spec.to_dict(), "global_step": 3}
    AtomicCheckpointIO().save_checkpoint(saved, tmp_path / "last.ckpt")
    read = AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert read["global_step"] == 3
    for entry in ("state_dict", "current_model_state"):
        other.load_state_dict(read[entry], strict=True)
        assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_weights_of_today_are_left_as_they_are():
    weights = {"model.head.weight": torch.ones(1), "task.distiller.projection.bias": torch.ones(1)}
    assert translate_training({"state_dict": dict(weights)}) == {"state_dict": weights}
