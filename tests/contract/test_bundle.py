import json

import pytest

from bundles import write_tiny_bundle
from parckit.contract import CONTRACT_FILE, MODEL_FILE, InputError, read_contract, write_contract


@pytest.fixture
def bundle(tmp_path):
    write_tiny_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle, change):
    path = bundle / CONTRACT_FILE
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def test_reading_gives_what_was_written(bundle, tmp_path):
    contract = read_contract(bundle)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / MODEL_FILE).write_bytes((bundle / MODEL_FILE).read_bytes())
    write_contract(contract, tmp_path / "copy")
    assert read_contract(tmp_path / "copy") == contract


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda plain: plain.update(schema=99), "schema"),
        (lambda plain: plain.pop("parity"), "parity"),
        (lambda plain: plain["sha256"].clear(), MODEL_FILE),
        (lambda plain: plain["spec"]["labels"].pop(), "labels for"),
        (lambda plain: plain["spec"]["preprocessing"].update(size=[1, 2]), "preprocessing to"),
        (lambda plain: plain.update(extra=1), "extra"),
        (lambda plain: plain.update(spec=None), "not a contract"),
        (lambda plain: plain.update(outputs=[]), "one output"),
        (lambda plain: plain["outputs"][0].update(shape=[1]), "one output"),
    ],
    ids=["schema", "missing", "no digest", "labels", "size", "unknown", "no spec", "no output", "flat output"],
)
def test_a_contract_that_contradicts_itself_is_refused(bundle, change, named):
    edit(bundle, change)
    with pytest.raises(InputError, match=named):
        read_contract(bundle)


@pytest.mark.parametrize("text", ["[1]", "{", "", "null"])
def test_other_json_is_refused(bundle, text):
    (bundle / CONTRACT_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{CONTRACT_FILE}: not a contract"):
        read_contract(bundle)


def test_a_changed_or_missing_model_is_refused(bundle):
    model = bundle / MODEL_FILE
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(InputError, match="sha256 differs"):
        read_contract(bundle)
    model.unlink()
    with pytest.raises(InputError, match="missing"):
        read_contract(bundle)
