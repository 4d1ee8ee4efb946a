"""What the writer of a format starts from: a float graph, a scheme, and the float artefact they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.contract import TRAINED, Artefact, Calibration, NetworkSpec
from parckit.deploy.quantize.constants import constant_of, set_constant
from parckit.deploy.quantize.pictures import CalibrationPictures
from parckit.deploy.quantize.scheme import Scheme
from parckit.deploy.quantize.settings import QuantizeSettings

Constants = Mapping[tuple[str, int], NDArray[np.float32]]
"""(name of a node, index of its input) -> numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationSource:
    """A network to write in int8.

    Attributes:
        model: the prepared float graph, which nobody changes.
        rounded: the weights and biases that nodes get if they are quantized: rounded so that the outputs change least.
            What is not listed is rounded to the nearest number.
        scheme: how it is quantized.
        spec: describes the network, at the size of the graph's input.
        artefact: the float artefact.
        file: the file of the float artefact.
        pictures: the calibration pictures.
        settings: what the user asked for.
    """

    model: ir.Model
    scheme: Scheme
    spec: NetworkSpec
    artefact: Artefact
    file: Path
    pictures: CalibrationPictures
    settings: QuantizeSettings
    rounded: Constants = field(default_factory=dict[tuple[str, int], NDArray[np.float32]])

    def rounded_model(self) -> ir.Model:
        """Return a copy of the graph in which the nodes with bits have their rounded weights and biases."""
        copy = ir.from_proto(ir.to_proto(self.model))
        nodes = {node.name: node for node in copy.graph if self.scheme.bits.get(node.name or "")}
        for (name, place), numbers in self.rounded.items():
            if name in nodes:
                set_constant(copy, nodes[name], place, numbers, name=f"{name}_bias")
        return copy

    @property
    def calibration(self) -> Calibration:
        """What an artefact says about the pictures."""
        return self.pictures.calibration(self.scheme.calibrator)

    def describe(self, form: str) -> Artefact:
        """Return the description of an int8 artefact of a format, still without files and checks."""
        # No setting decides the numbers of a network that was trained in int8.
        deciding = {} if self.scheme.calibrator == TRAINED else self.settings.options
        return replace(
            self.artefact,
            name=f"{form}-int8",
            format=form,
            precision="int8",
            options={**self.artefact.options, **deciding, "calibrator": self.scheme.calibrator},
            calibration=self.calibration,
            checks=(),
        )


def changed_constants(model: ir.Model, other: ir.Model) -> Constants:
    """Return the weights and biases of a copy of a graph that differ from those of the graph.

    Args:
        model: the graph.
        other: its copy: the same nodes, some of which have other constants, or a bias that is new.
    """
    changed: dict[tuple[str, int], NDArray[np.float32]] = {}
    for before, after in zip(model.graph, other.graph, strict=True):
        for place in range(1, len(after.inputs)):
            numbers = constant_of(after.inputs[place])
            old = constant_of(before.inputs[place]) if place < len(before.inputs) else None
            if numbers is not None and (old is None or not np.array_equal(numbers, old)):
                changed[after.name or "", place] = numbers
    return changed
