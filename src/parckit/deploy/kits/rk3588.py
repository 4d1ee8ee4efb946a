"""The kit of Rockchip RK3588: what RKNN-Toolkit2 takes.

Sources: the interface of RKNN-Toolkit2 2.3 (`rknn.api`: config, load_onnx, build, hybrid_quantization_step1 and 2) and
the examples of github.com/airockchip/rknn-toolkit2. Nobody has run the compiler on our kits yet.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, Preprocessing
from parckit.deploy.kits.kit import Compiled, Kit, KitContent, References, in_pixels

_KEYS = ("model", "dataset", "config", "custom_hybrid")
_PLATFORM = "rk3588"


def _write_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG of the network's size, so that the toolkit does not resize it."""
    Image.fromarray(pixels).save(path)


def _normalisation(preprocessing: Preprocessing) -> dict[str, tuple[float, ...]]:
    """The compiled network computes (pixel - mean) / std, with pixels from 0 to 255."""
    return {"mean_values": in_pixels(preprocessing.mean), "std_values": in_pixels(preprocessing.std)}


def _configure(content: KitContent) -> dict[str, str]:
    """The nodes that get more bits stay in float16, because the NPU of RK3588 has no int16.

    The toolkit wants a part of the graph as its first and its last tensor.
    """
    preprocessing = content.spec.preprocessing
    settings = {
        "model": content.model,
        "dataset": "dataset.txt",
        "config": {
            **{name: [list(values)] for name, values in _normalisation(preprocessing).items()},
            "quantized_dtype": "w8a8",
            "quantized_algorithm": "normal",
            "quantized_method": "channel",
            "target_platform": _PLATFORM,
        },
        "custom_hybrid": [list(content.graph.edges[name]) for name in content.raised],
        "result": f"{content.name}.rknn",
    }
    return {
        RK3588_KIT.configuration: json.dumps(settings, indent=2) + "\n",
        "dataset.txt": "".join(f"./{path}\n" for path in content.calibration),
    }


def _read(path: Path) -> References:
    settings = _settings(path)
    config = cast("Mapping[str, object]", settings["config"])
    dataset = path.parent / str(settings["dataset"])
    faults: list[str] = []
    if config.get("target_platform") != _PLATFORM:
        faults.append(f"target_platform: {config.get('target_platform')!r} is not {_PLATFORM!r}")
    files: tuple[Path, ...] | None = None
    if dataset.is_file():
        # A line has one path for every input.
        lines = dataset.read_text(encoding="utf-8").split()
        files = tuple(dataset.parent / line for line in lines)
    else:
        faults.append(f"dataset: {dataset}: no such file")
    hybrid = tuple(str(name) for pair in cast("Sequence[Sequence[object]]", settings["custom_hybrid"]) for name in pair)
    return References(
        graph=path.parent / str(settings["model"]),
        tensors={"custom_hybrid": hybrid} if hybrid else {},
        channels=3,
        normalisation={key: _numbers(config.get(key), key=key) for key in ("mean_values", "std_values")},
        calibration=files,
        faults=tuple(faults),
    )


def _settings(path: Path) -> Mapping[str, object]:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON") from error
    settings = cast("Mapping[str, object]", content) if isinstance(content, dict) else {}
    if missing := [key for key in _KEYS if key not in settings]:
        raise InputError(f"{path}: has no {missing[0]!r}; is it the rknn.json of a kit?")
    return settings


def _numbers(value: object, *, key: str) -> tuple[float, ...]:
    """Return the numbers of a network with one input."""
    try:
        (numbers,) = cast("Sequence[Sequence[float]]", value)
        return tuple(float(number) for number in numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}: {value!r} is no list with a list of numbers") from error


RK3588_KIT = Kit(
    target="rk3588",
    configuration="rknn.json",
    # How the toolkit reads grey pictures is not documented, so grey networks are refused. Pictures of a BGR network are
    # in that order in the files too: its channels are exchanged before they are written.
    orders={"rgb": "calibration", "bgr": "calibration"},
    suffix=".png",
    write_picture=_write_picture,
    normalisation=_normalisation,
    words=lambda _: {},
    configure=_configure,
    read=_read,
    templates=("README.md", "convert.py"),
    compiled=Compiled(format="rknn", suffix=".rknn", engines=("rknn",)),
)
