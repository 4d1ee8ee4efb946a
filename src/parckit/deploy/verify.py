"""The check that every export must pass: an artefact must give the same outputs as the network."""

import logging
from pathlib import Path

from torch import nn

from parckit.contract import Artefact, Check, NetworkSpec
from parckit.deploy.errors import ParityError
from parckit.measure.memory import peak_memory
from parckit.measure.parity import compare, probe_images
from parckit.runtimes import find_engine
from parckit.runtimes.engines import load_engine
from parckit.runtimes.torch import TorchSession

_log = logging.getLogger(__name__)


def check_artefact(reference: nn.Module, spec: NetworkSpec, artefact: Artefact, *, folder: Path, engine: str) -> Check:
    """Compare an artefact, run by an engine, with the unfused float32 network.

    Args:
        reference: the network, in eval mode.
        spec: describes the network.
        artefact: the artefact; its files are in `folder`.
        folder: the bundle.
        engine: name of the engine.

    Raises:
        ParityError: if the outputs differ by more than the tolerance.
        ParckitError: if the engine cannot run the artefact.
    """
    session = load_engine(find_engine(engine), what=str(folder)).open_artefact(folder, artefact, spec, threads=None)
    names = [output.name for output in artefact.outputs]
    comparison = compare(TorchSession(reference, spec), session, probe_images(spec.preprocessing), names=names)
    worst = comparison.worst
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", session.engine, worst.max_abs, worst.tolerance)
    if not comparison.passed:
        raise ParityError(
            f"{session.engine}: {worst.output} differs from torch by {worst.max_abs:.3g} over {comparison.images} "
            f"images, accepted is {worst.tolerance:.3g}; no bundle was written"
        )
    figures: dict[str, float] = {
        "max_abs": worst.max_abs,
        "tolerance": worst.tolerance,
        "images": comparison.images,
        "peak_memory_bytes": peak_memory(folder / artefact.main_file),
    }
    return Check(engine=engine, version=session.engine, passed=True, figures=figures)
