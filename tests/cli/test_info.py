import numpy as np
import pytest

from backbones import parameters_of
from golden_fixtures import read_keys
from parckit.measure.cost import format_count


def test_cost_and_maps_are_those_of_the_size(parckit):
    lines = [line.split() for line in parckit("info", "test_parcnet", "--size=256x192").splitlines()]
    stages = [line for line in lines if "stages." in " ".join(line)]
    assert [line[7] for line in stages] == ["128x96", "64x48", "32x24", "16x12", "8x6"]
    assert [line[5] for line in stages] == ["2", "4", "8", "16", "32"]
    (whole,) = (" ".join(line) for line in lines if "whole" in line)
    assert "256x192" in whole
    assert format_count(parameters_of("test_parcnet")) in whole


def test_the_rows_add_up_to_the_whole_model(parckit):
    rows = [line.split("│")[5:7] for line in parckit("info", "parcnet_xs").splitlines() if line.startswith("│")]
    *parts, whole = ([float(cell.removesuffix(" M ")) for cell in row] for row in rows)
    # Every row is rounded to 0.01 M.
    assert np.sum(parts, axis=0) == pytest.approx(whole, abs=0.005 * len(rows))


def test_the_official_cost_at_the_models_own_size(parckit):
    printed = parckit("info", "parcnet_s")
    assert "256x256" in printed
    assert format_count(read_keys("parcnet_s")["params"]) in printed


def test_models_of_timm_have_cost_too(parckit):
    assert "64x64" in parckit("info", "resnet18", "--size=64")


def test_fewer_classes_cost_less(parckit):
    assert format_count(parameters_of("test_parcnet")) not in parckit("info", "test_parcnet", "--num_classes=10")


def test_what_parc_would_change_is_shown(parckit):
    printed = parckit("info", "resnet50", "--parcify", "--size=224")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if " -> " in line]
    assert [row[0] for row in rows] == [
        "layer3.3.conv2",
        "layer3.4.conv2",
        "layer3.5.conv2",
        "layer4.2.conv2",
        "whole model",
    ]
    assert rows[-2][1:3] == ["3", "3x3 dense -> 7x7"]
    after = parameters_of("parc_resnet50")
    assert rows[-1][3] == f"{parameters_of('resnet50') / 1e3:,.1f} -> {after / 1e3:,.1f}"
    assert rows[-1][4].endswith("-> 3,941.47")


def test_the_stages_that_become_parc_can_be_chosen(parckit):
    printed = parckit("info", "test_resnet", "--parcify", "--stages=[0,1]")
    assert "layer2.0.conv2" in printed
    assert "layer4.0.conv2" not in printed


def test_position_embeddings_can_be_chosen(parckit):
    ask = ("info", "test_resnet", "--parcify", "--stages=[2,0]")
    shown = {where: parckit(*ask, f"--position_embedding={where}") for where in ("every", "first", "none")}
    assert len(set(shown.values())) == 3
    assert parckit(*ask) == shown["every"]


def test_nothing_is_shown_where_nothing_becomes_parc(parckit, capsys):
    with pytest.raises(SystemExit):
        parckit("info", "test_vit", "--parcify")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "model"),
        (["no_such_model"], "no_such_model"),
        (["test_parcnet", "--size=0x5"], "--size 0x5"),
        (["test_parcnet", "--size=5y5"], "--size 5y5"),
        (["test_parcnet", "--num_classes=0"], "--num_classes"),
        (["test_parcnet", "--num=3"], "--num=3"),
        (["test_resnet", "--stages=[1]"], "--stages [1]: needs --parcify"),
        (["test_resnet", "--parcify", "--stages=some"], "--stages"),
        (["test_resnet", "--parcify", "--stages=[0,0,0,7]"], "--parcify --stages [0, 0, 0, 7]: "),
        (["test_resnet", "--parcify", "--stages=[0,0]"], "--parcify --stages [0, 0]: "),
        (
            ["test_resnet", "--position_embedding=none"],
            "--position_embedding none: needs --parcify",
        ),
        (["test_resnet", "--parcify", "--position_embedding=last"], "--position_embedding"),
        (["rdnet_tiny", "--parcify"], "--parcify: model of class RDNet"),
        (["test_vit", "--parcify"], "can become ParC"),
    ],
    ids=str,
)
def test_mistakes_are_named(argv, named, mistake):
    assert named in mistake("info", *argv)
