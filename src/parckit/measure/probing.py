"""Which candidates can be loaded and run: each one is tried in a process of its own, so a crash ends only that."""

from collections.abc import Sequence

from parckit.contract import ParckitError
from parckit.measure.candidates import Candidate
from parckit.measure.memory import Loading, loading
from parckit.runtimes import load_engine


def probe(candidates: Sequence[Candidate]) -> tuple[dict[str, Loading], dict[str, ParckitError]]:
    """Load and run every candidate once, in a new process.

    Args:
        candidates: at least one.

    Returns:
        Name of a candidate -> what loading costs; and name of a candidate that fails or crashes -> the error.

    Raises:
        ParckitError: if all fail.
    """
    loadings: dict[str, Loading] = {}
    failures: dict[str, ParckitError] = {}
    for candidate in candidates:
        try:
            load_engine(candidate.engine, what=str(candidate.path))
            loadings[candidate.name] = loading(candidate)
        except ParckitError as error:
            failures[candidate.name] = error
        except (ImportError, OSError) as error:  # an engine whose own libraries are broken
            failures[candidate.name] = ParckitError(f"{candidate.name}: cannot be loaded: {error}")
    if not loadings:
        raise next(iter(failures.values()))
    return loadings, failures
