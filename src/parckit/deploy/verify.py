"""The check that every export must pass: an artefact must give the same outputs as the network."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import cast, final

import numpy as np
from torch import Tensor, nn

from parckit.contract import (
    Artefact,
    Check,
    InputSpec,
    NetworkSpec,
    ParckitError,
    begin_with_batch,
    image_groups,
    shorten_message,
)
from parckit.deploy.errors import ExportError
from parckit.deploy.unrun import skipped_check
from parckit.measure.agreement import Answers, agreement
from parckit.measure.memory import can_measure_memory, peak_memory
from parckit.measure.parity import (
    Comparison,
    compare,
    compare_class_maps,
    compare_detections,
    probe_pictures,
    real_pictures,
)
from parckit.measure.tolerance import Tolerance, tolerance_of
from parckit.models import copy_model
from parckit.networks import head_of
from parckit.processing import BoxPrediction, Geometry, MaskPrediction, make_decoder, preprocess
from parckit.runtimes import Images, Outputs, Session, open_artefact
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
        self.network = copy_model(network).double()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.network(images.double())


def check_artefact(
    reference: Reference, artefact: Artefact, *, folder: Path, engine: str, tolerance: Tolerance | None = None
) -> Check:
    """Compare an artefact, run by an engine, with the unfused network in float64.

    Args:
        reference: the network.
        artefact: the artefact; its files are in `folder`.
        folder: the bundle.
        engine: name of the engine.
        tolerance: how far they may differ; None: as usual for the artefact's precision.

    Returns:
        The figures. The check is passed if no output, no cosine and no share of equal answers differs by more than the
        tolerance. For detections, the difference is the share of detections that only one of the two has; see
        `compare_detections`. If the engine cannot run on this machine, the check says so.

    Raises:
        EngineCrashError: if the engine crashes or hangs.
        ParckitError: if the engine cannot run the artefact.
        InputError: if there is no tolerance, and the artefact's precision has none.
    """
    if (skipped := skipped_check(engine, done="exported")) is not None:
        return skipped
    accepted = tolerance_of(artefact.precision) if tolerance is None else tolerance
    # This runs the engine in another process. If the engine crashes there, it must not run here.
    memory = _measure_memory(artefact, reference.spec, folder=folder, engine=engine)
    session = open_artefact(folder, artefact, reference.spec, engine=engine)
    images, geometries = reference.prepare(artefact.input)
    actual = [_run(session, images[group]) for group in _groups(artefact, count=len(images))]
    if not artefact.runs_in_chunks:
        comparison = _compare_detections(zip(reference.outputs, actual, strict=True), accepted)
        return _result(session, comparison, images=len(images), memory=memory)
    (expected,), names = reference.outputs, [output.name for output in artefact.outputs]
    computed = tuple(np.concatenate(parts) for parts in zip(*actual, strict=True))
    comparison = compare(expected, computed, names=names, rtol=accepted.numbers)
    _warn_if_blind(comparison, engine=engine)
    shared = None
    if not comparison.worst.fault:
        answers = Answers(
            expected=expected, actual=computed, decoder=session.decoder, spec=session.spec, geometries=geometries
        )
        shared = agreement(answers, accepted)
        if shared is None and session.spec.task == "detect":
            _log.warning("the network finds no box in the pictures of the check, so no boxes were compared")
    return _result(session, comparison, images=len(images), memory=memory, agreed=shared, accepted=accepted)


def _groups(artefact: Artefact, *, count: int) -> list[slice]:
    """Return which images are run at once. If any number can be, the first image is alone, and the others are not."""
    if artefact.runs_in_chunks and artefact.input.batch_size is None:
        return [slice(0, 1), slice(1, count)]
    return image_groups(artefact.outputs, count=count)


def _run(session: Session, images: Images) -> Outputs:
    """Run an engine.

    Raises:
        ExportError: if it raises an error of its own.
    """
    try:
        return session(images)
    except ParckitError:
        raise
    except Exception as error:  # engines raise errors of many classes
        raise ExportError(f"{session.engine} cannot run {session.artefact} ({shorten_message(error)})") from error


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


def check_suppression(
    reference: Reference, artefact: Artefact, raw: Artefact, *, folder: Path, engine: str, threshold: float
) -> Check:
    """Compare the boxes of an artefact with NMS inside with those that the decoder in numpy makes of the raw maps.

    Args:
        reference: has the pictures; its network is not run.
        artefact: the artefact.
        raw: the artefact of the raw maps, which was compared with torch.
        folder: the bundle with the files of both.
        engine: name of the engine.
        threshold: least score of the boxes that are compared.

    Returns:
        The figures; the difference is that of `compare_detections`.
    """
    spec = reference.spec
    memory = _measure_memory(artefact, spec, folder=folder, engine=engine)
    sessions = [open_artefact(folder, one, spec, engine=engine) for one in (raw, artefact)]
    decoders = [make_decoder(session.decoder, spec, overrides={"threshold": threshold}) for session in sessions]
    images, geometries = reference.prepare(artefact.input)
    pairs: list[list[Outputs]] = []
    for image, geometry in zip(images, geometries, strict=True):
        answers = [
            decode(_run(session, image[None]), [geometry]) for session, decode in zip(sessions, decoders, strict=True)
        ]
        pairs.append([(one.boxes, one.scores, one.labels) for (one,) in cast("list[list[BoxPrediction]]", answers)])
    comparison = _compare_detections(((expected, actual) for expected, actual in pairs), tolerance_of(raw.precision))
    return _result(sessions[1], comparison, images=len(pairs), memory=memory)


def check_class_map(reference: Reference, artefact: Artefact, raw: Artefact, *, folder: Path, engine: str) -> Check:
    """Compare the classes of an artefact with argmax inside with those that the decoder in numpy makes of the logits.

    Args:
        reference: has the pictures; its network is not run.
        artefact: the artefact.
        raw: the artefact of the logits, which was compared with torch.
        folder: the bundle with the files of both.
        engine: name of the engine.

    Returns:
        The figures; the difference is that of `compare_class_maps`.
    """
    spec, size = reference.spec, reference.spec.preprocessing.size
    memory = _measure_memory(artefact, spec, folder=folder, engine=engine)
    sessions = [open_artefact(folder, one, spec, engine=engine) for one in (raw, artefact)]
    images, _ = reference.prepare(artefact.input)
    # The pixels of the input are compared.
    geometries = [Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))] * len(images)
    expected, actual = (
        np.stack([answer.mask for answer in cast("list[MaskPrediction]", answers)])
        for answers in (make_decoder(one.decoder, spec)(_run(one, images), geometries) for one in sessions)
    )
    comparison = Comparison(differences=(compare_class_maps(expected, actual),))
    return _result(sessions[1], comparison, images=len(images), memory=memory)


def _compare_detections(pairs: Iterable[tuple[Outputs, Outputs]], tolerance: Tolerance) -> Comparison:
    """Compare the detections of images one by one; the difference is the share of all detections without a partner.

    In a single image of a weak network, rounding may decide between many boxes of nearly equal scores.
    """
    pairs = list(pairs)
    differences = [compare_detections(*pair, tolerance=tolerance) for pair in pairs]
    counts = [len(expected[0]) + len(actual[0]) for expected, actual in pairs]
    if not sum(counts):
        _log.warning("the network detects nothing in the pictures of the check, so no detections were compared")
    lonely = sum(count * one.max_abs for count, one in zip(counts, differences, strict=True)) / max(1, sum(counts))
    figures = {"agreement": 1 - lonely} if sum(counts) else {}
    return Comparison(differences=(replace(differences[0], max_abs=lonely, figures=figures),))


def _result(
    session: Session,
    comparison: Comparison,
    *,
    images: int,
    memory: Mapping[str, float],
    agreed: float | None = None,
    accepted: Tolerance | None = None,
) -> Check:
    """Return the figures of a comparison; `accepted` if cosine and agreement decide, too."""
    worst, (engine, _, version) = comparison.worst, session.engine.partition(" ")
    if worst.fault:
        figures = {"images": float(images)}
        return Check(engine=engine, version=version, passed=False, figures=figures, reason=worst.fault)
    _log.info("parity with %s: max_abs %.3g, tolerance %.3g", session.engine, worst.max_abs, worst.tolerance)
    figures = {"max_abs": worst.max_abs, "tolerance": worst.tolerance, "images": images, **worst.figures, **memory}
    passed = comparison.passed
    limits = (
        {}
        if accepted is None
        else {"agreement": (agreed, accepted.agreement), "cosine": (comparison.cosine, accepted.cosine)}
    )
    for name, (value, least) in limits.items():
        if value is not None:
            figures |= {name: value, f"least_{name}": least}
            passed = passed and value >= least
    return Check(engine=engine, version=version, passed=passed, figures=figures)


def _measure_memory(artefact: Artefact, spec: NetworkSpec, *, folder: Path, engine: str) -> dict[str, float]:
    """Return the peak memory of one inference in another process, or nothing where it cannot be measured.

    Raises:
        EngineCrashError: if the engine crashes or hangs.
        ParckitError: if it cannot load or run the artefact.
    """
    if not can_measure_memory():
        _log.warning("the peak memory was not measured: this system does not tell it")
        return {}
    return {"peak_memory_bytes": peak_memory(folder, artefact, spec, engine=engine)}
