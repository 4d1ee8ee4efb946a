"""Which files an export makes, and which engines run each of them."""

from dataclasses import dataclass

from parckit.contract import InputError, NetworkSpec, Precision
from parckit.deploy.convert import CONVERTERS, Converter, load_converter, refusal
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.networks import head_of
from parckit.runtimes import find_engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """An artefact to make.

    Attributes:
        artefact: its name.
        converter: what makes it.
        precision: its precision.
        engines: names of the engines that shall run it; several engines open ONNX files.
    """

    artefact: str
    converter: Converter
    precision: Precision
    engines: tuple[str, ...]


def plan_conversions(spec: NetworkSpec, settings: ExportSettings) -> tuple[Conversion, ...]:
    """Return what to make, in the order of the settings' engines and precisions.

    A precision is made for those of the engines that run it.

    Raises:
        InputError: if an engine runs none of the precisions, or no engine runs a precision; or if the precision is
            int8, for an engine whose files an export writes.
        ExportError: if an engine cannot run the network.
    """
    pairs: list[tuple[str, Precision]] = [
        (name, precision)
        for precision in settings.precision
        for name in settings.engines
        if precision in find_engine(name).precisions
    ]
    for name in settings.engines:
        if name not in {engine for engine, _ in pairs}:
            asked, able = ",".join(settings.precision), ", ".join(find_engine(name).precisions)
            raise InputError(f"engines={name}, precision={asked}: {name} runs {able}")
    for precision in settings.precision:
        if precision not in {wanted for _, wanted in pairs}:
            raise InputError(f"precision={precision}: none of the engines {', '.join(settings.engines)} runs it")
    # The engines of boards have no other precision. Their converter says who writes their files.
    if any(precision == "int8" and find_engine(name).precisions != ("int8",) for name, precision in pairs):
        raise InputError("precision=int8: an export does not quantize; `parckit quantize` adds int8 to a bundle")
    grouped: dict[tuple[str, Precision], list[str]] = {}
    for name, precision in pairs:
        if reason := refusal(name, spec, head_of(spec).outputs(spec), settings=settings, precision=precision):
            raise ExportError(f"{spec.backbone}: {name} cannot run it: {reason}")
        grouped.setdefault((CONVERTERS[name].module, precision), []).append(name)
    return tuple(
        Conversion(
            artefact=f"{find_engine(names[0]).formats[0]}-{precision}",
            converter=load_converter(names[0]),
            precision=precision,
            engines=tuple(names),
        )
        for (_, precision), names in grouped.items()
    )
