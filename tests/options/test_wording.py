"""Messages about values that do not fit are one plain line, without the paths of classes."""

import pytest
from jsonargparse.typing import PositiveInt

from parckit.contract import InputError
from parckit.data import MultiScale, Progressive
from parckit.options import Seed, verb_parser
from parckit.tasks import AveragingSettings


@pytest.fixture
def parser():
    made = verb_parser("test", description="A verb for tests.")
    made.add_argument("--ema", type=AveragingSettings | None, default=None)
    made.add_argument("--data.sizes", type=MultiScale | Progressive | None, default=None)
    made.add_argument("--threads", type=PositiveInt | None, default=None)
    made.add_argument("--seed", type=Seed, default=0)
    made.add_argument("--count", type=int, default=0)
    return made


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--ema=3", "--ema: Expected a group of keys (decay, ramp), null. Got value: 3"),
        ("--ema=[1]", "--ema: Expected a group of keys (decay, ramp), null. Got value: [1]"),
        ("--ema={decai: 3}", "'ema.decai' is an unknown key"),
        ("--ema.decai=3", "'ema.decai' is an unknown key"),
        ("--ema.decay=x", "--ema.decay: Expected float. Got value: x"),
        ("--ema={ramp: true}", "--ema: the following arguments are required: decay"),
        ("--data.sizes.start=x", "--data.sizes.start: Expected float. Got value: x"),
        ("--threads=x", "--threads: Expected number, null. Got value: x"),
        ("--threads=0", "--threads 0: must be >0, or null"),
        ("--seed=-1", "--seed -1: must be >=0 and <4294967296"),
        ("--seed=null", "--seed: Expected number. Got value: null"),
        ("--seed=x", "--seed: Expected number. Got value: x"),
        ("--count=x", "--count: Expected int. Got value: x"),
    ],
)
def test_the_message_names_the_key_and_what_is_accepted(option, message, parser):
    with pytest.raises(InputError) as caught:
        parser.read([option])
    assert str(caught.value) == message


def test_a_value_for_one_of_several_groups_is_told_the_keys_of_all(parser):
    with pytest.raises(
        InputError, match=r"^--data\.sizes: .*\(sides, base\), .*\(start, until, multiple\), null\. .*foo"
    ):
        parser.read(["--data.sizes.foo=3"])
