"""Where an artefact begins to differ from its network: found by halves, with networks that end at a layer.

A network that ends at a layer is converted and run as the whole one was. So the search works for every engine, also for
those that do not show what is inside.
"""

import logging
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast, final

import torch
from torch import Tensor, nn

from parckit.contract import Check, OutputSpec, place_artefact
from parckit.deploy.convert import Source
from parckit.deploy.planning import Conversion
from parckit.deploy.settings import ExportSettings
from parckit.measure.memory import peak_memory
from parckit.measure.parity import Difference, compare
from parckit.measure.tolerance import tolerance_of
from parckit.models import FUSED_PREFIX
from parckit.report.checks import text_below
from parckit.runtimes import Images, open_artefact

_log = logging.getLogger(__name__)

_LAYOUTS = {2: "NC", 3: "NAC", 4: "NCHW"}
"""Number of dimensions -> letters of an output that a search can look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """An artefact that differs.

    Attributes:
        source: what it was made of, with a fused network that no converter has changed.
        conversion: how it was made.
        settings: what was asked for.
        engine: name of the engine that runs it.
        images: images for which it differs, as the network takes them.
    """

    source: Source
    conversion: Conversion
    settings: ExportSettings
    engine: str
    images: Images


def first_divergence(suspect: Suspect, check: Check) -> str | None:
    """Return the first layer whose output differs too much, in words; None if it is not found.

    The layers are those without layers inside, in the order in which they run. Operators between two layers belong to
    the later one. It is assumed that all layers after a difference differ, too. If a network that ends at a layer
    cannot be converted or run, the layer is not found. Layers have no answers, so nothing is searched if only the
    answers after decoding differ.

    Args:
        suspect: the artefact that differs.
        check: the check that it did not pass. If only the cosine was too low, it decides in the search, too.
    """
    criterion = _failed_criterion(check)
    if criterion is None:
        return None
    layers = _layers(suspect)
    agreeing, differing, how = -1, len(layers), ""
    while differing - agreeing > 1:
        middle = (agreeing + differing) // 2
        try:
            difference = _difference_at(suspect, layers[middle])
        except Exception as error:  # engines and converters raise errors of many classes
            _log.info("the first layer that differs was not found: %s", error)
            return None
        if fault := _fault_of(difference, suspect, criterion):
            differing, how = middle, fault
        else:
            agreeing = middle
    if not how:
        return None
    kind = type(suspect.source.network.get_submodule(layers[differing])).__name__
    name = layers[differing].removeprefix(FUSED_PREFIX)
    return f"{name} ({kind}), {how}"


def _failed_criterion(check: Check) -> Literal["numbers", "cosine"] | None:
    """Return by what an artefact did not pass its check; None if it is something that layers do not have."""
    figures = check.figures
    if check.reason is not None or figures["max_abs"] > figures["tolerance"]:
        return "numbers"
    return "cosine" if figures.get("cosine", 1.0) < figures.get("least_cosine", -1.0) else None


def _fault_of(difference: Difference, suspect: Suspect, criterion: Literal["numbers", "cosine"]) -> str:
    """Return in words how a layer differs too much; empty if it does not."""
    if difference.fault:
        return difference.fault
    if criterion == "numbers":
        by = f"by {difference.max_abs:.3g}, accepted is {difference.tolerance:.3g}"
        return "" if difference.passed else by
    cosine, least = difference.figures["cosine"], tolerance_of(suspect.conversion.precision).cosine
    return "" if cosine >= least else f"with a lowest cosine of {text_below(cosine, least)}, accepted is {least}"


@torch.no_grad()
def _layers(suspect: Suspect) -> list[str]:
    """Return the paths of the layers whose outputs can be looked at, in the order in which they run."""
    network, paths = deepcopy(suspect.source.network), dict[str, None]()
    count = len(suspect.images)

    def note(path: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim in _LAYOUTS and len(output) == count:
                paths.setdefault(path)

        network.get_submodule(path).register_forward_hook(hook)

    for path, module in network.named_modules():
        if path and not any(module.children()):
            note(path)
    network(torch.from_numpy(suspect.images))
    return list(paths)


def _difference_at(suspect: Suspect, path: str) -> Difference:
    """Return the difference between an artefact that ends at a layer and the network in float64."""
    ending = _Ending(deepcopy(suspect.source.network), path).eval()
    with torch.no_grad():
        expected = deepcopy(ending).double()(torch.from_numpy(suspect.images).double()).numpy()
    output = OutputSpec(name="layer", dtype="float32", layout=_LAYOUTS[expected.ndim], shape=expected.shape)
    conversion = suspect.conversion
    with TemporaryDirectory() as name:
        work = Path(name)
        made_in = work / "made"
        made_in.mkdir()
        source = replace(suspect.source, network=ending, outputs=(output,), work=work)
        artefact = conversion.converter.convert(
            source, folder=made_in, settings=suspect.settings, precision=conversion.precision
        )
        artefact = place_artefact(artefact, made_in=made_in, bundle=work)
        # If the engine crashes at this network, it does so in another process.
        peak_memory(work, artefact, source.spec, engine=suspect.engine)
        (actual,) = open_artefact(work, artefact, source.spec, engine=suspect.engine)(suspect.images)
    return compare((expected,), (actual,), names=[path], rtol=tolerance_of(conversion.precision).numbers).worst


@final
class _Ending(nn.Module):
    """A network that returns what one of its layers gives."""

    def __init__(self, network: nn.Module, path: str) -> None:
        super().__init__()
        self.network = network
        self._path = path

    def forward(self, images: Tensor) -> Tensor:
        kept: list[object] = []
        # A converter may have replaced the layer, so it is looked up now.
        layer = self.network.get_submodule(self._path)
        handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            self.network(images)
        finally:
            handle.remove()
        return cast("Tensor", kept[0])
