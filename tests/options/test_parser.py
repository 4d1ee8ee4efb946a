import logging
from pathlib import Path
from typing import Literal, Union

import pytest

from parckit.contract import InputError
from parckit.measure.evaluation import EvaluationData
from parckit.options import verb_parser


@pytest.fixture
def parser():
    made = verb_parser("test", description="A verb for tests.")
    made.add_argument("artefact", type=Path)
    made.shorthands, made.renamed = {"--data": "--data.source"}, {"motor": "engine", "old.group": "data"}
    made.add_class_arguments(EvaluationData, "data")
    made.add_argument("--engine", type=Literal["fast", "slow"] | None, default=None)
    made.add_argument("--some_long_option", type=int, default=0)
    return made


@pytest.mark.parametrize("argv", [["--data", "x"], ["--data=x"], ["--data.source", "x"], ["--data.source=x"]])
def test_data_is_short_for_its_source(argv, parser):
    args = parser.read(["a", *argv, "--data.split=val"])
    assert args.data == EvaluationData(source="x", split="val")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--motor=fast", "--motor is now called --engine"),
        ("--old.group.workers=2", "--old.group.workers is now called --data.workers"),
    ],
)
def test_options_under_a_former_name_are_read_with_a_warning(option, said, parser, caplog):
    with caplog.at_level(logging.WARNING):
        args = parser.read(["a", "--data=x", option])
    assert (args.engine, args.data.workers) in {("fast", 0), (None, 2)}
    assert caplog.messages == [said]


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--some-long-option", "3"], 3),
        (["--some-long-option=-3"], -3),
        (["--some_long-option", "-3"], -3),
        (["--data.batch-size=2", "--some_long_option=4"], 4),
    ],
    ids=str,
)
def test_hyphens_in_names_are_underscores(argv, value, parser):
    args = parser.read(["an-artefact", "--data", "a--b-c", *argv])
    assert args.some_long_option == value
    assert (str(args.artefact), args.data.source) == ("an-artefact", "a--b-c")
    assert parser.read(["a", "--data=--b-c", *argv]).data.source == "--b-c"


def test_what_follows_the_end_of_options_is_none(parser):
    assert str(parser.read(["--data=x", "--", "--an-artefact=a-b"]).artefact) == "--an-artefact=a-b"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: artefact, data.source"),
        (["a", "--data=x", "--nope", "3"], "unrecognized arguments: --nope 3"),
        (["a", "--data=x", "--some_long", "3"], "unrecognized arguments: --some_long 3"),
        (["a", "--data=x", "--motor"], "argument --engine: expected one argument"),
        (["a", "--data=x", "--motor", "--data.workers=1"], "argument --engine: expected one argument"),
        (["a", "--data=x", "--data.nope=3"], "unrecognized arguments: --data.nope=3"),
        (["a", "--data=x", "b"], "unrecognized arguments: b"),
        (["a", "--data=x", "--some_long_option=x"], "--some_long_option: Expected int. Got value: x"),
        (["a", "--data=x", "--engine=x"], "--engine: Expected 'fast', 'slow', null. Got value: x"),
        (["a", "--data=x", "--data.on_error=x"], "--data.on_error: Expected 'raise', 'skip'. Got value: x"),
        (["a", "--data=x", "--data.batch_size=0"], "batch_size=0: must be at least 1"),
        (["a", "--data=x", "--data.workers=-1"], "workers=-1: must lie in 0..1024"),
    ],
    ids=str,
)
def test_mistakes_are_worded_for_the_user(argv, message, parser):
    with pytest.raises(InputError) as raised:
        parser.read(argv)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_one_stays_a_whole_number_whichever_type_a_library_wrote_first():
    parser = verb_parser("try", description="")
    parser.add_argument("--limit", type=Union[float, int, None])  # noqa: UP007  # typing keeps the order of such a union
    parser.prefer_whole_numbers()
    limits = [parser.parse([f"--limit={value}"]).limit for value in ("1", "1.0", "null")]
    assert [(limit, type(limit)) for limit in limits] == [(1, int), (1.0, float), (None, type(None))]
