import pytest
import torch

from parckit.cli.models import open_model
from parckit.contract import InputError


def test_a_name_gives_fresh_weights_that_the_seed_decides():
    first, again, other = (open_model("test_parcnet", seed=seed, size=None) for seed in (3, 3, 4))
    weights = [opened.model.state_dict()["stem.conv.weight"] for opened in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.fresh
    assert first.weights == "untrained, seed 3"
    assert len(first.spec.labels) == 1000
    assert first.spec.preprocessing.size == (64, 64)
    assert not first.model.training


def test_a_file_gives_its_own_weights_and_labels(checkpoint):
    opened = open_model(str(checkpoint), seed=0, size=(40, 48))
    assert not opened.fresh
    assert opened.weights == f"test_parcnet of {checkpoint}"
    assert opened.spec.labels == tuple("0123456789")
    assert opened.spec.preprocessing.size == (40, 48)


@pytest.mark.parametrize("name", ["no_such_model", "no/such.ckpt", "no/such.safetensors"])
def test_what_is_neither_is_named(name):
    with pytest.raises(InputError, match=name):
        open_model(name, seed=0, size=None)
