"""Make the copies in this folder from the fuller fixtures in `../shared/golden`, which a clone does not have.

After the fixtures have changed, or when a new family has some: `python tests/golden/make.py`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parent
SHARED = GOLDEN.parents[2] / "shared" / "golden"

# Two images times 1,000 classes: logits stay whole.
MAX_VALUES = 2000

# ParC-Net-H is tested at its native size alone, because it is slow and differs from S by numbers alone. At output
# stride 32 the features of ParC-Net-S are the stages of `parcnet_s_256`.
LEFT_OUT = ("parcnet_h_224", "parcnet_h_320", "parcnet_s_features_os32_256")

META_FACTS = ("model", "gain", "interpolate", "output_stride", "input_tag", "input_shape", "keys", "match")
ARRAY_FACTS = ("shape", "image", "layout", "std", "f64_maxabs", "input_tag", "input_shape")


def copies(shared: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the name of every copy and the arrays in it."""
    for path in sorted(shared.glob("*.npz")):
        if not path.stem.startswith(LEFT_OUT):
            yield path.stem, copy_case(path)
    models = [path for path in sorted((shared / "models").glob("*.json")) if not path.stem.startswith(LEFT_OUT)]
    yield "models", {path.stem: copy_model(path) for path in models}


def copy_case(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        arrays = dict(stored)
    meta = json.loads(str(arrays.pop("meta")))
    facts = {}
    for name, values in arrays.items():
        strides = list(meta["arrays"][name].get("stride") or [1] * values.ndim)
        if not path.stem.startswith("modules_"):
            arrays[name], strides = thin(values, strides)
        facts[name] = pick(meta["arrays"][name], ARRAY_FACTS) | {"stride": strides}
    return arrays | {"meta": np.array(compact(pick(meta, META_FACTS) | {"arrays": facts}))}


def thin(values: np.ndarray, strides: list[int]) -> tuple[np.ndarray, list[int]]:
    """Keep every third index along the longest axis, until few enough values are left; return them and the strides."""
    while values.size > MAX_VALUES:
        steps = [1] * values.ndim
        steps[int(np.argmax(values.shape))] = 3
        values = values[tuple(slice(None, None, step) for step in steps)]
        strides = [stride * step for stride, step in zip(strides, steps, strict=True)]
    return values, strides


def copy_model(path: Path) -> np.ndarray:
    """Return the bytes of a JSON text: a model's keys and shapes, size, multiply-adds and sums of weights."""
    model = json.loads(path.read_text(encoding="utf-8"))
    facts = pick(model, ("gain", "params", "aliases")) | {
        "madds": {size: counts["conv_linear_matmul"] for size, counts in model["madds"].items()},
        "filled_fingerprint": pick(model["filled_fingerprint"], ("sum", "sum_abs")),
        "state_dict": {key: shape for key, shape, _ in model["state_dict"]},
    }
    return np.frombuffer(compact(facts).encode(), np.uint8)


def pick(facts: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: facts[name] for name in names if name in facts}


def compact(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"))


if __name__ == "__main__":
    for name, arrays in copies(SHARED):
        np.savez_compressed(GOLDEN / f"{name}.npz", **arrays)
