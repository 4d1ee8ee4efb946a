"""Kits: what a board's compiler starts from, and whether what it names is there."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import yaml

from bundles import LABELS, SIZE
from kit_bundle import NODES, NORMALISED, write_bundle
from parckit.contract import InputError, add_artefact, read_contract, sha256_of
from parckit.deploy.convert import by_maker
from parckit.deploy.errors import ExportError
from parckit.deploy.kits import KITS, find_kit
from parckit.deploy.kits.checking import check_kit
from parckit.deploy.kits.writing import KitSettings, add_compiled, write_kit
from parckit.deploy.quantize import Scheme, write_scheme
from parckit.deploy.targets import TARGETS
from parckit.measure.evaluation import EvaluationData
from parckit.processing import fit, open_picture, preprocess, rgb_to_nv12
from parckit.runtimes import ENGINES, load
from pictures import write_noise

every_kit = pytest.mark.parametrize("target", KITS)


@pytest.fixture
def pictures(tmp_path):
    return write_noise(tmp_path / "animals" / "test", labels=LABELS, count=2).parent


@pytest.fixture
def kit(tmp_path, pictures):
    def write(target: str, *, name: str = "kit", **settings: object) -> Path:
        bundle = tmp_path / f"{name}_bundle"
        if not bundle.is_dir():
            write_bundle(bundle)
        options = KitSettings(**{"target": target, "samples": 3, **settings})
        write_kit(bundle, tmp_path / name, EvaluationData(source=str(pictures)), settings=options)
        return tmp_path / name

    return write


@every_kit
def test_a_kit_is_whole(target, kit):
    folder = kit(target, raised=NODES[1:2])
    assert check_kit(folder) == ()
    assert {path.name for path in folder.iterdir()} > {"bundle", "README.md", find_kit(target).configuration}
    assert not [path for path in folder.rglob("*") if path.is_file() and b"$name" in path.read_bytes()]
    assert not [path for path in folder.rglob("*.py") if not compile(path.read_text(), str(path), "exec")]
    assert read_contract(folder / "bundle").spec.labels == LABELS


@every_kit
def test_a_kit_belongs_to_a_board_and_an_engine(target):
    compiled = find_kit(target).compiled
    assert find_kit(target).target in TARGETS
    assert tuple(engine.name for engine in ENGINES if compiled.format in engine.formats) == compiled.engines


def test_the_mapper_gets_what_the_network_needs(kit):
    folder = kit("rdk-x5", raised=NODES[:2])
    settings = yaml.safe_load((folder / "mapper.yaml").read_text())
    model, inputs = settings["model_parameters"], settings["input_parameters"]
    assert model["march"] == "bayes-e"
    assert model["node_info"] == {
        name: {"ON": "BPU", "InputType": "int16", "OutputType": "int16"} for name in NODES[:2]
    }
    assert (inputs["input_type_rt"], inputs["input_type_train"], inputs["input_layout_train"]) == (
        "nv12",
        "rgb",
        "NCHW",
    )
    assert (inputs["input_name"], inputs["input_shape"]) == ("image", "1x3x4x6")
    # The numbers that the maker prints for ImageNet's mean and deviation.
    assert np.allclose([float(part) for part in inputs["mean_value"].split()], [123.675, 116.28, 103.53])
    scales = [float(part) for part in inputs["scale_value"].split()]
    assert np.allclose(scales, [0.01712475, 0.017507, 0.01742919], rtol=1e-6)
    assert settings["compiler_parameters"]["optimize_level"] == "O3"


def test_the_mappers_calibration_becomes_the_networks_input(kit, pictures):
    """(pixel - mean) x scale, as the compiled network computes it, is what the preprocessing gives."""
    folder = kit("rdk-x5")
    inputs = yaml.safe_load((folder / "mapper.yaml").read_text())["input_parameters"]
    mean, scale = (np.array([float(part) for part in inputs[key].split()]) for key in ("mean_value", "scale_value"))
    files = sorted((folder / "calibration_data_rgb_f32").glob("*.rgb"))
    assert len(files) == 3
    session = load(folder / "bundle", runtime="onnxruntime").session
    order = np.random.default_rng(0).permutation(8)
    paths = sorted(pictures.rglob("*.png"))
    for file, index in zip(files, order, strict=False):
        pixels = np.fromfile(file, np.float32).reshape(3, *SIZE)
        expected, _ = preprocess(open_picture(paths[index]), session.spec.preprocessing)
        # float32 in another order
        assert np.allclose((pixels - mean[:, None, None]) * scale[:, None, None], expected, atol=1e-5)


def test_rknn_gets_the_same_network(kit):
    folder = kit("rk3588", raised=NODES[1:2])
    settings = json.loads((folder / "rknn.json").read_text())
    assert np.allclose(settings["config"]["mean_values"], [[123.675, 116.28, 103.53]])
    assert np.allclose(settings["config"]["std_values"], [[58.395, 57.12, 57.375]])
    assert settings["custom_hybrid"] == [["p", "c"]]
    lines = (folder / "dataset.txt").read_text().splitlines()
    assert [open_picture(folder / line).size for line in lines] == [SIZE[::-1]] * 3


def add_int8(bundle: Path, scheme: Scheme, *, form: str) -> None:
    """Add an int8 artefact with a scheme to a bundle."""
    made = bundle.parent / form
    made.mkdir()
    shutil.copy(bundle / "onnx-fp32" / "model.onnx", made)
    write_scheme(scheme, made / "quantization.json")
    files = {name: sha256_of(made / name) for name in ("model.onnx", "quantization.json")}
    names = {"name": f"{form}-int8", "format": form, "precision": "int8"}
    add_artefact(bundle, replace(read_contract(bundle).artefacts[0], **names, files=files), made_in=made)


def test_the_nodes_that_a_quantization_raised_are_the_kits(kit, tmp_path):
    bundle = write_bundle(tmp_path / "kit_bundle")
    # Another engine's file comes first. Nobody can raise its nodes.
    add_int8(bundle, Scheme(calibrator="minmax", ranges={}, bits=dict.fromkeys(NODES, 8)), form="ncnn")
    # A node without bits stays in float32 by rule.
    bits = {NODES[0]: 8, NODES[1]: 16}
    reasons = {NODES[1]: "lost 2 points", NODES[2]: "float32 by rule"}
    add_int8(bundle, Scheme(calibrator="minmax", ranges={}, bits=bits, reasons=reasons), form="onnx")
    folder = kit("rdk-x5")
    text = (folder / "mapper.yaml").read_text()
    assert [*yaml.safe_load(text)["model_parameters"]["node_info"]] == [NODES[1]]
    assert f"# {NODES[1]}: by measurement: lost 2 points\n" in text
    assert f"- `{NODES[1]}`: by measurement: lost 2 points\n" in (folder / "README.md").read_text()
    named = kit("rk3588", name="named", raised=NODES[:1])
    assert f"- `{NODES[0]}`: named with --raised\n" in (named / "README.md").read_text()


ADDED = ("node_info", "run_on_cpu", "optimise_level")
"""Settings that a kit does not have."""


def change(path: Path, **changes: object) -> Path:
    """Change settings of a mapper's YAML."""
    settings = yaml.safe_load(path.read_text())
    for group in settings.values():
        group.update({key: value for key, value in changes.items() if key in group or key in ADDED})
    path.write_text(yaml.safe_dump(settings))
    return path


INT16 = {"ON": "BPU", "InputType": "int16"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"node_info": {"/head/conv/Con": INT16}},
            "has no node '/head/conv/Con'; the nearest name is '/head/conv/Conv'",
        ),
        ({"node_info": "/head/Flatten:int16;/none:int16"}, "node_info: model.onnx has no node '/none'"),
        (
            {"node_info": {"/head/Flatten": {"InputType": "int4"}}},
            "/head/Flatten: type 'int4'; choose from int8, int16",
        ),
        ({"run_on_cpu": "/head/Flatten;/gone"}, "run_on_cpu: model.onnx has no node '/gone'"),
        ({"input_name": "data"}, "input_name: data: model.onnx has image"),
        ({"input_shape": "1x3x224x224"}, "input_shape: 1x3x224x224: model.onnx has 1x3x4x6"),
        ({"input_layout_train": "NHWC"}, "has 6 channels in NHWC, not 3"),
        ({"mean_value": "1 2"}, "mean_value: has 2 numbers for 3 channels"),
        ({"mean_value": "0 0 0"}, "mean_value: is 0 0 0; the network was trained with 123.675 116.28 103.53"),
        ({"march": "bayes"}, "march: 'bayes' is not 'bayes-e'"),
        ({"onnx_model": "./other.onnx"}, "other.onnx: no such file"),
        ({"cal_data_dir": "./pictures"}, "pictures: no such folder"),
        ({"cal_data_type": "uint8"}, "1x3x4x6 takes 72 (3 files are wrong)"),
        ({"cal_data_type": "int4"}, "cal_data_type: 'int4'; choose from float32, uint8"),
        ({"input_type_train": "bgr"}, "input_type_train: is bgr; the network was trained with rgb"),
        ({"input_type_rt": "yuv"}, "input_type_rt: 'yuv'; choose from rgb, bgr, yuv444, nv12, gray, featuremap"),
        ({"input_space_and_range": "full"}, "input_space_and_range: 'full'; choose from regular, bt601_video"),
        ({"calibration_type": "best"}, "calibration_type: 'best'; choose from default, mix, kl, max, load, skip"),
        ({"optimize_level": "O9"}, "optimize_level: 'O9'; choose from O0, O1, O2, O3"),
        ({"optimise_level": "O3"}, "optimise_level: there is no such setting; the nearest name is 'optimize_level'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_fault_of_a_mappers_settings_is_named(changes, fault, kit):
    folder = kit("rdk-x5")
    change(folder / "mapper.yaml", **changes)
    assert any(fault in line for line in check_kit(folder)), check_kit(folder)


def test_a_setting_whose_name_is_no_text_is_no_crash(kit):
    """YAML reads `on: 1` as {True: 1}."""
    folder = kit("rdk-x5")
    file = folder / "mapper.yaml"
    file.write_text(file.read_text().replace("model_parameters:\n", "model_parameters:\n  on: 1\n"))
    assert yaml.safe_load(file.read_text())["model_parameters"][True] == 1
    assert not check_kit(folder)


def test_a_kit_with_the_file_of_another_network_is_caught(kit, tmp_path):
    """Both networks have the same nodes, input and normalisation. Only the numbers inside differ."""
    ours, theirs = kit("rdk-x5"), write_bundle(tmp_path / "other", scale=2.0)
    change(ours / "mapper.yaml", onnx_model="../other/onnx-fp32/model.onnx")
    (fault,) = check_kit(ours)
    assert fault.endswith("is no file of the kit's own bundle; it may be another network")
    change(ours / "mapper.yaml", onnx_model="./bundle/onnx-fp32/model.onnx")
    shutil.copy(theirs / "onnx-fp32" / "model.onnx", ours / "bundle" / "onnx-fp32" / "model.onnx")
    (fault,) = check_kit(ours)
    assert "its content is not what contract.json was written for" in fault


@pytest.mark.parametrize(
    ("name", "model", "is_caught"),
    [
        ("Tiny_atto.yaml", "tiny_femto.onnx", True),
        ("Tiny_atto.yaml", "tiny_atto.onnx", False),
        ("Tiny_atto_config.yaml", "tiny-atto_224x224_nv12.onnx", False),
        ("network.yaml", "tiny_femto.onnx", False),
    ],
)
def test_settings_that_others_wrote_are_read_too(name, model, is_caught, kit, tmp_path):
    """D-Robotics' own settings for ConvNeXt-Atto name the file of ConvNeXt-Femto, and the other way round."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(kit("rdk-x5") / "bundle" / "onnx-fp32" / "model.onnx", folder / model)
    (folder / name).write_text(f"""
model_parameters: {{onnx_model: ./{model}, march: bayes-e, output_model_file_prefix: tiny}}
input_parameters: {{input_name: "", input_shape: "", input_type_rt: nv12, input_type_train: rgb,
  input_layout_train: NCHW, norm_type: data_scale, scale_value: 0.004}}
calibration_parameters: {{calibration_type: skip}}
compiler_parameters: {{optimize_level: O3, balance_factor: 2}}
""")
    faults = check_kit(folder / name)
    assert faults == (
        (f"{name} names {model}: atto and femto differ; is it the file of another network?",) if is_caught else ()
    )


def test_rknns_settings_are_compared_too(kit):
    folder = kit("rk3588", raised=NODES[1:2])
    settings = json.loads((folder / "rknn.json").read_text())
    settings["custom_hybrid"] = [["p", "gone"]]
    (folder / "rknn.json").write_text(json.dumps(settings))
    (folder / "calibration" / "0001.png").unlink()
    faults = check_kit(folder)
    assert faults[0] == "custom_hybrid: model.onnx has no tensor 'gone'"
    assert faults[1].endswith("0001.png: no such file (1 are missing)")


def test_what_cannot_be_a_kit_is_refused(tmp_path, pictures, kit):
    data = EvaluationData(source=str(pictures))
    grey = replace(NORMALISED, size=(4, 6), channel_order="bgr")
    odd = write_bundle(tmp_path / "odd", preprocessing=replace(grey, size=(5, 6)))
    with pytest.raises(InputError, match="1x3x5x6: NV12 needs an even height and width"):
        write_kit(odd, tmp_path / "new", data, settings=KitSettings(target="rdk-x5", samples=1))
    assert not (tmp_path / "new").exists()
    folder = kit("rdk-x5")
    with pytest.raises(InputError, match="a kit is written into a new or an empty folder"):
        write_kit(odd, folder, data, settings=KitSettings(target="rdk-x5"))
    with pytest.raises(InputError, match="raised: 'x' is no node of"):
        write_kit(tmp_path / "kit_bundle", tmp_path / "new", data, settings=KitSettings(target="rdk-x5", raised=("x",)))
    doubled = write_bundle(tmp_path / "doubled", doubled=True)
    with pytest.raises(InputError, match="raised: '/double' computes with constants only"):
        write_kit(doubled, tmp_path / "new", data, settings=KitSettings(target="rk3588", raised=("/double",)))
    with pytest.raises(InputError, match="there are kits for rdk-x5, rk3588"):
        KitSettings(target="generic-npu")
    with pytest.raises(InputError, match=r"no configuration; its name ends in none of"):
        check_kit(folder / "perf.sh")
    with pytest.raises(ExportError, match="parckit kit"):
        by_maker.convert(None, folder=tmp_path, settings=None, precision="int8")


def board(engine: str, monkeypatch: pytest.MonkeyPatch, *, kind: type = np.float32) -> list[np.ndarray]:
    """Install a stand-in for a board's engine, and return what it is fed with."""
    fed: list[np.ndarray] = []
    answer = np.arange(4, dtype=kind).reshape(1, 4, 1, 1)

    class Network:
        model_names = ("net",)
        output_names: ClassVar = {"net": ["any"]}

        def __init__(self, path: str) -> None:
            assert path.endswith(".bin")

        def forward(self, data: np.ndarray) -> list[SimpleNamespace]:
            fed.append(data)
            return [SimpleNamespace(buffer=answer)]

        def run(self, data: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
            fed.append(data)
            return {"net": {"any": answer}}

    package = ModuleType(engine)
    package.__spec__ = ModuleSpec(engine, None)
    package.HB_HBMRuntime, package.pyeasy_dnn = Network, SimpleNamespace(load=lambda path: [Network(path)])
    monkeypatch.setitem(sys.modules, engine, package)
    monkeypatch.delitem(sys.modules, f"parckit.runtimes.{engine}", raising=False)
    return fed


@pytest.mark.parametrize("engine", find_kit("rdk-x5").compiled.engines)
def test_a_compiled_network_answers_on_the_board(engine, kit, tmp_path, pictures, monkeypatch):
    """The engine is a stand-in: it shows what the board is fed with, and not that the board works."""
    folder = kit("rdk-x5")
    (tmp_path / "net.bin").write_bytes(b"compiled")
    contract = add_compiled(folder, tmp_path / "net.bin", target="rdk-x5")
    assert contract.artefacts[-1].calibration.count == 3
    fed = board(engine, monkeypatch)
    picture = next(pictures.rglob("*.png"))
    answer = load(folder / "bundle", runtime=engine)(picture)
    assert answer.label == LABELS[-1]
    fitted, _ = fit_of(picture)
    assert np.array_equal(fed[0], rgb_to_nv12(fitted).ravel())
    board(engine, monkeypatch, kind=np.int8)
    with pytest.raises(InputError, match="an output is int8: compile the network without removing"):
        load(folder / "bundle", runtime=engine)(picture)
    with pytest.raises(InputError, match=r"must be the \.rknn file"):
        add_compiled(folder, tmp_path / "net.bin", target="rk3588")


def fit_of(picture: Path) -> tuple[np.ndarray, object]:
    fitted, geometry = fit(open_picture(picture), NORMALISED)
    return np.asarray(fitted), geometry


def test_the_notebook_and_the_script_answer(kit, pictures, monkeypatch, capsys):
    folder = kit("rdk-x5")
    shutil.copy(next(pictures.rglob("*.png")), folder / "photo.jpg")
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    notebook = json.loads((folder / "predict.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "predict.ipynb", "exec"), names)  # noqa: S102 - our own notebook
    expected = load(folder / "bundle")("photo.jpg")
    assert names["answer"].label == expected.label
    assert len(names["answer"].ranking) == len(LABELS)
    monkeypatch.setattr(sys, "argv", ["predict.py", "photo.jpg", "--runtime=onnxruntime"])
    script = {"__name__": "__main__", "__file__": str(folder / "predict.py")}
    exec(compile((folder / "predict.py").read_text(), "predict.py", "exec"), script)  # noqa: S102 - our own script
    assert expected.label in capsys.readouterr().out


def test_the_measurement_on_the_board_ends_with_the_first_failure(kit, tmp_path):
    """The maker's program is a stand-in that fails with four threads."""
    folder, program = kit("rdk-x5"), tmp_path / "hrt_model_exec"
    program.write_text('#!/bin/sh\necho "$*"\ncase "$*" in *"thread_num 4"*) echo no memory >&2; exit 3;; esac\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([folder / "perf.sh"], check=False, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "hrt_model_exec failed with 4 threads\n")
    assert done.stdout.endswith("no memory\n")
    assert {path.name for path in folder.glob("*.log")} == {"perf-1.log", "perf-4.log"}
    name = yaml.safe_load((folder / "mapper.yaml").read_text())["model_parameters"]["output_model_file_prefix"]
    assert f"--model_file compiled/{name}.bin" in (folder / "perf-1.log").read_text()


def test_the_script_for_rknn_takes_the_toolkits_steps(kit, monkeypatch):
    """The toolkit is a stand-in: it shows which steps the script takes, and not that they work."""
    folder = kit("rk3588", raised=NODES[1:2])
    steps: list[str] = []

    class Toolkit:
        def __getattr__(self, step: str) -> object:
            return lambda *args, **options: steps.append(step) or 0

    package, module = ModuleType("rknn"), ModuleType("rknn.api")
    module.RKNN = Toolkit
    monkeypatch.setitem(sys.modules, "rknn", package)
    monkeypatch.setitem(sys.modules, "rknn.api", module)
    monkeypatch.chdir(folder)
    script = {"__name__": "__main__", "__file__": str(folder / "convert.py")}
    exec(compile((folder / "convert.py").read_text(), "convert.py", "exec"), script)  # noqa: S102 - our own script
    hybrid = ["hybrid_quantization_step1", "hybrid_quantization_step2"]
    assert steps == ["config", "load_onnx", *hybrid, "export_rknn", "release"]
