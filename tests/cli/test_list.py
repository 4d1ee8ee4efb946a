import json

import timm

from backbones import NAMES, SMALLEST, parameters_of
from parckit.measure.catalogue import CATALOGUE
from parckit.measure.cost import count
from parckit.models import build_on_meta

FROM_TIMM = {
    "mobilevit_xs",
    "mobilevit_s",
    "convnext_atto",
    "convnext_femto",
    "convnext_pico",
    "convnext_nano",
    "resnet10t",
    "resnet50",
    "mobilenetv2_100",
}


def rows(printed: str) -> dict[str, list[str]]:
    cells = [line.strip("│").split("│") for line in printed.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in cells}


def test_every_registered_model_and_the_relatives_of_timm_are_listed(parckit):
    assert {*rows(parckit("list"))} == {*NAMES, *FROM_TIMM}
    assert set(timm.list_models()) >= FROM_TIMM


def test_the_catalogue_is_that_of_the_models_as_they_are():
    entries = {entry["model"]: entry for entry in json.loads(CATALOGUE.read_text())}
    again = "python -m parckit.measure.catalogue"
    assert {name: entry["params"] for name, entry in entries.items()} == {
        name: parameters_of(name) for name in (*NAMES, *FROM_TIMM)
    }, again
    # Variants of a family differ only in numbers.
    for name in SMALLEST:
        assert entries[name]["madds"] == count(build_on_meta(name), size=tuple(entries[name]["size"])).madds, again


def test_a_model_is_listed_with_all_that_is_known(parckit):
    assert rows(parckit("list", "parcnet_s"))["parcnet_s"] == [
        "ParC-Net",
        "256",
        f"{parameters_of('parcnet_s') / 1e6:.2f}",
        "1.657",
        "ECCV'22",
        "none",
    ]


def test_models_without_official_weights_have_no_licence(parckit):
    assert rows(parckit("list", "parcnet_xxs"))["parcnet_xxs"][-1] == "-"


def test_models_of_timm_come_with_their_paper_and_licence(parckit):
    listed = rows(parckit("list", "*mobilevit_xs"))["mobilevit_xs"]
    assert listed[0] == "MobileViT"
    assert listed[-2:] == ["ICLR'22", "cvnets"]


def test_families_and_papers_are_those_of_the_model(parckit):
    plain, parc = json.loads(parckit("list", "*convnext_xt", "--json"))
    assert (plain["family"], plain["paper"]) == ("ConvNeXt", "CVPR 2022, arXiv:2201.03545")
    assert (parc["family"], parc["paper"]) == ("ParC-Net", "ECCV 2022, arXiv:2203.03952")


def test_names_stay_whole_on_narrow_terminals(parckit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed = parckit("list")
    assert max(map(len, printed.splitlines()[1:])) <= 80
    assert rows(printed).keys() == {*NAMES, *FROM_TIMM}, "a row was broken in two"


def test_json_gives_the_exact_numbers(parckit):
    (entry,) = json.loads(parckit("list", "test_parcnet", "--json"))
    assert entry["params"] == parameters_of("test_parcnet")
    assert entry["size"] == [64, 64]


def test_families_stand_together_from_small_to_large(parckit):
    assert [*rows(parckit("list", "*parc*_x*s"))] == ["parcnet_xxs", "parcnet_xs", "parc_edgevit_xs"]


def test_models_for_tests_come_last(parckit):
    assert [*rows(parckit("list", "*_edgevit*"))] == ["parc_edgevit_xs", "test_edgevit"]


def test_a_pattern_chooses(parckit):
    assert [*rows(parckit("list", "parcnet_x*"))] == ["parcnet_xxs", "parcnet_xs"]


def test_a_pattern_of_no_model_of_the_family_is_refused(mistake):
    message = mistake("list", "vgg*")
    assert message.startswith("'vgg*': ")
    assert all(name in message for name in NAMES)


def test_an_unknown_option_is_named(mistake):
    assert mistake("list", "--size=3") == "unrecognized arguments: --size=3"
