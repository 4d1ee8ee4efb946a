from dataclasses import replace
from pathlib import Path

import onnx
import yaml

from parckit.contract import add_artefact, read_contract
from parckit.deploy.quantize import QuantizeSettings, read_scheme
from parckit.deploy.quantize.mixing import raise_nodes
from parckit.deploy.quantize.onnx import write
from parckit.deploy.quantize.progress import show_nothing
from parckit.deploy.quantize.steps import choose_pictures, open_float, prepare
from pictures import write_noise


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
