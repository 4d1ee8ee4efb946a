"""The steps of a quantization: open the float network, choose pictures, and choose the numbers."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx_ir as ir

from parckit.contract import (
    FLOAT_ONNX,
    TRAINED,
    Artefact,
    Contract,
    InputError,
    NetworkSpec,
    naming_full_disk,
    read_contract,
)
from parckit.data import Split
from parckit.deploy.quantize.adaround import AdaRoundSettings, learn_roundings
from parckit.deploy.quantize.bias_correction import correct_biases
from parckit.deploy.quantize.calibrators import choose_ranges
from parckit.deploy.quantize.equalization import equalize
from parckit.deploy.quantize.gptq import round_by_gptq
from parckit.deploy.quantize.graph import read_float_graph
from parckit.deploy.quantize.histograms import Images, collect_histograms
from parckit.deploy.quantize.narrowing import narrow_ranges
from parckit.deploy.quantize.norm_folding import fold_norm_scales
from parckit.deploy.quantize.origins import find_origins
from parckit.deploy.quantize.passes import prepare_for_int8
from parckit.deploy.quantize.pictures import CalibrationPictures, open_pictures
from parckit.deploy.quantize.placement import nodes_behind_quantized
from parckit.deploy.quantize.progress import Progress
from parckit.deploy.quantize.rules import stored_constants, usual_bits
from parckit.deploy.quantize.saturation import weight_scales_without_saturation
from parckit.deploy.quantize.scheme import Scheme
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.source import Constants, QuantizationSource, changed_constants
from parckit.deploy.quantize.stripping import strip_pairs
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.evaluation_data import EvaluationData
from parckit.runtimes import Session, open_artefact

ENGINE = "onnxruntime"
"""The engine that runs the artefact which a quantization starts from, and all measurements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatNetwork:
    """The float artefact of a bundle.

    Attributes:
        bundle: folder of the bundle.
        contract: its contract.
        artefact: the artefact.
        session: the artefact in ONNX Runtime.
    """

    bundle: Path
    contract: Contract
    artefact: Artefact
    session: Session

    @property
    def spec(self) -> NetworkSpec:
        """The network at the size of the artefact."""
        return self.contract.spec_of(self.artefact)

    @property
    def file(self) -> Path:
        """The file of the artefact."""
        return self.bundle / self.artefact.main_file

    @property
    def trained(self) -> Artefact | None:
        """The int8 artefact of the network with fake quantizers that it was trained with; None without any."""
        return find_trained(self.contract)


def find_trained(contract: Contract) -> Artefact | None:
    """Return the int8 artefact that a network was trained for with fake quantizers; None without any."""
    return next((artefact for artefact in contract.artefacts if artefact.is_trained_in_int8), None)


def open_float(bundle: Path) -> FloatNetwork:
    """Open the float artefact of a bundle.

    Raises:
        InputError: if there is none, or the network returns detections.
    """
    contract = read_contract(bundle)
    names = [artefact.name for artefact in contract.artefacts]
    if FLOAT_ONNX not in names:
        raise InputError(f"{bundle}: has no artefact {FLOAT_ONNX} to quantize, only {', '.join(names)}")
    artefact = contract.artefact(FLOAT_ONNX)
    if not artefact.runs_in_chunks:
        raise InputError(f"{bundle}: returns detections, as two-stage detectors do; parckit does not quantize these")
    session = open_artefact(bundle, artefact, contract.spec_of(artefact), engine=ENGINE)
    return FloatNetwork(bundle=bundle, contract=contract, artefact=artefact, session=session)


def choose_pictures(
    network: FloatNetwork,
    data: EvaluationData | Path | str,
    *,
    settings: QuantizeSettings,
    work: Path,
    progress: Progress,
) -> CalibrationPictures:
    """Choose and preprocess calibration pictures; see `open_pictures`."""
    return open_pictures(
        usual_data(data, split="train"),
        network.session,
        samples=settings.samples,
        seed=settings.seed,
        work=work,
        track=partial(progress, description="reading pictures"),
    )


def usual_data(data: EvaluationData | Path | str, *, split: Split) -> EvaluationData:
    """Return data as an `EvaluationData`; `split` is for those that are only a source."""
    return data if isinstance(data, EvaluationData) else EvaluationData(source=str(data), split=split)


def yardstick_of(network: FloatNetwork, pictures: CalibrationPictures, *, progress: Progress) -> Yardstick | None:
    """Return a yardstick of the pictures that did not calibrate; None if there are none."""
    if pictures.held_out is None:
        return None
    return Yardstick(
        network.session,
        pictures.held_out,
        has_labels=pictures.has_labels,
        track=partial(progress, description="reading pictures for the check"),
    )


def prepare(
    network: FloatNetwork,
    pictures: CalibrationPictures,
    *,
    settings: QuantizeSettings,
    progress: Progress,
    is_for_onnx: bool = True,
) -> QuantizationSource:
    """Choose the numbers of a quantization: prepare the float graph, and choose ranges and bits.

    Args:
        network: the float network.
        pictures: the calibration pictures.
        settings: how to quantize.
        progress: gets the pictures and nodes while they are used.
        is_for_onnx: whether the int8 file is ONNX, as in `prepare_for_int8`. For others only operators with weights
            have bits, and the scales of weights use all 8 bits: those engines add the products in 32 bits. If the
            network was trained with fake quantizers, they get the numbers of these.
    """
    if not is_for_onnx and network.trained is not None:
        return _trained_source(network, network.trained, pictures, settings=settings)
    if not is_for_onnx:
        settings = replace(settings, between=False, avoid_saturation=False)
    # These change the graph without a change of what it computes.
    model = prepare_for_int8(read_float_graph(network.file), is_for_onnx=is_for_onnx)
    groups = pictures.groups(network.session.batch_size)
    fold_norm_scales(model)
    if settings.equalize:
        equalize(model, groups, track=partial(progress, description="measuring channels"))
    histograms = collect_histograms(
        ir.to_proto(model), groups, track=partial(progress, description="measuring activations")
    )
    bits, reasons = usual_bits(model)
    if settings.between:
        bits |= dict.fromkeys(nodes_behind_quantized(model, bits), 8)
    scheme = Scheme(
        calibrator=settings.method,
        ranges=narrow_ranges(model, choose_ranges(histograms, settings)),
        bits=bits,
        reasons=reasons,
        stored=stored_constants(model, bits) if is_for_onnx else (),
        weight_scales=weight_scales_without_saturation(model, bits) if settings.avoid_saturation else {},
        origins=find_origins(model, onnx.load(network.file, load_external_data=False)),
    )
    scheme, rounded = round_weights(model, scheme, groups, settings=settings, progress=progress)
    return QuantizationSource(
        model=model,
        scheme=scheme,
        spec=network.spec,
        artefact=network.artefact,
        file=network.file,
        pictures=pictures,
        settings=settings,
        rounded=rounded,
    )


def round_weights(
    model: ir.Model, scheme: Scheme, groups: Sequence[Images], *, settings: QuantizeSettings, progress: Progress
) -> tuple[Scheme, Constants]:
    """Round the weights of a graph, and correct its biases, as the settings say.

    Returns:
        The scheme with the scales of the weights, and the constants of nodes that change. The graph stays as it is, so
        that a node can still be left in float32.
    """
    original = ir.to_proto(model)
    copy = ir.from_proto(original)
    track = partial(progress, description="rounding weights")
    if settings.rounding == "gptq":
        scheme = round_by_gptq(
            copy,
            scheme,
            groups,
            corrects_biases=settings.bias_correction,
            avoid_saturation=settings.avoid_saturation,
            seed=settings.seed,
            track=track,
        )
    elif settings.rounding == "adaround":
        scheme = learn_roundings(copy, scheme, groups, settings=AdaRoundSettings(seed=settings.seed), track=track)
    if settings.bias_correction:
        track = partial(progress, description="correcting biases")
        correct_biases(copy, scheme, groups, original=original, track=track)
    return scheme, changed_constants(model, copy)


def _trained_source(
    network: FloatNetwork, trained: Artefact, pictures: CalibrationPictures, *, settings: QuantizeSettings
) -> QuantizationSource:
    """Return a network with the ranges of activations, and the scales of weights, that training has chosen.

    No picture calibrates it, and what improves calibrated networks is not applied.
    """
    stripped = strip_pairs(ir.load(network.bundle / trained.main_file))
    scheme = Scheme(
        calibrator=TRAINED,
        ranges=stripped.ranges,
        bits=dict.fromkeys(stripped.quantized, 8),
        weight_scales=stripped.weight_scales,
    )
    return QuantizationSource(
        model=stripped.model,
        scheme=scheme,
        spec=network.spec,
        artefact=network.artefact,
        file=network.file,
        pictures=replace(pictures, digests=()),
        settings=settings,
    )


@contextmanager
def workplace() -> Generator[Path]:
    """Give a temporary folder. If its disk is full, the error says so."""
    with TemporaryDirectory() as folder, naming_full_disk(Path(folder)):
        yield Path(folder)
