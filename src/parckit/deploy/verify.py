"""The check that every export must pass: an artefact must give the same outputs as the network."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast, final

import numpy as np
from torch import Tensor, nn

from parckit.contract import (
    Artefact,
    Check,
    InputError,
    InputSpec,
    NetworkSpec,
    ParckitError,
    begin_with_batch,
    image_groups,
)
from parckit.measure.agreement import agreement
from parckit.measure.memory import EngineCrashError, peak_memory
from parckit.measure.parity import (
    RTOL,
    Comparison,
    compare,
    compare_class_maps,
    compare_detections,
    probe_pictures,
    real_pictures,
)
from parckit.networks import head_of
from parckit.processing import BoxPrediction, Geometry, MaskPrediction, make_decoder, preprocess
from parckit.runtimes import Images, Outputs, Session, find_engine, load_engine
from parckit.runtimes.torch import TorchSession

_PROBES = 3
"""Random pictures of every kind; two photographs come with them."""
_LEAST_SPREAD = 1e-3
"""Least change of the outputs from picture to picture, as a share of their size: ten times the tolerance of float32."""

_log = logging.getLogger(__name__)


@final
class Reference:
    """A network in float64, and what it gives for the pictures of the check: random ones and photographs.

    A network that returns detections computes in float32.

    Args:
        network: the unfused network; it is not changed.
        spec: describes it.

    Attributes:
        spec: as passed.
        pictures: the pictures.
        input: what the network itself takes.
    """

    def __init__(self, network: nn.Module, spec: NetworkSpec) -> None:
        self.spec = spec
        self.pictures = [*probe_pictures(spec.preprocessing.size, count=_PROBES), *real_pictures()]
        # The parts that torchvision adds to two-stage detectors compute in float32 only.
        in_float64 = begin_with_batch(head_of(spec).outputs(spec))
        self._session = TorchSession(_Float64(network) if in_float64 else network, spec)
        self.input = self._session.input

    def prepare(self, wanted: InputSpec) -> tuple[Images, list[Geometry]]:
        """Return the pictures as an artefact takes them, and where they lie in it."""
        prepared = [preprocess(picture, self.spec.preprocessing, wanted=wanted) for picture in self.pictures]
        return np.stack([image for image, _ in prepared]), [geometry for _, geometry in prepared]

    @cached_property
    def outputs(self) -> list[Outputs]:
        """What the network gives for the pictures: for all at once if it takes them so, else for each one."""
        images, _ = self.prepare(self.input)
        return [self._session(images[group]) for group in image_groups(self._session.outputs, count=len(images))]


@final
class _Float64(nn.Module):
    """A copy of a network that computes in float64."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).double()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.network(images.double())


def check_artefact(
    reference: Reference, artefact: Artefact, *, folder: Path, engine: str, rtol: float | None = None
) -> Check:
    """Compare an artefact, run by an engine, with the unfused network in float64.

    Args:
        reference: the network.
        artefact: the artefact; its files are in `folder`.
        folder: the bundle.
        engine: name of the engine.
        rtol: accepted difference, as a share of the largest number of the network's output; None: as
            `parckit.measure.parity` says for the artefact's precision.

    Returns:
        The figures. The check is passed if no output differs by more than the tolerance. For detections, the difference
        is the largest share of an image's detections that only one of the two has; see `compare_detections`. A check
        that cannot be run because the engine is not installed says so.

    Raises:
        EngineCrashError: if the engine crashes.
        ParckitError: if the engine cannot run the artefact.
    """
    if not find_engine(engine).is_installed:
        return _not_run(engine)
    # This runs the engine in another process. If the engine crashes there, it must not run here.
    memory = _measure_memory(artefact, reference.spec, folder=folder, engine=engine)
    session = _open(artefact, reference.spec, folder=folder, engine=engine)
    images, geometries = reference.prepare(artefact.input)
    groups = image_groups(artefact.outputs, count=len(images))
    actual = [session(images[group]) for group in groups]
    pairs = list(zip(reference.outputs, actual, strict=True))
    if artefact.runs_in_chunks:
        names = [output.name for output in artefact.outputs]
        ((expected, computed),) = pairs
        comparison = compare(expected, computed, names=names, rtol=rtol or RTOL[artefact.precision])
    else:
        comparison = _compare_detections(pairs)
    _warn_if_blind(comparison, engine=engine)
    shared = _agreement(pairs, session, [geometries[group] for group in groups])
    return _result(session, comparison, images=len(images), memory=memory, agreed=shared)


def _not_run(engine: str) -> Check:
    package = find_engine(engine).package
    _log.warning("%s was not run: the package %s is not installed, so nobody knows whether it agrees", engine, package)
    return Check(engine=engine, passed=None, reason=f"the package {package} is not installed where it was exported")


def _warn_if_blind(comparison: Comparison, *, engine: str) -> None:
    """Say so if the network gives nearly the same for all pictures; then a wrong engine would pass, too."""
    spreads = [difference.figures["spread"] for difference in comparison.differences if difference.figures]
    if spreads and max(spreads) < _LEAST_SPREAD:
        _log.warning(
            "the network's outputs change by only %.1g of their size from picture to picture, as in a network that is "
            "not trained: the comparison with %s proves little",
            max(spreads),
            engine,
        )


def _agreement(
    pairs: Sequence[tuple[Outputs, Outputs]], session: Session, geometries: Sequence[Sequence[Geometry]]
) -> float | None:
    """Return the share of the decoded answers that agree; None if they cannot be decoded, as numbers not finite."""
    decode = make_decoder(session.decoder, session.spec)
    try:
        answers = [
            [answer for outputs, places in zip(column, geometries, strict=True) for answer in decode(outputs, places)]
            for column in zip(*pairs, strict=True)
        ]
    except InputError:
        return None
    return agreement(session.spec.task, *answers)


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
    memory = _measure_memory(artefact, spec, folder=folder, engine=engine)
    return _result(sessions[1], comparison, images=len(pairs), memory=memory)


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
    memory = _measure_memory(artefact, spec, folder=folder, engine=engine)
    return _result(sessions[1], comparison, images=len(images), memory=memory)


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


def _result(
    session: Session,
    comparison: Comparison,
    *,
    images: int,
    memory: Mapping[str, float],
    agreed: float | None = None,
) -> Check:
    """Return the figures of a comparison."""
    worst, (engine, _, version) = comparison.worst, session.engine.partition(" ")
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", session.engine, worst.max_abs, worst.tolerance)
    figures: dict[str, float] = {"max_abs": worst.max_abs, "tolerance": worst.tolerance, "images": images}
    figures |= worst.figures
    if agreed is not None:
        figures["agreement"] = agreed
    figures |= memory
    return Check(engine=engine, version=version, passed=comparison.passed, figures=figures)


def _measure_memory(artefact: Artefact, spec: NetworkSpec, *, folder: Path, engine: str) -> dict[str, float]:
    """Return the peak memory of one inference, or nothing where it cannot be measured, as on Windows.

    Raises:
        EngineCrashError: if the engine crashes.
    """
    try:
        return {"peak_memory_bytes": peak_memory(folder, artefact, spec, engine=engine)}
    except EngineCrashError:
        raise
    except ParckitError as error:
        _log.warning("the peak memory was not measured: %s", error)
        return {}
