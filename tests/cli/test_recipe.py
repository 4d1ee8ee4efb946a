import pytest
import yaml

from official_yaml import PARCNET_S, official
from parckit.cli.main import main
from parckit.cli.official_recipe import translate
from parckit.cli.train import make_parser

LOST = {"ema.copy_at_epoch": 100, "optim.name": "rmsprop"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "parcnet_s.yaml"
    path.write_text(PARCNET_S, encoding="utf-8")
    return path


@pytest.fixture
def partly(tmp_path):
    """Return a file of which two keys have no counterpart."""
    path = tmp_path / "partly.yaml"
    path.write_text(yaml.safe_dump(official(LOST)), encoding="utf-8")
    return path


def test_a_recipe_is_written_that_training_takes(file, tmp_path, parckit):
    out = tmp_path / "recipes" / "mine.yaml"
    assert parckit("recipe", "from-official", file, "--out", out) == f"recipe: {out}\n"
    assert [*out.parent.iterdir()] == [out]
    config = make_parser().parse(["--config", str(out)])
    assert config.model.name == "parcnet_s"
    assert config.model.schedule.warmup == 3000
    assert config.trainer.max_epochs == 300
    assert out.read_text(encoding="utf-8").startswith("# From parcnet_s.yaml")
    assert yaml.safe_load(out.read_text(encoding="utf-8")) == translate(official()).recipe


def test_without_a_file_to_write_it_is_printed_alone(file, capsys, parckit):
    assert yaml.safe_load(parckit("recipe", "from-official", file)) == translate(official()).recipe
    assert capsys.readouterr().err == ""


def test_a_file_that_is_translated_whole_passes_strict(file, parckit):
    assert parckit("recipe", "from-official", file, "--strict") == parckit("recipe", "from-official", file)


def test_what_is_lost_is_told_line_by_line(partly, tmp_path, capsys):
    main(["recipe", "from-official", str(partly), "--out", str(tmp_path / "mine.yaml")])
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"{partly}: not in the recipe: ") for line in lines] == [True, True]
    assert {key for key in LOST for line in lines if f" {key}: " in line} == {*LOST}


def test_strict_refuses_what_would_be_lost(partly, tmp_path, mistake):
    message = mistake("recipe", "from-official", partly, "--strict", "--out", tmp_path / "mine.yaml")
    assert message.startswith(f"{partly}: not in the recipe: ")
    assert all(key in message for key in LOST)
    assert [*tmp_path.iterdir()] == [partly]


def test_the_model_can_be_given(file, parckit):
    recipe = yaml.safe_load(parckit("recipe", "from-official", file, "--model=parcnet_xs"))
    assert recipe["model"]["name"] == "parcnet_xs"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "holds NoneType"),
        ("- a\n- b\n", "holds list"),
        ("a: [1,\n", "expected"),
        ("a: b: c\n", "mapping values are not allowed"),
        ("common: {seed: 3}\n", "does not tell model.classification.name"),
        (yaml.safe_dump(official({"scheduler.max_epochs": "many"})), "--trainer.max_epochs: Expected"),
        (yaml.safe_dump(official({"optim.weight_decay": "much"})), "weight_decay"),
        (yaml.safe_dump(official({"scheduler.cosine.min_lr": 1})), "optimizer.lr=0.004: is below schedule.min_lr=1"),
        (yaml.safe_dump(official({"optim.weight_decay": -1})), "weight_decay=-1"),
        (yaml.safe_dump(official({"optim.adamw.beta1": 2})), "optimizer adamw, options={'betas': [2, 0.999]}: "),
        (yaml.safe_dump(official({"scheduler.warmup_iterations": -1})), "warmup=-1"),
        (yaml.safe_dump(official({"image_augmentation.random_horizontal_flip.p": 2})), "flip=2"),
        (yaml.safe_dump(official({"ema.momentum": 2})), "decay=-1"),
        (yaml.safe_dump(official({"loss.classification.label_smoothing_factor": 2})), "label_smoothing=2"),
        (yaml.safe_dump(official({"model.classification.classifier_dropout": "much"})), "drop_rate"),
        (
            yaml.safe_dump(official({"sampler.vbs.min_crop_size_width": 0, "sampler.vbs.min_crop_size_height": 0})),
            "sides=(0,",
        ),
    ],
    ids=[
        *("empty", "list", "cut", "ill-formed", "too little", "no number of epochs", "no number"),
        *("lr", "decay", "betas", "warm-up", "flip", "averaging", "smoothing", "model", "sizes"),
    ],
)
def test_a_file_that_is_none_is_named(content, named, tmp_path, mistake):
    path = tmp_path / "odd.yaml"
    path.write_text(content, encoding="utf-8")
    message = mistake("recipe", "from-official", path, "--out", tmp_path / "mine.yaml")
    assert message.startswith(f"{path}: ")
    assert named in message
    assert [*tmp_path.iterdir()] == [path]


def test_what_is_no_text_is_named(tmp_path, mistake):
    path = tmp_path / "odd.yaml"
    path.write_bytes(b"\xff\x00\x81")
    assert mistake("recipe", "from-official", path).startswith(f"{path}: ")


def test_a_missing_file_is_named(mistake):
    assert mistake("recipe", "from-official", "no/such.yaml").startswith("no/such.yaml: ")


@pytest.mark.parametrize(("argv", "named"), [([], "from-official"), (["from-nowhere"], "from-nowhere")])
def test_what_to_make_a_recipe_of_must_be_said(argv, named, mistake):
    assert named in mistake("recipe", *argv)
