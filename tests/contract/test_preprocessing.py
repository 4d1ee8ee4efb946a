import json

import pytest

from parckit.contract import InputError, ModelSpec, Preprocessing


def test_the_resize_size_is_what_the_crop_is_a_share_of():
    assert Preprocessing(size=(256, 256), crop_pct=256 / 288).resize_size == (288, 288)
    assert Preprocessing(size=(224, 112), crop_pct=0.875).resize_size == (256, 128)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"size": (0, 5)}, "size="),
        ({"crop_pct": 0.0}, "crop_pct=0.0"),
        ({"crop_pct": 1.1}, "crop_pct=1.1"),
        ({"std": (1.0, 0.0, 1.0)}, "std="),
        ({"interpolation": "lanczos"}, "interpolation='lanczos'"),
        ({"channel_order": "grb"}, "channel_order='grb'"),
    ],
    ids=str,
)
def test_a_bad_value_is_named(wrong, named):
    with pytest.raises(InputError, match=named):
        Preprocessing(**({"size": (32, 32)} | wrong))


def test_spec_survives_json():
    preprocessing = Preprocessing(size=(48, 32), mean=(0.1, 0.2, 0.3), channel_order="bgr")
    spec = ModelSpec(model="m", model_kwargs={"a": [1]}, labels=("ja", "né e"), preprocessing=preprocessing)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.with_size((8, 9)).preprocessing.size == (8, 9)


@pytest.mark.parametrize("change", [{"labels": "abc"}, {"preprocessing": {"size": [3, 3], "sharpen": 1}}], ids=str)
def test_a_wrong_spec_is_refused(change):
    plain = ModelSpec(model="m", labels=("a",), preprocessing=Preprocessing(size=(3, 3))).to_dict()
    with pytest.raises(InputError):
        ModelSpec.from_dict(plain | change)
    with pytest.raises(InputError, match="'model'"):
        ModelSpec.from_dict({key: value for key, value in plain.items() if key != "model"})
