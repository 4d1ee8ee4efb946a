"""Reading what parckit 0.1.0 wrote: its specs and contracts in today's form. Nothing else knows of the old form."""

from collections.abc import Mapping
from typing import TypeGuard, cast

_NEW_IN_PREPROCESSING = {"fit": "cover", "fill": [114, 114, 114]}
"""Fields that came later, with the values that mean what 0.1.0 did."""

_CONTRACT_KEYS = (
    "task",
    "spec",
    "input",
    "outputs",
    "opset",
    "ir_version",
    "params",
    "madds",
    "peak_memory_bytes",
    "parity",
    "versions",
    "sha256",
)
"""What 0.1.0 wrote into contract.json, beside `schema`."""


def is_schema1_spec(data: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether a spec has the form of 0.1.0, which called the backbone `model`."""
    return isinstance(data, Mapping) and "model" in data and "backbone" not in data


def spec_from_schema1(data: Mapping[str, object]) -> dict[str, object]:
    """Translate a spec. What is missing or wrong in it stays so, and is refused by the reader of today's form."""
    renamed = {"model": "backbone", "model_kwargs": "backbone_kwargs"}
    spec = {renamed.get(key, key): value for key, value in data.items()}
    preprocessing = spec.get("preprocessing")
    if isinstance(preprocessing, Mapping):
        spec["preprocessing"] = {**_NEW_IN_PREPROCESSING, **cast("Mapping[str, object]", preprocessing)}
    return {"task": "classify", "head": "classifier", "head_kwargs": {}, **spec}


def contract_from_schema1(data: Mapping[str, object]) -> dict[str, object]:
    """Translate a contract: its one graph becomes the only artefact, checked on ONNX Runtime.

    Raises:
        KeyError: for a missing key.
        TypeError: for a value of another kind.
        ValueError: for an unknown key or another task.
    """
    if unknown := data.keys() - _CONTRACT_KEYS:
        raise ValueError(f"{min(unknown)!r} is unknown; schema 1 has {', '.join(_CONTRACT_KEYS)}")
    if data["task"] != "classify":
        raise ValueError(f"task={data['task']!r}: parckit 0.1.0 wrote only 'classify'")
    spec = spec_from_schema1(cast("Mapping[str, object]", data["spec"]))
    return {
        "spec": spec,
        "artefacts": [_artefact(data)],
        "params": data["params"],
        "madds": data["madds"],
        "versions": data["versions"],
    }


def _artefact(data: Mapping[str, object]) -> dict[str, object]:
    """Return the only artefact of a contract."""
    parity = dict(cast("Mapping[str, object]", data["parity"]))
    figures = {key: value for key, value in parity.items() if key != "runtime"}
    tensors = [dict(cast("Mapping[str, object]", tensor)) for tensor in cast("list[object]", data["outputs"])]
    return {
        "name": "onnx-fp32",
        "format": "onnx",
        "precision": "fp32",
        "files": data["sha256"],
        "input": {**cast("Mapping[str, object]", data["input"]), "normalised_inside": False},
        "outputs": tensors,
        "decoder": {"name": "classify", "parameters": {}, "defaults": {"top": 3, "threshold": 0.0}},
        "options": {"opset": data["opset"], "ir_version": data["ir_version"], "form": None},
        "calibration": None,
        "checks": [
            {
                "engine": "onnxruntime",
                "version": str(parity["runtime"]).removeprefix("onnxruntime "),
                "passed": True,
                "figures": {**figures, "peak_memory_bytes": data["peak_memory_bytes"]},
                "reason": None,
            }
        ],
    }
