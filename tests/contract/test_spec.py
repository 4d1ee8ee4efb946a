import json
from dataclasses import replace

import pytest

from parckit.contract import InputError, NetworkSpec, Preprocessing, Quantization


def make_spec() -> NetworkSpec:
    preprocessing = Preprocessing(size=(48, 32), mean=(0.1, 0.2, 0.3), channel_order="bgr")
    return NetworkSpec(backbone="m", backbone_kwargs={"a": [1]}, labels=("ja", "né e"), preprocessing=preprocessing)


def test_spec_survives_json():
    spec = make_spec()
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.with_size((8, 9)).preprocessing.size == (8, 9)


def test_a_spec_may_name_fake_quantizers_and_older_ones_do_not():
    quantization = Quantization(weights={"stem.conv": 7}, inputs=("stem.conv",), outputs=("stem", "head"))
    spec = replace(make_spec(), quantization=quantization)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    older = {key: value for key, value in make_spec().to_dict().items() if key != "quantization"}
    assert NetworkSpec.from_dict(older) == make_spec()
    with pytest.raises(InputError, match="weights of a: 9 bits; must be from 2 to 8"):
        replace(quantization, weights={"a": 9})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"labels": "abc"}, "labels: holds 'abc', not a list"),
        ({"labels": [1]}, r"labels\[0\]: holds 1, not str"),
        ({"preprocessing": {"size": [3, 3], "sharpen": 1}}, "preprocessing: 'sharpen' is unknown"),
        ({"task": "paint"}, "task: 'paint' is not one of"),
        ({"colour": 1}, "'colour' is unknown"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_refused(change, named):
    plain = make_spec().to_dict()
    with pytest.raises(InputError, match=named):
        NetworkSpec.from_dict(plain | change)
    with pytest.raises(InputError, match="'backbone'"):
        NetworkSpec.from_dict({key: value for key, value in plain.items() if key != "backbone"})


def test_a_mask_has_no_room_for_more_than_255_classes():
    labels = tuple(map(str, range(256)))
    with pytest.raises(InputError, match="256 classes to segment; at most 255"):
        NetworkSpec(task="segment", backbone="x", labels=labels, preprocessing=Preprocessing(size=(8, 8)))


def test_a_class_name_that_is_not_utf_8_is_refused():
    with pytest.raises(InputError, match=r"class '\\udcff': its name is not UTF-8"):
        NetworkSpec(backbone="x", labels=("a", "\udcff"), preprocessing=Preprocessing(size=(8, 8)))
