import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from bundles import LABELS
from kit_bundle import write_bundle
from parckit.contract import add_artefact, read_contract
from parckit.deploy.quantize import QuantizeSettings, read_scheme
from parckit.deploy.quantize.mixing import raise_nodes
from parckit.deploy.quantize.onnx import write
from parckit.deploy.quantize.progress import show_nothing
from parckit.deploy.quantize.steps import choose_pictures, open_float, prepare
from pictures import write_noise, write_pictures


def test_from_a_checkpoint_to_a_kit_and_back(checkpoint, tmp_path, parckit, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_noise(tmp_path / "photos", labels=("any",), count=3)
    printed = parckit("export", checkpoint, "--target=rdk-x5", "--data=photos/any", "--samples=2", "--out=board")
    assert "kit board_kit" in printed
    assert "board_kit/README.md" in printed
    assert "every name, shape and file is there" in parckit("kit", "board_kit", "--check")
    # A node of the graph, by its name there.
    settings = yaml.safe_load((tmp_path / "board_kit" / "mapper.yaml").read_text())
    settings["model_parameters"]["node_info"] = {"/none": {"ON": "BPU", "OutputType": "int16"}}
    (tmp_path / "board_kit" / "mapper.yaml").write_text(yaml.safe_dump(settings))
    assert mistake("kit", "board_kit", "--check").startswith("board_kit: 1 fault: ")
    # The same from the bundle, for the other board.
    refused = mistake("kit", "board", "--target=rdk-x5", "--data=photos/any", "--out=new", "--raised=/none")
    assert refused.startswith("raised: '/none' is no node of ")
    parckit("kit", "board", "--target=rk3588", "--data=photos/any", "--samples=2", "--out=rockchip")
    (tmp_path / "net.rknn").write_bytes(b"compiled")
    assert "rk3588-int8" in parckit("kit", "rockchip", "--add=net.rknn")
    assert [entry.name for entry in read_contract(tmp_path / "rockchip" / "bundle").artefacts][-1] == "rk3588-int8"
    assert "rknnlite" in mistake("predict", "rockchip/bundle", "photos/any", "--runtime=rknn")


def test_a_kit_names_the_nodes_of_the_file_that_a_quantization_raised(checkpoint, tmp_path, parckit, monkeypatch):
    """The quantizer replaces nodes of a ParC-Net, so that some of its own are not in the file."""
    monkeypatch.chdir(tmp_path)
    write_noise(tmp_path / "photos", labels=("any",), count=3)
    parckit("export", checkpoint, "--target=rdk-x5", "--out=board")
    raised = raise_all(tmp_path / "board", pictures=tmp_path / "photos" / "any")
    nodes = {node.name for node in onnx.load("board/onnx-fp32/model.onnx").graph.node}
    assert raised - nodes
    parckit("kit", "board", "--target=rdk-x5", "--data=photos/any", "--samples=2", "--out=kit")
    named = yaml.safe_load(Path("kit/mapper.yaml").read_text())["model_parameters"]["node_info"].keys()
    origins = read_scheme(Path("board/onnx-int8/quantization.json")).origins
    assert named == {name for node in raised for name in origins.get(node, (node,))}
    assert raised & nodes < named <= nodes


def raise_all(bundle: Path, *, pictures: Path) -> set[str]:
    """Add an int8 artefact with all nodes raised to 16 bits to a bundle; return the nodes."""
    network, settings, work = open_float(bundle), QuantizeSettings(samples=2), bundle.parent / "work"
    work.mkdir()
    few = choose_pictures(network, pictures, settings=settings, work=work, progress=show_nothing)
    source = prepare(network, few, settings=settings, progress=show_nothing)
    raised = [*source.scheme.bits]
    scheme = raise_nodes(source.scheme, raised, to=16)
    add_artefact(bundle, write(replace(source, scheme=scheme), folder=work), made_in=work)
    return set(raised)


def test_options_of_a_kit_that_do_not_fit_are_named(checkpoint, tmp_path, mistake):
    out = tmp_path / "bundle"
    missing = mistake("export", checkpoint, "--target=rdk-x5", "--data", tmp_path / "nowhere", "--out", out)
    assert "nowhere" in missing
    assert "--samples 3: has no effect without --data" in mistake("export", checkpoint, "--samples=3", "--out", out)
    assert "--kit kit: has no effect with --check" in mistake("export", checkpoint, "--check", "--kit=kit")
    assert "--add net.bin: has no effect with --check" in mistake("kit", out, "--check", "--add=net.bin")
    assert "--raised /x: has no effect with --add" in mistake("kit", out, "--add=net.bin", "--raised=/x")
    assert not out.exists()
    assert "--target names" in mistake("export", checkpoint, "--data=photos", "--out", out)
    assert "a kit needs --target and --data" in mistake("export", checkpoint, "--kit=kit", "--out", out)
    refused = mistake("export", checkpoint, "--data=photos", "--target=generic-npu", "--out", out)
    assert refused == "target='generic-npu': there are kits for rdk-x5, rk3588"
    refused = mistake("export", checkpoint, "--data=x", "--target=rdk-x5", "--kit", tmp_path.parent, "--out", out)
    assert "a kit is written into a new or an empty folder" in refused
    assert (
        mistake("kit", out, "--target=rdk-x5", "--data=x")
        == "--out: is missing; a kit needs --target, --out and --data"
    )
    assert not out.exists()


@pytest.mark.parametrize(("options", "colour"), [((), 1), (("--split=test",), 2)])
def test_pictures_of_train_calibrate_unless_another_split_is_named(options, colour, tmp_path, parckit):
    """Those of `test` are for the accuracy on the board. Here the colour of a picture tells its split."""
    for split, name in (("train", "green"), ("test", "blue")):
        write_pictures(tmp_path / "photos" / split, count=4, colours=[name])
        shutil.move(tmp_path / "photos" / split / name, tmp_path / "photos" / split / LABELS[0])
    bundle = write_bundle(tmp_path / "bundle")
    place = ("--data", tmp_path / "photos", "--out", tmp_path / "kit")
    parckit("kit", bundle, "--target=rdk-x5", "--samples=2", *place, *options)
    files = [*(tmp_path / "kit").glob("calibration*/*.rgb")]
    assert len(files) == 2
    assert {np.fromfile(file, np.float32).reshape(3, -1).mean(1).argmax() for file in files} == {colour}
