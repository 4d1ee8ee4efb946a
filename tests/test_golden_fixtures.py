"""The rule that remakes the official weights must give the numbers that its makers wrote down."""

import numpy as np
import pytest
import torch

from golden.make import copies
from golden_fixtures import GOLDEN, SHARED, fill, needs_shared, normal, official_state_dict, read_keys

# Printed with 8 decimals: half a unit of the last one, and float32's rounding.
ATOL = 1e-7

FIRST_FOUR = {
    ("conv_1.block.conv.weight", (16, 3, 3, 3), 1.2): (-0.27287695, 0.07473216, -0.44312179, -0.11226270),
    ("layer_3.1.spatial_global_rep.0.meta_kernel_1_H", (96, 1, 32, 1), 1.2): (
        0.00686669,
        -0.03637099,
        -0.01383077,
        0.00299353,
    ),
    ("layer_3.1.spatial_global_rep.0.meta_pe_1_H", (1, 96, 32, 1), 1.2): (
        1.02725232,
        0.06150171,
        -0.15789989,
        0.53937447,
    ),
    ("conv_1.block.norm.running_var", (16,), 1.2): (0.58492786, 0.82888258, 1.36389756, 0.97988492),
    ("conv_1.block.norm.weight", (16,), 1.2): (0.94043708, 1.12885153, 0.89832531, 1.06547260),
    ("conv_1.block.norm.bias", (16,), 1.2): (0.08915460, 0.03804075, 0.06095051, -0.04805216),
    ("stages.0.0.token_mixer.dwconv1.conv_h.weight", (48, 1, 111, 1), 1.4): (
        -0.14953549,
        0.12539016,
        0.03686544,
        -0.00562191,
    ),
    ("stages.2.0.res_scale1.scale", (192,), 1.4): (1.12284732, 0.97407711, 0.96751046, 1.01859641),
}


@pytest.mark.parametrize(("of", "expected"), FIRST_FOUR.items(), ids=lambda value: str(value[0]))
def test_weights_are_those_of_the_rule(of, expected):
    key, shape, gain = of
    weight = fill(key, list(shape), gain=gain)
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.flatten()[:4], torch.tensor(expected), rtol=0, atol=ATOL)


def test_inputs_are_those_of_the_rule():
    numbers = normal("input:256x256", (2, 3, 256, 256)).astype(np.float32)
    np.testing.assert_allclose(numbers.flat[:4], (2.28169441, -0.60795873, 0.35961792, 1.15338051), rtol=0, atol=ATOL)
    # Printed with 4 decimals.
    assert numbers.astype(np.float64).sum() == pytest.approx(768.3612, abs=1e-4)


# The smallest model of every kind of key. Larger ones have the same kinds.
@pytest.mark.parametrize("name", ["parcnet_xs", "mobilevit_xs", "edgevit_xxs", "parc_mv2", "parcnetv2_xt"])
def test_state_dicts_have_the_fingerprint(name):
    facts = read_keys(name)
    floats = [
        tensor.double()
        for key, tensor in official_state_dict(name).items()
        if key not in facts["aliases"] and tensor.is_floating_point()
    ]
    sums = {
        "sum": sum(float(tensor.sum()) for tensor in floats),
        "sum_abs": sum(float(tensor.abs().sum()) for tensor in floats),
    }
    # Only the order of float64 additions may differ: 7e6 of them at most, each with a rounding error of 1e-16.
    assert sums == pytest.approx(facts["filled_fingerprint"], rel=1e-8)


@needs_shared
def test_the_copies_are_what_the_script_makes_of_the_shared_fixtures():
    made = dict(copies(SHARED))
    assert {file.stem for file in GOLDEN.glob("*.npz")} == made.keys()
    for name, arrays in made.items():
        with np.load(GOLDEN / f"{name}.npz") as stored:
            assert {*stored} == arrays.keys()
            for key, values in arrays.items():
                assert stored[key].dtype == values.dtype
                np.testing.assert_array_equal(stored[key], values, err_msg=f"{name}: {key}")


def test_the_copies_stay_small():
    assert sum(file.stat().st_size for file in GOLDEN.iterdir() if file.is_file()) < 2 << 20
