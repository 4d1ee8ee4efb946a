"""Write a kit from a bundle, and put what the board's compiler made of it back into the bundle."""

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import onnx

from parckit.contract import (
    FLOAT_ONNX,
    Artefact,
    Calibration,
    Contract,
    InputError,
    InputSpec,
    add_artefact,
    check_place,
    read_contract,
    replacing,
    sha256_of,
    write_contract,
)
from parckit.deploy.kits import BUNDLE, Graph, Kit, KitContent, find_kit
from parckit.deploy.kits.checking import check_kit, find_configuration
from parckit.deploy.kits.kit import graph_of
from parckit.deploy.quantize.pictures import open_table
from parckit.deploy.quantize.scheme import SCHEME_FILE, read_scheme
from parckit.deploy.quantize.steps import find_trained
from parckit.deploy.targets import find_target
from parckit.deploy.targets.comparison import find_violations
from parckit.measure.evaluation import EvaluationData
from parckit.processing import fit, to_array
from parckit.runtimes import Session, open_session

_RAISED_BITS = 16
_NAMED, _MEASURED = "named with --raised", "by measurement"
"""Why a node has more bits than 8. `_MEASURED` is followed by what `parckit quantize` measured."""
_TRAINED = """\
- The network was trained in INT8. The ONNX file has the trained weights, but the compiler does not take the trained
  ranges of activations: it chooses its own with the calibration pictures. So measure the accuracy of the compiled
  network, and compare it with that of `$int8` in the bundle that you exported.
"""
"""What the page of a kit says about a network that was trained with fake quantizers."""
_log = logging.getLogger(__name__)
Track = Callable[[Iterable[int]], Iterable[int]]
"""Returns the places that it gets, and may show the progress of the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KitSettings:
    """How a kit is written.

    Attributes:
        target: the board: rdk-x5 or rk3588.
        samples: number of calibration pictures. The makers recommend about 100.
        raised: names of nodes that get more bits than 8; by default those that `parckit quantize` raised, if the
            bundle has an int8 artefact in ONNX.
        seed: chooses the calibration pictures.

    Raises:
        InputError: if a value is not accepted.
    """

    target: str
    samples: int = 100
    raised: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        find_kit(self.target)
        if self.samples < 1:
            raise InputError(f"samples={self.samples}: must be 1 or more")


def check_kit_place(out: Path, *, option: str) -> None:
    """Raise InputError if a kit cannot be written to `out`. A folder with other things, such as a kit, is refused."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{option} {out}: a kit is written into a new or an empty folder")
    check_place(out, option=option)


def write_kit(
    bundle: Path, out: Path, data: EvaluationData, *, settings: KitSettings, track: Track = iter
) -> tuple[str, ...]:
    """Write a kit, whole or not at all.

    Args:
        bundle: has an artefact onnx-fp32 that was exported for the board.
        out: a new or an empty folder.
        data: the calibration pictures: a source, or a folder of pictures without labels.
        settings: how it is written.
        track: gets the pictures while they are written.

    Returns:
        The names of the nodes that get more bits than 8.

    Raises:
        InputError: if the bundle, the pictures or the settings do not fit.
    """
    check_kit_place(out, option="--out")
    contract, kit = read_contract(bundle), find_kit(settings.target)
    artefact = contract.artefact(FLOAT_ONNX)
    model = onnx.load(bundle / artefact.main_file)
    if violations := find_violations(model, find_target(settings.target)):
        advice = f"export it with --target {settings.target}"
        raise InputError(f"{bundle}: {settings.target} does not take it; {advice} ({'; '.join(violations)})")
    graph = graph_of(model, bundle / artefact.main_file)
    named = dict.fromkeys(settings.raised or (), _NAMED)
    raised = _raised(bundle, contract, graph) if settings.raised is None else named
    if unknown := [name for name in raised if name not in graph.nodes]:
        raise InputError(f"raised: {unknown[0]!r} is no node of {bundle / artefact.main_file}")
    if constant := [name for name in raised if not graph.edges[name][0]]:
        raise InputError(f"raised: {constant[0]!r} computes with constants only, so nothing in it is rounded")
    with replacing(out) as folder:
        (folder / BUNDLE / artefact.name).mkdir(parents=True)
        for file in artefact.files:
            shutil.copyfile(bundle / file, folder / BUNDLE / file)
        session = open_session(bundle, runtime="onnxruntime", artefact=FLOAT_ONNX)
        files = _write_pictures(kit, folder, data, session, settings=settings, track=track)
        write_contract(replace(contract, artefacts=(artefact,)), folder / BUNDLE)
        content = KitContent(
            spec=contract.spec, artefact=artefact, graph=graph, raised=raised, calibration=files, name=_name(contract)
        )
        _write_texts(kit, folder, content, trained=find_trained(contract))
        if faults := check_kit(folder):
            raise InputError(f"target={settings.target}: {'; '.join(faults)}")
    return tuple(raised)


def add_compiled(place: Path, file: Path, *, target: str) -> Contract:
    """Add what a board's compiler made to a bundle, so that the board can open the bundle.

    Args:
        place: a kit, or a bundle.
        file: what the compiler made.
        target: the board.

    Raises:
        InputError: if the file is missing or of another kind, or there is no bundle.
    """
    kit = find_kit(target)
    bundle = place / BUNDLE if (place / BUNDLE).is_dir() else place
    artefact = read_contract(bundle).artefact(FLOAT_ONNX)
    if not file.is_file() or file.suffix != kit.compiled.suffix:
        raise InputError(f"{file}: must be the {kit.compiled.suffix} file that the compiler of {target} made")
    compiled = replace(
        artefact,
        calibration=_calibration(place, kit),
        name=f"{target}-int8",
        format=kit.compiled.format,
        precision="int8",
        files={file.name: sha256_of(file)},
        input=kit.input_of(artefact),
        options={"target": target},
        checks=(),
    )
    return add_artefact(bundle, compiled, made_in=file.parent)


def target_of(path: Path) -> str:
    """Return the board of a kit.

    Raises:
        InputError: if the folder is no kit.
    """
    return find_configuration(path)[1].target


def _calibration(place: Path, kit: Kit) -> Calibration | None:
    """Return what a kit's compiler saw of pictures; None if the folder is no kit."""
    if not (place / kit.configuration).is_file():
        return None
    files = kit.read(place / kit.configuration).calibration or ()
    return Calibration(method=f"{kit.target}'s compiler", count=len(files), sha256=tuple(map(sha256_of, files)))


def _raised(bundle: Path, contract: Contract, graph: Graph) -> dict[str, str]:
    """Return the nodes that `parckit quantize` raised by measurement and why, in the graph's order.

    The int8 file in ONNX says so. Those for MNN and ncnn have a scheme, too, but no node of theirs is ever raised. What
    is left in float32 by rule has no bits in the scheme, and is not raised.
    """
    files = [file for artefact in contract.artefacts if artefact.format == "onnx" for file in artefact.files]
    file = next((file for file in files if Path(file).name == SCHEME_FILE), None)
    if file is None:
        return {}
    scheme = read_scheme(bundle / file)
    raised = [name for name, bits in scheme.bits.items() if bits == _RAISED_BITS or name in scheme.reasons]
    # The quantizer replaces nodes; the board's compiler knows those of the file.
    reasons = {
        origin: f"{_MEASURED}: {scheme.reasons.get(name, 'no figures')}"
        for name in raised
        for origin in scheme.origins.get(name, (name,))
    }
    return {name: reasons[name] for name in graph.nodes if name in reasons}


def _write_pictures(
    kit: Kit, folder: Path, data: EvaluationData, session: Session, *, settings: KitSettings, track: Track
) -> tuple[str, ...]:
    """Write the calibration files; return their paths in the kit."""
    preprocessing = session.spec.preprocessing
    if preprocessing.channel_order not in kit.orders:
        raise InputError(f"target={kit.target}: takes no network with channel_order={preprocessing.channel_order!r}")
    place = kit.orders[preprocessing.channel_order]
    (folder / place).mkdir()
    table, _ = open_table(data, session.spec)
    count = len(table.targets)
    order = np.random.default_rng(settings.seed).permutation(count)[: settings.samples]
    if count < settings.samples:
        _log.warning("%s has %d pictures; %d were asked for", data.source, count, settings.samples)
    shape = (1, None, None, session.input.channels)
    wanted = InputSpec(dtype="uint8", layout="NHWC", shape=shape, normalised_inside=True)
    written: list[str] = []
    for number in track(range(len(order))):
        fitted, _ = fit(table.load(int(order[number])), preprocessing)
        path = f"{place}/{number:04}{kit.suffix}"
        pixels = to_array(fitted, preprocessing, wanted=wanted).astype(np.uint8)
        kit.write_picture(pixels, folder / path)
        written.append(path)
    return tuple(written)


def _name(contract: Contract) -> str:
    """Return the name of the compiler's result, such as `parcnet_xs_224x224`."""
    height, width = contract.spec.preprocessing.size
    head = "" if contract.spec.head == "classifier" else f"{contract.spec.head}_"
    return f"{head}{contract.spec.backbone}_{height}x{width}"


def _write_texts(kit: Kit, folder: Path, content: KitContent, *, trained: Artefact | None) -> None:
    """Write the compiler's settings, the scripts and the page that explains them.

    `trained` is the int8 artefact that the network was trained for; None without any.
    """
    for name, text in kit.configure(content).items():
        (folder / name).write_text(text, encoding="utf-8")
    source = resources.files("parckit.deploy.kits") / "files" / kit.target
    values = {
        "name": content.name,
        "count": len(content.calibration),
        "raised": len(content.raised),
        "reasons": "".join(f"- `{name}`: {why}\n" for name, why in content.raised.items()) or "- none\n",
        "trained": "" if trained is None else Template(_TRAINED).substitute(int8=trained.name),
    }
    for name in kit.templates:
        text = Template((source / name).read_text(encoding="utf-8")).safe_substitute(values)
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            (folder / name).chmod(0o755)
