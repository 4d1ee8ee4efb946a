from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import numpy as np
import pytest

from bundles import SIZE, expected_logits
from parckit.contract import OutputSpec
from parckit.serve.batching import Batcher, OneByOne, largest_batch, make_runner
from serving import SECONDS, GateSession

IMAGES = np.random.default_rng(0).standard_normal((9, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize(("batch_size", "largest"), [(1, 1), (4, 4), (None, 6)])
def test_an_artefact_decides_about_its_batch(batch_size, largest):
    assert largest_batch(GateSession(batch_size=batch_size), most=6) == largest


def test_an_artefact_whose_outputs_have_no_batch_runs_one_by_one():
    session = GateSession()
    session.outputs = (OutputSpec(name="detections", dtype="float32", layout="DX", shape=(None, 6)),)
    assert largest_batch(session, most=6) == 1
    assert isinstance(make_runner([session], most=6, wait=0, on_batch=print), OneByOne)


@pytest.mark.parametrize("batch_size", [1, None])
def test_every_image_gets_its_outputs(batch_size):
    session, told = GateSession(batch_size=batch_size), []
    runner = make_runner([session], most=4, wait=0.05, on_batch=lambda images, seconds: told.append(images))
    with ThreadPoolExecutor(len(IMAGES)) as pool:
        outputs = list(pool.map(runner.run, IMAGES))
    runner.close()
    # The order of a sum of float32 may depend on the batch.
    np.testing.assert_allclose(np.concatenate([logits for (logits,) in outputs]), expected_logits(IMAGES), rtol=1e-5)
    assert told == session.batches
    assert sum(told) == len(IMAGES)
    assert max(told) <= (batch_size or 4)


@pytest.mark.parametrize("batch_size", [1, None])
def test_an_engines_error_reaches_the_caller_and_the_next_image_is_run(batch_size):
    session = GateSession(batch_size=batch_size)
    runner = make_runner([session], most=4, wait=0, on_batch=lambda images, seconds: None)
    session.is_broken = True
    with pytest.raises(RuntimeError, match="gives up"):
        runner.run(IMAGES[0])
    session.is_broken = False
    assert len(runner.run(IMAGES[0])) == 1
    assert runner.is_alive
    runner.close()


def test_a_full_batch_does_not_wait():
    session = GateSession()
    runner = Batcher([session], most=2, wait=3600, on_batch=lambda images, seconds: None)
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(runner.run, IMAGES[:2], timeout=10))) == 2
    assert session.batches == [2]
    runner.close()
    end = monotonic() + SECONDS
    while runner.is_alive:
        assert monotonic() < end
        sleep(0.001)
