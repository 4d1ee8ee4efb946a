import numpy as np
import pytest
import torch

from bundles import tiny_spec
from parckit.contract import InputError
from parckit.networks import build_network
from parckit.runtimes.torch import TorchSession

SPEC = tiny_spec((32, 48))


@pytest.fixture(scope="module")
def session() -> TorchSession:
    torch.manual_seed(0)
    return TorchSession(build_network(SPEC), SPEC)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_session_takes_any_number_of_images(session, count):
    (logits,) = session(np.ones((count, 3, 32, 48), np.float32))
    assert logits.shape == (count, 4)


def test_a_session_reads_arrays_that_cannot_be_written_and_flipped_ones(session):
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 48), np.float32)
    frozen = images.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(session(frozen), session(images))
    np.testing.assert_array_equal(session(images[:, :, :, ::-1]), session(images[:, :, :, ::-1].copy()))


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 3, 32, 48)), np.ones((3, 32, 48), np.float32), np.ones((2, 1, 32, 48), np.float32)]
)
def test_a_session_refuses_what_is_no_batch_of_images(session, wrong):
    with pytest.raises(InputError, match="float32"):
        session(wrong)


def test_a_session_runs_with_its_threads_and_restores_the_others():
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x.mean((2, 3))

    before = torch.get_num_threads()
    TorchSession(Spy(), SPEC, threads=before + 1)(np.ones((1, 3, 4, 4), np.float32))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
