from pathlib import Path
from typing import Literal

import pytest

from parckit.cli.data_choice import DataChoice
from parckit.cli.parsing import beside, find_recipe, parse_counts, parse_size, recipes_folder, verb_parser
from parckit.cli.train import make_parser
from parckit.contract import InputError


@pytest.mark.parametrize(("text", "size"), [("256x192", (256, 192)), ("64", (64, 64)), ("1x1", (1, 1))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0x5", "5x0", "5x", "x5", "-5", "5X5", "5x5x5", "5 x 5", "5.5", "five"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match=f"--size {text}: .*HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize(("text", "counts"), [("1", (1,)), ("1,2,16", (1, 2, 16))])
def test_counts(text, counts):
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0", "1,0", "1,", ",1", "-1", "1;2", "1, 2", "one"])
def test_what_are_no_counts_is_refused(text):
    with pytest.raises(InputError, match=f"--threads {text}: .*1,2,4"):
        parse_counts(text)


@pytest.mark.parametrize(
    ("artefact", "expected"),
    [("run/best.ckpt", "run/best_x.json"), ("run/v1.2.ckpt", "run/v1.2_x.json"), ("run/b.v2", "run/b.v2_x.json")],
)
def test_files_about_an_artefact_lie_beside_it(artefact, expected, tmp_path):
    (tmp_path / "run" / "b.v2").mkdir(parents=True)
    assert beside(tmp_path / artefact, "_x.json") == tmp_path / expected


def test_files_about_the_folder_one_is_in_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert beside(Path(), "_x.json") == tmp_path.with_name(f"{tmp_path.name}_x.json")


def test_a_recipe_is_found_by_name():
    path = find_recipe("classify/digits_parcnet_xxs")
    assert path == recipes_folder() / "classify" / "digits_parcnet_xxs.yaml"
    assert path.is_file()


def test_a_recipe_is_found_by_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_recipe(str(path)) == path


def test_a_missing_recipe_is_named_with_the_shipped_ones():
    with pytest.raises(InputError, match=r"--config classify/mine: .*classify/digits_parcnet_xxs"):
        find_recipe("classify/mine")


@pytest.fixture
def parser():
    made = verb_parser("test", description="A verb for tests.")
    made.add_argument("artefact", type=Path)
    made.add_class_arguments(DataChoice, "data")
    made.add_argument("--engine", type=Literal["fast", "slow"] | None, default=None)
    made.add_argument("--some_long_option", type=int, default=0)
    return made


@pytest.mark.parametrize("argv", [["--data", "x"], ["--data=x"], ["--data.source", "x"], ["--data.source=x"]])
def test_data_is_short_for_its_source(argv, parser):
    args = parser.read(["a", *argv, "--data.split=val"])
    assert args.data == DataChoice(source="x", split="val")


@pytest.mark.parametrize("option", ["--teacher", "--model.distillation.teacher"])
def test_teacher_is_short_for_that_of_the_distillation(option):
    config = make_parser().parse(["--config=classify/digits_parcnet_xxs", option, "run/best-3.ckpt"])
    assert config.model.distillation.teacher == "run/best-3.ckpt"


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
        (["a", "--data=x", "--data.nope=3"], "unrecognized arguments: --data.nope=3"),
        (["a", "--data=x", "b"], "unrecognized arguments: b"),
        (["a", "--data=x", "--some_long_option=x"], "--some_long_option: Expected int. Got value: x"),
        (["a", "--data=x", "--engine=x"], "--engine: Expected 'fast', 'slow', null. Got value: x"),
        (["a", "--data=x", "--data.on_error=x"], "--data.on_error: Expected 'raise', 'skip'. Got value: x"),
        (["a", "--data=x", "--data.batch_size=0"], "--data.batch_size 0, --data.workers 0: need at least 1 and"),
        (["a", "--data=x", "--data.workers=-1"], "--data.batch_size 64, --data.workers -1: need at least 1 and"),
    ],
    ids=str,
)
def test_mistakes_are_worded_for_the_user(argv, message, parser):
    with pytest.raises(InputError) as raised:
        parser.read(argv)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
