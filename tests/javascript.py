"""Calls the functions of the page's modules in Node.js."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from parckit.contract import DecoderSpec, InputSpec, Preprocessing
from parckit.processing import Geometry
from repository import ROOT
from tools import needs_tool

PAGE = ROOT / "src" / "parckit" / "serve" / "page"
NODE = shutil.which("node")
needs_node = needs_tool(NODE, reason="needs Node.js (the program node), which runs the page's modules")


def call(calls: Sequence[tuple[str, str, Sequence[Any]]]) -> list[Any]:
    """Return the results of calls: module, function, arguments. An object in place of a function gives its keys."""
    jobs = {
        "geometry": (PAGE / "geometry.mjs").as_uri(),
        "calls": [
            {"module": (PAGE / f"{module}.mjs").as_uri(), "name": name, "args": args} for module, name, args in calls
        ],
    }
    assert NODE is not None
    ran = subprocess.run(
        [NODE, str(ROOT / "tests" / "serve" / "call.mjs")],
        input=json.dumps(jobs, default=_pack),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout, object_hook=_unpack)
    return [result["value"] if "value" in result else result["error"] for result in results]


def picture_of(image: Image.Image, *, step: int = 3) -> dict[str, Any]:
    """Return a picture as the modules take it: with step 4, an alpha value that is to be ignored follows each pixel."""
    pixels = np.asarray(image)
    if step == 4:
        alpha = np.random.default_rng(0).integers(0, 256, (*pixels.shape[:2], 1), dtype=np.uint8)
        pixels = np.concatenate([pixels, alpha], axis=-1)
    return {"height": image.height, "width": image.width, "step": step, "data": pixels}


def plain(value: Preprocessing | InputSpec | DecoderSpec) -> dict[str, Any]:
    """Return a part of a contract as its JSON has it."""
    return asdict(value)


def geometry_of(geometry: Geometry) -> dict[str, Any]:
    """Return a geometry as the modules take it."""
    names = {"picture_size": "pictureSize", "input_size": "inputSize", "scale": "scale", "offset": "offset"}
    return {"$geometry": {names[name]: part for name, part in geometry._asdict().items()}}


def _pack(value: object) -> object:
    assert isinstance(value, np.ndarray)
    return {"$array": [value.dtype.name, base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()]}


def _unpack(value: dict[str, Any]) -> object:
    if "$array" not in value:
        return value
    name, content = value["$array"]
    return np.frombuffer(base64.b64decode(content), name)
