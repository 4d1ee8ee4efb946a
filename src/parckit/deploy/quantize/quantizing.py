"""From a bundle with a float artefact to one with int8 artefacts, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from parckit.contract import (
    Artefact,
    Contract,
    InputError,
    NetworkSpec,
    add_artefact,
    naming_full_disk,
    read_contract,
)
from parckit.deploy.quantize.calibrators import choose_ranges
from parckit.deploy.quantize.checking import check_int8, open_in, refuse_collapse
from parckit.deploy.quantize.graph import read_float_graph
from parckit.deploy.quantize.histograms import collect_histograms
from parckit.deploy.quantize.pictures import CalibrationPictures, open_pictures
from parckit.deploy.quantize.progress import Progress, show_nothing
from parckit.deploy.quantize.rules import usual_bits
from parckit.deploy.quantize.scheme import Scheme
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.source import QuantizationSource
from parckit.deploy.quantize.writers import load_writer, plan_writers
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.evaluation_data import EvaluationData
from parckit.runtimes import Session

FLOAT, ENGINE = "onnx-fp32", "onnxruntime"
"""The artefact that a quantization starts from, and the engine that runs it."""
_USUAL = QuantizeSettings()


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


def quantize(
    bundle: Path | str,
    data: EvaluationData | Path | str,
    *,
    settings: QuantizeSettings = _USUAL,
    progress: Progress = show_nothing,
) -> Contract:
    """Quantize the network of a bundle to 8 bits after its training, and add the int8 artefacts to the bundle.

    Args:
        bundle: folder of a bundle with the artefact `onnx-fp32`.
        data: calibration pictures: the train split of anything that `parckit.evaluate` takes, or a folder of pictures.
        settings: how to quantize.
        progress: gets the pictures while they are used.

    Returns:
        The contract of the bundle with the new artefacts.

    Raises:
        InputError: if the bundle has no such artefact, or the data cannot be opened.
        AccuracyError: if an int8 artefact has too few answers in common with the float network. Nothing is added.
    """
    planned = plan_writers(settings.engines)
    network = open_float(Path(bundle))
    with workplace() as work:
        pictures = choose_pictures(network, data, settings=settings, work=work, progress=progress)
        yardstick = yardstick_of(network, pictures, progress=progress)
        source = prepare(network, pictures, settings=settings, progress=progress)
        made: list[tuple[Artefact, Path]] = []
        for number, (module, engines) in enumerate(planned.items()):
            folder = work / str(number)
            folder.mkdir()
            artefact = load_writer(module).write(source, folder=folder)
            made.append(
                (checked(artefact, network, yardstick, engines=engines, folder=folder, settings=settings), folder)
            )
        contract = network.contract
        for artefact, folder in made:
            contract = add_artefact(network.bundle, artefact, made_in=folder)
    return contract


def open_float(bundle: Path) -> FloatNetwork:
    """Open the float artefact of a bundle.

    Raises:
        InputError: if there is none, or the network returns detections.
    """
    contract = read_contract(bundle)
    names = [artefact.name for artefact in contract.artefacts]
    if FLOAT not in names:
        raise InputError(f"{bundle}: has no artefact {FLOAT} to quantize, only {', '.join(names)}")
    artefact = contract.artefact(FLOAT)
    if not artefact.runs_in_chunks:
        raise InputError(f"{bundle}: returns detections, as two-stage detectors do; parckit does not quantize these")
    session = open_in(ENGINE, artefact, contract.spec_of(artefact), folder=bundle)
    return FloatNetwork(bundle=bundle, contract=contract, artefact=artefact, session=session)


def choose_pictures(
    network: FloatNetwork,
    data: EvaluationData | Path | str,
    *,
    settings: QuantizeSettings,
    work: Path,
    progress: Progress = show_nothing,
) -> CalibrationPictures:
    """Choose and preprocess calibration pictures; see `open_pictures`."""
    opened = data if isinstance(data, EvaluationData) else EvaluationData(source=str(data), split="train")
    return open_pictures(
        opened,
        network.session,
        samples=settings.samples,
        seed=settings.seed,
        work=work,
        track=lambda items: progress(items, description="reading calibration pictures"),
    )


def yardstick_of(network: FloatNetwork, pictures: CalibrationPictures, *, progress: Progress) -> Yardstick | None:
    """Return a yardstick of the pictures that did not calibrate; None if there are none."""
    if pictures.held_out is None:
        return None
    return Yardstick(
        network.session,
        pictures.held_out,
        has_labels=pictures.has_labels,
        track=lambda items: progress(items, description="reading pictures for the check"),
    )


def prepare(
    network: FloatNetwork, pictures: CalibrationPictures, *, settings: QuantizeSettings, progress: Progress
) -> QuantizationSource:
    """Choose the numbers of a quantization: prepare the float graph, and choose ranges and bits."""
    model = read_float_graph(network.file)
    groups = pictures.groups(network.session.batch_size)
    histograms = collect_histograms(
        ir.to_proto(model), groups, track=lambda items: progress(items, description="measuring activations")
    )
    bits, reasons = usual_bits(model)
    scheme = Scheme(calibrator=settings.method, ranges=choose_ranges(histograms, settings), bits=bits, reasons=reasons)
    return QuantizationSource(
        model=model,
        scheme=scheme,
        spec=network.spec,
        artefact=network.artefact,
        file=network.file,
        pictures=pictures,
        settings=settings,
    )


def checked(
    artefact: Artefact,
    network: FloatNetwork,
    yardstick: Yardstick | None,
    *,
    engines: tuple[str, ...],
    folder: Path,
    settings: QuantizeSettings,
) -> Artefact:
    """Return an artefact with its checks, one an engine.

    Raises:
        AccuracyError: if it does not pass one.
    """
    checks = [
        check_int8(yardstick, artefact, network.spec, folder=folder, engine=engine, least=settings.least_agreement)
        for engine in engines
    ]
    for check in checks:
        refuse_collapse(check, artefact)
    return replace(artefact, checks=tuple(checks))


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a temporary folder. If its disk is full, the error says so."""
    with TemporaryDirectory() as folder, naming_full_disk(Path(folder)):
        yield Path(folder)
