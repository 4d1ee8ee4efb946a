import json
import shutil
from dataclasses import replace

import pytest

from bundles import MODEL, add_pairs, tiny_artefact, write_detector_bundle, write_tiny_bundle, write_tiny_graph
from parckit.contract import (
    CONTRACT_FILE,
    LICENCES,
    InputError,
    add_artefact,
    read_contract,
    sha256_of,
    write_contract,
)
from parckit.contract import bundle as bundle_module
from parckit.contract import files as files_module
from parckit.contract.shipped import WEIGHTS


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def edit(bundle, change):
    """Change a contract as a faulty program would, with the digest of the changed contract."""
    path = bundle / CONTRACT_FILE
    plain = json.loads(path.read_text())
    del plain["sha256"]
    change(plain)
    path.write_text(json.dumps({**plain, "sha256": bundle_module._digest_of(plain)}))


def test_reading_gives_what_was_written(bundle, tmp_path):
    contract = read_contract(bundle)
    shutil.copytree(bundle, tmp_path / "copy")
    write_contract(contract, tmp_path / "copy")
    assert read_contract(tmp_path / "copy") == contract


def test_an_artefacts_input_decides_about_the_size(bundle):
    contract = read_contract(bundle)
    (artefact,) = contract.artefacts
    for side, size in ((None, contract.spec.preprocessing.size), (7, (7, 7))):
        resized = replace(artefact, input=replace(artefact.input, shape=(1, 3, side, side)))
        assert contract.spec_of(resized) == contract.spec.with_size(size)


def first(plain):
    return plain["artefacts"][0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda plain: plain.update(schema=99), "schema 99"),
        (lambda plain: plain.pop("artefacts"), "no 'artefacts'"),
        (lambda plain: plain["artefacts"].clear(), "need one or more"),
        (lambda plain: plain["artefacts"].append(first(plain)), "a name of its own"),
        (lambda plain: first(plain)["files"].clear(), "no files"),
        (lambda plain: first(plain)["files"].update({"../x": "0"}), "outside the bundle"),
        (lambda plain: first(plain).update(precision="fp64"), "artefacts.0..precision"),
        (lambda plain: plain["spec"]["labels"].pop(), "4 outputs for 3 labels"),
        (
            lambda plain: plain["spec"]["preprocessing"].update(channel_order="grey", mean=[0.5], std=[0.5]),
            "takes 3 channels, which is not channel_order='grey'",
        ),
        (lambda plain: plain["spec"].update(task="paint"), "spec.task"),
        (lambda plain: plain["spec"]["preprocessing"].pop("std"), "no 'std'"),
        (lambda plain: plain["spec"]["preprocessing"].update(size=[1, "2"]), r"size\[1\]"),
        (lambda plain: plain.update(extra=1), "'extra' is unknown"),
        (lambda plain: plain.update(spec=None), "not an object"),
        (lambda plain: plain.update(params=True), "not int"),
        (lambda plain: first(plain).update(outputs=[]), "no outputs"),
        (lambda plain: first(plain)["outputs"][0].update(shape=[1]), "a different letter for each dimension"),
        (lambda plain: first(plain)["outputs"][0].update(shape=[1, 4, 1], layout="NCX"), "one output"),
        (lambda plain: first(plain)["outputs"][0].update(layout="C N"), "a different letter for each dimension"),
        (lambda plain: first(plain)["outputs"][0].update(layout="NN"), "a different letter for each dimension"),
        (lambda plain: first(plain)["outputs"][0].update(shape=[0, 4]), "sizes must be at least 1"),
        (lambda plain: plain["spec"]["labels"].__setitem__(1, "ant"), "two classes have the name 'ant'"),
        (lambda plain: plain["spec"]["preprocessing"].update(std=[1, 1, float("inf")]), r"std\[2\]: holds inf"),
        (lambda plain: plain["spec"]["preprocessing"].update(mean=[float("nan"), 0, 0]), r"mean\[0\]: holds nan"),
        (lambda plain: plain["spec"]["preprocessing"].update(fitting="cover"), "'fitting' is unknown"),
        (lambda plain: first(plain)["input"].update(shape=[1, 4, 4, 6]), "3 channels"),
        (lambda plain: first(plain)["checks"][0].update(passed=None), "reason"),
        (lambda plain: first(plain)["checks"][0].update(passed=True, reason="it is wrong"), "reason"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(bundle, change, named):
    edit(bundle, change)
    with pytest.raises(InputError, match=named) as caught:
        read_contract(bundle)
    assert str(bundle / CONTRACT_FILE) in str(caught.value)


@pytest.mark.parametrize(
    ("former", "present"), [('"ant"', '"eel"'), ("0.0", "0.5"), ('"sha256": "', '"sha256": "0')], ids=str
)
def test_a_contract_that_was_edited_by_hand_is_refused(bundle, former, present):
    path = bundle / CONTRACT_FILE
    path.write_text(path.read_text().replace(former, present))
    with pytest.raises(InputError, match=r"contract\.json: .* changed after parckit wrote it"):
        read_contract(bundle)


def test_the_white_space_of_a_contract_does_not_matter(bundle):
    path = bundle / CONTRACT_FILE
    former = read_contract(bundle)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_contract(bundle) == former


@pytest.mark.parametrize("text", ["[1]", "{", "", "null"])
def test_other_json_is_refused(bundle, text):
    (bundle / CONTRACT_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{CONTRACT_FILE}: not a contract"):
        read_contract(bundle)


def test_a_changed_or_missing_model_is_refused(bundle):
    model = bundle / MODEL
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(InputError, match="sha256 differs"):
        read_contract(bundle)
    model.unlink()
    with pytest.raises(InputError, match="missing"):
        read_contract(bundle)


def test_an_artefact_is_added_and_replaced(bundle, tmp_path):
    made = tmp_path / "made"
    for batch in (2, 3):
        made.mkdir(exist_ok=True)
        (made / "notes.txt").write_text("the artefact does not list this file")
        write_tiny_graph(made / "model.onnx", batch=batch)
        artefact = tiny_artefact(made / "model.onnx", batch=batch, name="onnx-two")
        artefact = replace(artefact, files={"model.onnx": sha256_of(made / "model.onnx")})
        changed = add_artefact(bundle, artefact, made_in=made)
        assert read_contract(bundle) == changed
        assert [entry.name for entry in changed.artefacts] == ["onnx-fp32", "onnx-two"]
        first_again = replace(tiny_artefact(made / "model.onnx", batch=batch), files=artefact.files)
        # A replaced artefact keeps its place: readers that may choose take the first one.
        assert [entry.name for entry in add_artefact(bundle, first_again, made_in=made).artefacts] == [
            "onnx-fp32",
            "onnx-two",
        ]
        changed = read_contract(bundle)
        assert changed.artefact("onnx-two").input.batch_size == batch
    # What was replaced is gone with its subfolder, and the first artefact was not touched.
    assert sorted(path.name for path in bundle.iterdir()) == ["contract.json", "onnx-fp32", "onnx-two-2"]
    assert not list(bundle.rglob("notes.txt"))
    with pytest.raises(InputError, match="missing"):
        add_artefact(bundle, replace(artefact, files={"absent.onnx": ""}), made_in=made)
    with pytest.raises(InputError, match="onnx-fp32, onnx-two"):
        changed.artefact("onnx-four")


@pytest.mark.parametrize("moment", ["copy", "rename", "contract", "clean-up"])
def test_a_bundle_survives_a_kill_while_an_artefact_is_replaced(bundle, tmp_path, monkeypatch, moment):
    """What a killed process leaves on the disk is what an exception leaves that nothing catches or cleans up after."""
    made = tmp_path / "made"
    add_pairs(bundle, made_in=made)
    former = read_contract(bundle)
    artefact = replace(former.artefact("pairs"), files={"model.onnx": sha256_of(made / "model.onnx")})
    with monkeypatch.context() as patch:
        patch.setattr("parckit.contract.files._remove", lambda path: None)
        where = {
            "copy": (bundle_module.shutil, "copyfile"),
            "rename": (files_module, "_put"),
            "contract": (bundle_module, "write_contract"),
            "clean-up": (bundle_module, "_remove_unlisted"),
        }
        patch.setattr(*where[moment], killed)
        with pytest.raises(KeyboardInterrupt):
            add_artefact(bundle, artefact, made_in=made)
    # The bundle is the old one or the new one, and the next call succeeds.
    assert [entry.name for entry in read_contract(bundle).artefacts] == ["onnx-fp32", "pairs"]
    assert (read_contract(bundle) == former) is (moment != "clean-up")
    assert add_artefact(bundle, artefact, made_in=made) == read_contract(bundle)
    assert not list(bundle.glob(".*"))


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_digest_of_an_artefact_covers_all_its_files(bundle):
    (artefact,) = read_contract(bundle).artefacts
    assert artefact.sha256 == sha256_of(bundle / MODEL)
    twice = replace(artefact, files={MODEL: "a", "onnx-fp32/table.npy": "b"})
    others = [replace(twice, files={MODEL: first, "onnx-fp32/table.npy": second}) for first, second in ("ac", "bb")]
    assert len({entry.sha256 for entry in (artefact, twice, *others)}) == 4


def test_a_detector_fits_into_the_schema(tmp_path):
    contract = write_detector_bundle(tmp_path / "detector")
    assert read_contract(tmp_path / "detector") == contract
    raw, nms = contract.artefacts
    assert (raw.runs_in_chunks, nms.runs_in_chunks) == (True, False)
    assert (raw.input.size, raw.input.batch_size) == ((4, 6), None)


def test_all_weights_of_the_package_have_a_licence():
    assert {path.name.removesuffix(".safetensors") for path in WEIGHTS.glob("*.safetensors")} == LICENCES.keys()
