"""The page for the browser at the end of the quickstart."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from parckit.cli.web import find_package
from parckit.contract import ParckitError, replacing
from parckit.measure.evaluation import EvaluationData
from parckit.runtimes import open_session
from parckit.serve.page_files import write_page

_PATIENCE = 10
"""Seconds without an answer after which the download of ONNX Runtime Web ends: the quickstart works without it."""
_EXAMPLES = 10
"""Pictures that the page offers."""


def write_web_page(out: Path, *, source: str) -> str:
    """Write a page that runs the bundle in a browser, if ONNX Runtime Web is in the cache or can be fetched.

    Args:
        out: folder of the quickstart; the page goes to `page`, pictures for it to `examples`.
        source: the data, whose test pictures the page offers.

    Returns:
        The line that tells what to type: to open the page, or to write it later.
    """
    bundle, page, examples = (out / name for name in ("bundle", "page", "examples"))
    try:
        _write_examples(bundle, examples, source=source)
        package = find_package(None, patience=_PATIENCE)
        write_page(bundle, page, package=package, examples=sorted(examples.glob("*.png")))
    except (ParckitError, OSError) as error:
        again = f"parckit web {bundle} --out {page} --examples {examples}"
        return f"no page for the browser: {error}; later, type: {again}"
    return f"try it: python3 -m http.server --directory {page} 8000, then open http://localhost:8000 and drop a picture"


def _write_examples(bundle: Path, folder: Path, *, source: str) -> None:
    """Write some test pictures as files."""
    table = EvaluationData(source=source).open(open_session(bundle)).table
    indices: Iterable[int] = np.unique(np.linspace(0, len(table.targets) - 1, _EXAMPLES).astype(int)).tolist()
    with replacing(folder) as temporary:
        temporary.mkdir()
        for number, index in enumerate(indices, 1):
            table.load(index).save(temporary / f"{number:02}.png")
