"""What the benchmarks record of exported networks."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from parckit.contract import Contract, to_plain
from parckit.measure.evaluation import Evaluation
from parckit.measure.latency import benchmark


def describe_bundle(contract: Contract, bundle: Path) -> dict[str, Any]:
    """Return the size of a network, the checks of its first artefact, and its latency with one thread."""
    return {
        "params": contract.params,
        "madds": contract.madds,
        "checks": to_plain(contract.artefacts[0].checks),
        "onnxruntime_timings": [asdict(timing) for timing in benchmark(bundle, threads=(1,)).timings],
    }


def scalars(evaluation: Evaluation) -> dict[str, float]:
    """Return the results in percent with two digits."""
    return {name: round(value, 2) for name, value in evaluation.score.scalars.items()}
