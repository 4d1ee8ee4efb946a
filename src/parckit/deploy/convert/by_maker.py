"""Engines whose files only the maker's own compiler writes. `parckit kit` writes what that compiler takes."""

from collections.abc import Sequence
from pathlib import Path

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.source import Source
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings

_REASON = "only the compiler of the board's maker writes its files; `parckit kit` writes what that compiler takes"


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so."""
    del spec, outputs, settings, precision
    return _REASON


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Refuse.

    Raises:
        ExportError: always.
    """
    del source, folder, settings, precision
    raise ExportError(_REASON)
