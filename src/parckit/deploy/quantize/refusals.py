"""What a quantization refuses before its work, which takes minutes."""

from collections.abc import Iterable, Mapping, Sequence

from parckit.contract import InputError
from parckit.deploy.quantize.settings import QuantizeSettings
from parckit.deploy.quantize.speedup import why_untimed
from parckit.deploy.quantize.steps import FloatNetwork
from parckit.deploy.quantize.writers import FLOAT_LITERT, LITERT, ONNX
from parckit.runtimes import find_engine

MEASURED = ("onnxruntime", "openvino")
"""Engines of the file on which the drop for `max_drop` is measured."""


def refuse_wrong_drop(settings: QuantizeSettings, *, has_eval_data: bool) -> None:
    """Refuse a largest drop without pictures to measure it on, or for engines in which it is not measured.

    Raises:
        InputError: if that is so.
    """
    if (settings.max_drop is not None) != has_eval_data:
        raise InputError("max_drop and eval_data: give both, or none of them")
    others = [name for name in settings.engines if name not in MEASURED]
    if settings.max_drop is not None and others:
        raise InputError(
            f"max_drop: ONNX Runtime measures the drop, and nothing that it says holds for {', '.join(others)}; "
            f"take it with --engines {','.join(MEASURED)} only"
        )


def refuse_trained(network: FloatNetwork, *, advice: str) -> None:
    """Refuse a network that was trained in int8.

    Args:
        network: the float network of the bundle.
        advice: what the user can do.

    Raises:
        InputError: if it was trained in int8.
    """
    if network.trained is not None:
        raise InputError(
            f"{network.bundle}: {network.trained.name} was trained in int8, and is better than what its float32 "
            f"network would become; {advice}"
        )


def refuse_plan(settings: QuantizeSettings, network: FloatNetwork, planned: Mapping[str, Sequence[str]]) -> None:
    """Refuse what a bundle does not allow.

    Args:
        settings: how to quantize.
        network: the float network of the bundle.
        planned: module of a writer -> the engines that share what it writes.

    Raises:
        InputError: if it does not allow something.
    """
    if ONNX in planned:
        refuse_trained(network, advice="quantize it for engines with other files, such as --engines mnn,ncnn")
    names = [artefact.name for artefact in network.contract.artefacts]
    if LITERT in planned and FLOAT_LITERT not in names:
        raise InputError(
            f"{network.bundle}: has no artefact {FLOAT_LITERT}; export with --engines onnxruntime,litert first"
        )
    _refuse_replacing(network, planned.values())
    if settings.keep_if_faster:
        _refuse_untimed(network, planned.values())


def _refuse_replacing(network: FloatNetwork, planned: Iterable[Sequence[str]]) -> None:
    """Refuse to replace an int8 artefact that was made for other engines, too.

    A bundle holds one int8 file of each format. What another engine has checked would be lost.

    Args:
        network: its bundle may have the artefact.
        planned: the engines that share a new file, for each file.
    """
    for engines in planned:
        for artefact in network.contract.artefacts:
            replaced = artefact.precision == "int8" and any(find_engine(name).opens(artefact) for name in engines)
            lost = [check.engine for check in artefact.checks if replaced and check.engine not in engines]
            if lost:
                raise InputError(
                    f"engines={','.join(engines)}: would replace {artefact.name}, which was made for "
                    f"{', '.join(lost)}; make one file for all (--engines {','.join((*lost, *engines))}), or export "
                    "another bundle"
                )


def _refuse_untimed(network: FloatNetwork, planned: Iterable[Sequence[str]]) -> None:
    """Refuse `keep_if_faster` for a file that none of its engines can time beside float32."""
    for engines in planned:
        reasons = [reason for name in engines if (reason := why_untimed(name, network.contract))]
        if len(reasons) == len(engines):
            raise InputError(f"keep_if_faster: int8 cannot be timed: {'; '.join(reasons)}")
