"""Which nodes break a quantized network: each is measured when only it is quantized, and when only it stays in float.

A measurement of many nodes takes minutes. Every result is written to a file at once, and a file with results of the
same network, pictures and settings is continued.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from parckit.contract import VERSION, InputError, from_plain, replacing, sha256_of, to_plain
from parckit.deploy.quantize.pictures import CalibrationPictures
from parckit.deploy.quantize.scheme import Bits, Scheme
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.source import QuantizationSource
from parckit.deploy.quantize.steps import ENGINE, FloatNetwork
from parckit.deploy.quantize.writers import load_writer
from parckit.deploy.quantize.yardstick import Measure, Yardstick
from parckit.runtimes import open_artefact

WITHOUT_EFFECT = ("engines", "seconds", "keep_if_faster", "least_agreement", "accepted_drop", "max_drop", "raise_to")
"""Settings that change no result of a measurement."""

Track = Callable[[Iterable[str]], Iterable[str]]
"""Returns the names of nodes that it gets, and may show the progress of the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSensitivity:
    """What the quantization of a node costs.

    Attributes:
        node: its name.
        operator: its operator.
        alone: the network if only this node is quantized.
        without: the network if all are quantized but this one.
    """

    node: str
    operator: str
    alone: Measure
    without: Measure


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """What the quantization of every node costs.

    Attributes:
        fingerprint: digest of the network, pictures and settings that the results belong to.
        images: number of pictures.
        reference: the float network.
        all_quantized: the network if all nodes are quantized.
        nodes: the results, in the order of measurement.
    """

    fingerprint: str
    images: int
    reference: Measure
    all_quantized: Measure
    nodes: tuple[NodeSensitivity, ...] = field(default_factory=tuple[NodeSensitivity, ...])

    @property
    def ranked(self) -> list[NodeSensitivity]:
        """The nodes; that whose quantization alone makes the largest error comes first."""
        return sorted(self.nodes, key=lambda node: node.alone.sqnr)


@final
class Trial:
    """Measures a network with other bits, or another scheme, than its own.

    Args:
        source: the network.
        yardstick: the pictures.
    """

    def __init__(self, source: QuantizationSource, yardstick: Yardstick) -> None:
        self._source, self._yardstick = source, yardstick

    def measure(self, bits: Mapping[str, Bits]) -> Measure:
        """Return how good the network is with these bits."""
        return self.measure_scheme(replace(self._source.scheme, bits=bits))

    def measure_scheme(self, scheme: Scheme) -> Measure:
        """Return how good the network is with a scheme for its graph."""
        with TemporaryDirectory() as folder:
            artefact = load_writer(ENGINE).write(replace(self._source, scheme=scheme), folder=Path(folder))
            return self._yardstick.measure(open_artefact(Path(folder), artefact, self._source.spec, engine=ENGINE))


def measure_sensitivity(
    source: QuantizationSource, yardstick: Yardstick, *, file: Path, fingerprint: str, track: Track = iter
) -> Sensitivity:
    """Measure every quantized node of a network.

    Args:
        source: the network.
        yardstick: the pictures.
        file: JSON file of the results. If it holds some, these are kept, and only the nodes that are missing are
            measured; see `refuse_other_results`.
        fingerprint: see `fingerprint_of`.
        track: gets the names of the nodes that are measured.

    Raises:
        InputError: if the file exists and is something else, or holds results of another measurement.
    """
    refuse_other_results(file, fingerprint)
    trial, bits = Trial(source, yardstick), source.scheme.bits
    if file.exists():
        result = read_sensitivity(file)
    else:
        result = Sensitivity(
            fingerprint=fingerprint,
            images=yardstick.images,
            reference=yardstick.reference,
            all_quantized=trial.measure(bits),
        )
    operators = {node.name or "": node.op_type for node in source.model.graph}
    known = {node.node for node in result.nodes}
    for name in track([name for name in bits if name not in known]):
        measured = NodeSensitivity(
            node=name,
            operator=operators[name],
            alone=trial.measure({name: bits[name]}),
            without=trial.measure({other: value for other, value in bits.items() if other != name}),
        )
        result = replace(result, nodes=(*result.nodes, measured))
        _write(result, file)
    return result


def read_sensitivity(file: Path) -> Sensitivity:
    """Read the results of a measurement.

    Raises:
        InputError: if the file holds something else.
    """
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: is no JSON ({error}); name another file") from error
    return from_plain(Sensitivity, plain, name=str(file))


def _write(result: Sensitivity, file: Path) -> None:
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(to_plain(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def fingerprint_of(network: FloatNetwork, pictures: CalibrationPictures, settings: QuantizeSettings) -> str:
    """Return a digest of all that the results of a measurement depend on."""
    facts = [
        VERSION,
        network.session.engine,
        sha256_of(network.file),
        {name: value for name, value in to_plain(settings).items() if name not in WITHOUT_EFFECT},
        pictures.digests,
        pictures.held_out_digests,
        pictures.has_labels,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def refuse_other_results(file: Path, fingerprint: str) -> None:
    """Refuse a file with results of another measurement. They may have taken hours, so nobody replaces them.

    Raises:
        InputError: if it has some, or holds something else.
    """
    if file.exists() and read_sensitivity(file).fingerprint != fingerprint:
        raise InputError(
            f"{file}: holds results of another network, other pictures, other settings, or another version of parckit "
            "or ONNX Runtime; name another file with --out, or delete it"
        )
