"""The scheme: what the numbers of a quantized graph are.

Every format's writer turns a float graph and a scheme into its file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parckit.contract import InputError, from_plain, replacing, to_plain

SCHEME_FILE = "quantization.json"
"""Name of the file in an artefact's folder."""

Bits = Literal[8, 16] | None
"""Bits of a node's activations: 8, 16, or None for a node that stays in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How a float ONNX graph is quantized.

    Attributes:
        calibrator: how the ranges were chosen, such as `percentile 99.99`.
        ranges: name of a float tensor that is no constant -> its lowest and highest number. What lies outside is cut
            off. The graph's input and all outputs of all nodes have one.
        bits: name of a node -> bits of its activations. Weights have 8 bits where activations have 8 or 16. Nodes that
            are not listed stay in float32.
        reasons: name of a node that does not have 8 bits although its operator could -> why.
        weight_scales: name of weights -> the scale of every output channel. The scales of weights without an entry are
            their largest absolute value by output channel, divided by the largest step.
        stored: names of constants of nodes without bits that ONNX files hold as int8, to be smaller. They are used in
            float32. Schemes of other formats have none, because their engines store only what they compute in int8.
        origins: name of a node -> the nodes of the float file that it stands for. Nodes that are not listed stand for
            themselves.
    """

    calibrator: str
    ranges: Mapping[str, tuple[float, float]]
    bits: Mapping[str, Bits]
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    weight_scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    stored: tuple[str, ...] = ()
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __post_init__(self) -> None:
        for name, (lowest, highest) in self.ranges.items():
            if not lowest <= highest:
                raise InputError(f"range of {name}: {lowest} to {highest} is empty")


def write_scheme(scheme: Scheme, path: Path) -> None:
    """Write a scheme as JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(to_plain(scheme), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_scheme(path: Path) -> Scheme:
    """Read a scheme.

    Raises:
        InputError: if the file is missing, is no JSON, or holds something else than a scheme.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error})") from error
    return from_plain(Scheme, plain, name=str(path))
