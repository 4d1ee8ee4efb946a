"""What the writer of a format starts from: a float graph, a scheme, and the float artefact they come from."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from parckit.contract import Artefact, Calibration, NetworkSpec
from parckit.deploy.quantize.pictures import CalibrationPictures
from parckit.deploy.quantize.scheme import Scheme
from parckit.deploy.quantize.settings import QuantizeSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationSource:
    """A network to write in int8.

    Attributes:
        model: the prepared float graph. A writer must not change it.
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

    @property
    def calibration(self) -> Calibration:
        """What an artefact says about the pictures."""
        return self.pictures.calibration(self.scheme.calibrator)

    def describe(self, form: str) -> Artefact:
        """Return the description of an int8 artefact of a format, still without files and checks."""
        return replace(
            self.artefact,
            name=f"{form}-int8",
            format=form,
            precision="int8",
            options={**self.artefact.options, **self.settings.options, "calibrator": self.scheme.calibrator},
            calibration=self.calibration,
            checks=(),
        )
