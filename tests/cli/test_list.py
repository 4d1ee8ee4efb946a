from backbones import NAMES, parameters_of
from parckit.cli.tables import count


def rows(printed: str) -> dict[str, list[str]]:
    cells = [line.strip("│").split("│") for line in printed.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in cells}


def test_every_registered_model_is_listed_with_its_parameters(parckit):
    listed = rows(parckit("list"))
    assert {name: cells[1] for name, cells in listed.items()} == {name: count(parameters_of(name)) for name in NAMES}


def test_a_pattern_chooses(parckit):
    assert [*rows(parckit("list", "parcnet_x*"))] == ["parcnet_xs", "parcnet_xxs"]


def test_a_pattern_of_none_of_our_models_is_refused(mistake):
    message = mistake("list", "resnet*")
    assert message.startswith("'resnet*': ")
    assert all(name in message for name in NAMES)


def test_an_unknown_option_is_named(mistake):
    assert mistake("list", "--size=3") == "unrecognized arguments: --size=3"
