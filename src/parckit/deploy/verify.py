"""The check that every export must pass: an artefact must give the same outputs as the network."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from parckit.contract import Artefact, Check, NetworkSpec, ParckitError
from parckit.measure.memory import peak_memory
from parckit.measure.parity import RTOL, Comparison, compare, compare_class_maps, compare_detections, probe_pictures
from parckit.processing import BoxPrediction, Geometry, MaskPrediction, make_decoder, preprocess
from parckit.runtimes import Outputs, Session, find_engine, load_engine
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
    session = _open(artefact, spec, folder=folder, engine=engine)
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
        comparison = _compare_detections(
            (network(images[[index]]), session(prepared[[index]])) for index in range(len(images))
        )
    return _result(session, comparison, file=folder / artefact.main_file, images=len(images))


def check_suppression(
    artefact: Artefact, raw: Artefact, spec: NetworkSpec, *, folder: Path, engine: str, threshold: float
) -> Check:
    """Compare the boxes of an artefact with NMS inside with those that the decoder in numpy makes of the raw maps.

    Args:
        artefact: the artefact.
        raw: the artefact of the raw maps, which was compared with torch.
        spec: describes the network.
        folder: the bundle with the files of both.
        engine: name of the engine.
        threshold: least score of the boxes that are compared.

    Returns:
        The figures; the difference is that of `compare_detections`.
    """
    sessions = [_open(one, spec, folder=folder, engine=engine) for one in (raw, artefact)]
    decoders = [make_decoder(session.decoder, spec, overrides={"threshold": threshold}) for session in sessions]
    pairs: list[list[Outputs]] = []
    for picture in probe_pictures(spec.preprocessing.size):
        image, geometry = preprocess(picture, spec.preprocessing, wanted=artefact.input)
        answers = [decode(session(image[None]), [geometry]) for session, decode in zip(sessions, decoders, strict=True)]
        pairs.append([(one.boxes, one.scores, one.labels) for (one,) in cast("list[list[BoxPrediction]]", answers)])
    comparison = _compare_detections((expected, actual) for expected, actual in pairs)
    return _result(sessions[1], comparison, file=folder / artefact.main_file, images=len(pairs))


def check_class_map(artefact: Artefact, raw: Artefact, spec: NetworkSpec, *, folder: Path, engine: str) -> Check:
    """Compare the classes of an artefact with argmax inside with those that the decoder in numpy makes of the logits.

    Args:
        artefact: the artefact.
        raw: the artefact of the logits, which was compared with torch.
        spec: describes the network.
        folder: the bundle with the files of both.
        engine: name of the engine.

    Returns:
        The figures; the difference is that of `compare_class_maps`.
    """
    sessions = [_open(one, spec, folder=folder, engine=engine) for one in (raw, artefact)]
    size = spec.preprocessing.size
    images = [preprocess(picture, spec.preprocessing, wanted=artefact.input)[0] for picture in probe_pictures(size)]
    # The pixels of the input are compared.
    geometries = [Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))] * len(images)
    expected, actual = (
        np.stack([answer.mask for answer in cast("list[MaskPrediction]", answers)])
        for answers in (make_decoder(one.decoder, spec)(one(np.stack(images)), geometries) for one in sessions)
    )
    comparison = Comparison(differences=(compare_class_maps(expected, actual),))
    return _result(sessions[1], comparison, file=folder / artefact.main_file, images=len(images))


def _open(artefact: Artefact, spec: NetworkSpec, *, folder: Path, engine: str) -> Session:
    return load_engine(find_engine(engine), what=str(folder)).open_artefact(folder, artefact, spec, threads=None)


def _compare_detections(pairs: Iterable[tuple[Outputs, Outputs]]) -> Comparison:
    """Compare the detections of images one by one; the difference is the share of all detections without a partner.

    In a single image of a weak network, rounding may decide between many boxes of nearly equal scores.
    """
    pairs = list(pairs)
    if not any(len(expected[0]) for expected, _ in pairs):
        _log.warning("the network detects nothing in the pictures of the check, so no detections were compared")
    differences = [compare_detections(*pair) for pair in pairs]
    counts = [len(expected[0]) + len(actual[0]) for expected, actual in pairs]
    lonely = sum(count * one.max_abs for count, one in zip(counts, differences, strict=True))
    return Comparison(differences=(replace(differences[0], max_abs=lonely / max(1, sum(counts))),))


def _result(session: Session, comparison: Comparison, *, file: Path, images: int) -> Check:
    """Return the figures of a comparison."""
    worst, (engine, _, version) = comparison.worst, session.engine.partition(" ")
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", session.engine, worst.max_abs, worst.tolerance)
    figures: dict[str, float] = {"max_abs": worst.max_abs, "tolerance": worst.tolerance, "images": images}
    return Check(engine=engine, version=version, passed=comparison.passed, figures=figures | _measure_memory(file))


def _measure_memory(file: Path) -> dict[str, float]:
    """Return the peak memory of one inference, or nothing where it cannot be measured, as on Windows."""
    try:
        return {"peak_memory_bytes": peak_memory(file)}
    except ParckitError as error:
        _log.warning("the peak memory was not measured: %s", error)
        return {}
