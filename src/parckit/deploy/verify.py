"""The check that every export must pass: an artefact must give the same outputs as the network."""

import logging
from pathlib import Path

import numpy as np
from torch import nn

from parckit.contract import Artefact, Check, NetworkSpec, ParckitError
from parckit.measure.memory import peak_memory
from parckit.measure.parity import RTOL, Comparison, compare, compare_detections, probe_pictures
from parckit.processing import preprocess
from parckit.runtimes import find_engine, load_engine
from parckit.runtimes.torch import TorchSession

_log = logging.getLogger(__name__)


def check_artefact(
    reference: nn.Module, spec: NetworkSpec, artefact: Artefact, *, folder: Path, engine: str, rtol: float = RTOL
) -> Check:
    """Compare an artefact, run by an engine, with the unfused float32 network.

    Args:
        reference: the network, in eval mode.
        spec: describes the network.
        artefact: the artefact; its files are in `folder`.
        folder: the bundle.
        engine: name of the engine.
        rtol: accepted difference, as a share of the largest number of the network's output.

    Returns:
        The figures. The check is passed if no output differs by more than the tolerance. For detections, the difference
        is the largest share of an image's detections that only one of the two has; see `compare_detections`.

    Raises:
        ParckitError: if the engine cannot run the artefact.
    """
    session = load_engine(find_engine(engine), what=str(folder)).open_artefact(folder, artefact, spec, threads=None)
    names = [output.name for output in artefact.outputs]
    # Both see the same pictures, prepared as their inputs ask for.
    network = TorchSession(reference, spec)
    pictures = probe_pictures(spec.preprocessing.size)
    images, prepared = (
        np.stack([preprocess(picture, spec.preprocessing, wanted=wanted)[0] for picture in pictures])
        for wanted in (network.input, artefact.input)
    )
    if artefact.runs_in_chunks:
        comparison = compare(network(images), session(prepared), names=names, rtol=rtol)
    else:
        pairs = [(network(images[[index]]), session(prepared[[index]])) for index in range(len(images))]
        if not any(len(expected[0]) for expected, _ in pairs):
            _log.warning("the network detects nothing in the pictures of the check, so no detections were compared")
        comparison = Comparison(differences=tuple(compare_detections(*pair) for pair in pairs))
    worst = comparison.worst
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", session.engine, worst.max_abs, worst.tolerance)
    figures: dict[str, float] = {"max_abs": worst.max_abs, "tolerance": worst.tolerance, "images": len(images)}
    figures |= _measure_memory(folder / artefact.main_file)
    return Check(
        engine=engine, version=session.engine.removeprefix(f"{engine} "), passed=comparison.passed, figures=figures
    )


def _measure_memory(file: Path) -> dict[str, float]:
    """Return the peak memory of one inference, or nothing where it cannot be measured, as on Windows."""
    try:
        return {"peak_memory_bytes": peak_memory(file)}
    except ParckitError as error:
        _log.warning("the peak memory was not measured: %s", error)
        return {}
