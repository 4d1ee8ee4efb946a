import logging
from dataclasses import replace

import pytest

from bundles import tiny_artefact, tiny_spec, write_tiny_bundle, write_tiny_graph
from parckit.contract import InputError, add_artefact, read_contract, sha256_of, write_contract
from parckit.measure.candidates import Wanted, find_candidates
from parckit.networks import build_network, save_weights
from parckit.runtimes import ENGINES, choose_artefact, find_engine, open_session


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def checkpoint(tmp_path):
    save_weights(build_network(tiny_spec()), tiny_spec(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.fixture
def two(bundle, tmp_path):
    """A bundle with a second artefact, for two images at once, that says of itself that it is int8."""
    made = tmp_path / "made"
    made.mkdir()
    write_tiny_graph(made / "model.onnx", batch=2)
    artefact = replace(
        tiny_artefact(made / "model.onnx", batch=2, name="pairs"),
        precision="int8",
        files={"model.onnx": sha256_of(made / "model.onnx")},
    )
    add_artefact(bundle, artefact, made_in=made)
    return bundle


@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
def test_a_folder_opens_in_onnxruntime(bundle, runtime):
    assert open_session(bundle, runtime=runtime).engine.startswith("onnxruntime ")


@pytest.mark.parametrize("runtime", [None, "torch"])
def test_a_file_opens_in_torch(checkpoint, runtime):
    assert open_session(str(checkpoint), runtime=runtime, threads=1).engine.startswith("torch ")


def test_options_choose_among_artefacts_and_the_first_that_fits_is_named(two, caplog):
    with caplog.at_level(logging.WARNING):
        assert open_session(two).artefact == "onnx-fp32"
    assert "several artefacts fit; taking onnx-fp32 on onnxruntime" in caplog.text
    caplog.clear()
    for choice in ({"precision": "int8"}, {"artefact": "pairs"}, {"artefact": "pairs", "runtime": "onnxruntime"}):
        session = open_session(two, **choice)
        assert (session.artefact, session.batch_size) == ("pairs", 2)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"runtime": "torch"}, "no artefact fits runtime='torch'"),
        ({"precision": "fp16"}, r"no artefact fits precision='fp16'; it has onnx-fp32 \(onnx, fp32\), pairs"),
        ({"artefact": "threes"}, "artefact='threes': the bundle has onnx-fp32, pairs"),
        ({"artefact": "pairs", "precision": "fp32"}, "no artefact fits"),
        ({"runtime": "tensorflow"}, "runtime='tensorflow': choose from torch, onnxruntime"),
        ({"threads": 0}, "threads=0"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(two, choice, named):
    with pytest.raises(InputError, match=named):
        open_session(two, **choice)


def test_single_files_have_nothing_to_choose_from(checkpoint):
    with pytest.raises(InputError, match=r"w\.safetensors: runtime='onnxruntime' does not open"):
        open_session(checkpoint, runtime="onnxruntime")
    with pytest.raises(InputError, match="chooses within a bundle"):
        open_session(checkpoint, artefact="x")
    with pytest.raises(InputError, match="precision='int8' chooses within a bundle"):
        open_session(checkpoint, precision="int8")


def test_paths_where_nothing_is_are_refused(bundle):
    with pytest.raises(InputError, match="no such file or folder"):
        open_session(bundle / "absent")


def test_an_engine_that_is_not_installed_ends_with_the_pip_line(bundle, monkeypatch):
    (onnxruntime,) = (engine for engine in ENGINES if engine.name == "onnxruntime")
    monkeypatch.setattr("parckit.runtimes.open.ENGINES", (replace(onnxruntime, module="absent_engine.module"),))
    with pytest.raises(
        InputError, match=r'needs the package absent_engine; .* pip install "parckit\[onnxruntime\]"'
    ) as told:
        open_session(bundle)
    # Python programmers expect this class.
    assert isinstance(told.value, ImportError)


def test_an_installed_engine_is_preferred_unless_another_one_is_asked_for(bundle, monkeypatch):
    (onnxruntime,) = (engine for engine in ENGINES if engine.name == "onnxruntime")
    absent = replace(onnxruntime, name="absent", package="absent_engine", module="absent_engine.module")
    monkeypatch.setattr("parckit.runtimes.open.ENGINES", (absent, onnxruntime))
    monkeypatch.setattr("parckit.runtimes.engines.ENGINES", (absent, onnxruntime))
    assert open_session(bundle).engine.startswith("onnxruntime ")
    with pytest.raises(InputError, match="needs the package absent_engine"):
        open_session(bundle, runtime="absent")


def test_machine_code_runs_only_if_its_engine_is_named(bundle):
    """A stranger's bundle must not run a library of its own unasked."""
    contract = read_contract(bundle)
    compiled = replace(contract.artefacts[0], name="aotinductor-fp32", format="aotinductor")
    write_contract(replace(contract, artefacts=(compiled,)), bundle)
    for choice in ({}, {"artefact": "aotinductor-fp32"}, {"precision": "fp32"}):
        with pytest.raises(InputError, match="aotinductor runs machine code of the file, and only if you name it"):
            open_session(bundle, **choice)
    with pytest.raises(InputError, match="no artefact fits the engines"):
        find_candidates([bundle], Wanted(engines=("all",)))
    engine = find_engine("aotinductor")
    assert choose_artefact(read_contract(bundle), bundle, engine=engine) == (compiled, engine)
    (candidate,) = find_candidates([bundle], Wanted(engines=("aotinductor",)))
    assert candidate.engine == engine


@pytest.mark.parametrize(("system", "obstacle"), [("darwin", None), ("linux", "onnxruntime runs on macOS only")])
def test_an_engine_with_its_package_lacks_nothing_on_its_system(system, obstacle, monkeypatch):
    monkeypatch.setattr("sys.platform", system)
    engine = replace(find_engine("onnxruntime"), only_on_macos=True)
    error = engine.absence_error("bundle")
    assert (engine.obstacle, error and str(error)) == (obstacle, obstacle and f"bundle: {obstacle}")
