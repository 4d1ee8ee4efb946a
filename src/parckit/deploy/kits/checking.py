"""Compare the configuration of a board's compiler with the files that it names. Others may have written it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import isclose, prod
from pathlib import Path

from parckit.contract import CONTRACT_FILE, InputError, read_contract
from parckit.deploy.kits import BUNDLE, KITS, Graph, Kit, References, read_graph

_SAME = 1e-4
"""Relative difference of two numbers that mean the same. Makers print four digits and more."""
_USUAL_WORDS = re.compile(r"config|deploy|sim|mapper|model|nv12|rgb|nchw|nhwc|bayese?|e|onnx|opset\d*|\d+x\d+|")
"""Words in names of files that say nothing about the network."""


def check_kit(path: Path) -> tuple[str, ...]:
    """Return what is wrong in a kit, or in the configuration of a board's compiler, in one line each.

    Args:
        path: the folder of a kit, or a configuration: the YAML of `hb_mapper makertbin`, or the rknn.json of a kit.

    Raises:
        InputError: if there is no configuration, or it cannot be read at all.
    """
    configuration, kit = find_configuration(path)
    references = kit.read(configuration)
    faults = list(references.faults)
    try:
        graph = read_graph(references.graph)
    except InputError as error:
        return (*faults, str(error))
    faults += _of_the_graph(references, graph)
    faults += _of_calibration(references, graph)
    if (configuration.parent / BUNDLE / CONTRACT_FILE).is_file():
        faults += _of_the_bundle(references, kit, configuration.parent / BUNDLE)
    else:
        faults += _of_names(configuration, references.graph)
    return tuple(faults)


def find_configuration(path: Path) -> tuple[Path, Kit]:
    """Return the configuration that a path means, and the kit that reads it.

    Raises:
        InputError: if there is none.
    """
    if path.is_dir():
        for kit in KITS.values():
            if (path / kit.configuration).is_file():
                return path / kit.configuration, kit
        raise InputError(f"{path}: no kit; it has none of {', '.join(kit.configuration for kit in KITS.values())}")
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    endings = {".yml": ".yaml"}
    ending = endings.get(path.suffix.lower(), path.suffix.lower())
    for kit in KITS.values():
        if Path(kit.configuration).suffix == ending:
            return path, kit
    raise InputError(f"{path}: no configuration; its name ends in none of .yaml, .yml, .json")


def _of_the_graph(references: References, graph: Graph) -> Iterator[str]:
    """Compare names and shapes with the graph."""
    yield from _missing(references.nodes, graph.nodes, graph=graph, what="node")
    yield from _missing(references.tensors, sorted(graph.tensors), graph=graph, what="tensor")
    counts = Counter(graph.nodes)
    for setting, names in references.nodes.items():
        yield from (
            f"{setting}: {graph.path.name} has {counts[name]} nodes {name!r}" for name in names if counts[name] > 1
        )
    if references.inputs and references.inputs != tuple(graph.inputs):
        yield f"input_name: {', '.join(references.inputs)}: {graph.path.name} has {', '.join(graph.inputs)}"
    shapes = tuple(graph.inputs.values())
    if references.shapes and references.shapes != shapes:
        theirs, ours = (", ".join(map(_shape, some)) for some in (references.shapes, shapes))
        yield f"input_shape: {theirs}: {graph.path.name} has {ours}"
    for name, shape in graph.inputs.items():
        yield from _of_an_input(references, name, shape)


def _missing(
    settings: Mapping[str, tuple[str, ...]], known: Sequence[str], *, graph: Graph, what: str
) -> Iterator[str]:
    """Name what a graph does not have."""
    for setting, names in settings.items():
        for name in names:
            if name not in known:
                yield f"{setting}: {graph.path.name} has no {what} {name!r}{_nearest(name, known)}"


def _of_an_input(references: References, name: str, shape: tuple[int, ...]) -> Iterator[str]:
    """Compare the channels and sides of an input, which may not be a picture."""
    if references.channels is None or len(shape) != 4:
        return
    channels = shape[3] if references.channels_last else shape[1]
    sides = shape[1:3] if references.channels_last else shape[2:]
    if channels != references.channels:
        layout = "NHWC" if references.channels_last else "NCHW"
        yield f"input {name}: {_shape(shape)} has {channels} channels in {layout}, not {references.channels}"
    if references.even_sides and any(side % 2 for side in sides):
        yield f"input {name}: {_shape(shape)}: NV12 needs an even height and width"
    for setting, numbers in references.normalisation.items():
        if len(numbers) not in (1, references.channels):
            yield f"{setting}: has {len(numbers)} numbers for {references.channels} channels"


def _of_calibration(references: References, graph: Graph) -> Iterator[str]:
    """Look whether the calibration files are there and as long as an input."""
    if references.calibration is None:
        return
    if not references.calibration:
        yield "calibration: there are no files"
    if missing := [path for path in references.calibration if not path.is_file()]:
        yield f"calibration: {missing[0]}: no such file ({len(missing)} are missing)"
        return
    if references.numbers is None or len(graph.inputs) != 1:
        return
    (shape,) = graph.inputs.values()
    wanted = references.numbers * prod(shape)
    wrong = [path for path in references.calibration if path.stat().st_size != wanted]
    if wrong:
        has = f"{wrong[0]}: has {wrong[0].stat().st_size} bytes"
        yield f"calibration: {has}; {_shape(shape)} takes {wanted} ({len(wrong)} files are wrong)"


def _of_the_bundle(references: References, kit: Kit, bundle: Path) -> Iterator[str]:
    """Compare a kit of ours with its bundle, which knows the digest of its ONNX file and how pictures are prepared."""
    try:
        contract = read_contract(bundle)
    except InputError as error:
        yield str(error)
        return
    files = [(bundle / file).resolve() for artefact in contract.artefacts for file in artefact.files]
    if references.graph.resolve() not in files:
        yield f"{references.graph}: is no file of the kit's own bundle; it may be another network"
    for setting, expected in kit.normalisation(contract.spec.preprocessing).items():
        numbers = references.normalisation.get(setting, ())
        if len(numbers) != len(expected) or not all(map(_same, numbers, expected)):
            yield f"{setting}: is {_text(numbers)}; the network was trained with {_text(expected)}"
    for setting, expected in kit.words(contract.spec.preprocessing).items():
        if (word := references.words.get(setting)) != expected:
            yield f"{setting}: is {word}; the network was trained with {expected}"


def _of_names(configuration: Path, graph: Path) -> Iterator[str]:
    """Compare the names of a configuration and its ONNX file: `net_atto.yaml` must not name `net_femto.onnx`.

    Two sizes of a network can have the same nodes and the same input, so that only the names tell them apart.
    """
    ours, theirs = _words(configuration), _words(graph)
    if ours & theirs and ours - theirs and theirs - ours:
        differing = f"{' '.join(sorted(ours - theirs))} and {' '.join(sorted(theirs - ours))}"
        yield f"{configuration.name} names {graph.name}: {differing} differ; is it the file of another network?"


def _words(path: Path) -> set[str]:
    words = re.split(r"[^a-z0-9]+", path.stem.lower().replace("-deploy", ""))
    return {word for word in words if not _USUAL_WORDS.fullmatch(word)}


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; the nearest name is {close[0]!r}" if close else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(side or "?") for side in shape)


def _same(first: float, second: float) -> bool:
    return isclose(first, second, rel_tol=_SAME, abs_tol=_SAME * _SAME)


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers) or "missing"
