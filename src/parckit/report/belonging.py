"""Which records belong to the networks of a page: names stay when a network is replaced, digests of files do not."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from parckit.contract import Contract, sha256_of
from parckit.report.board_tables import BoardSpeed
from parckit.report.recorded import Accuracy, label_of
from parckit.report.recorded_profile import Profiled
from parckit.report.recorded_speed import Speed

_log = logging.getLogger(__name__)

Entry: TypeAlias = Accuracy | Speed | Profiled | BoardSpeed


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """The networks of a page, as they are now.

    Attributes:
        bundles: name of the folder -> the contract of the bundle.
        folder: of the run, with checkpoints; None if there is no run.
        only_these: whether records of networks with other names are left out.
    """

    bundles: Mapping[str, Contract]
    folder: Path | None
    only_these: bool

    def belonging(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return the entries that are about these networks.

        A warning names the records of networks that had the same names and other files, and those that do not tell.
        """
        kept: list[Entry] = []
        former: dict[str, list[str]] = defaultdict(list)
        unknown: dict[str, list[str]] = defaultdict(list)
        for entry in entries:
            if self.only_these and entry.model not in self.bundles:
                continue
            label = label_of(entry.model, entry.artefact)
            if entry.sha256 is None:
                unknown[entry.record].append(label)
            elif self._digest(entry) not in (None, entry.sha256):
                former[entry.record].append(label)
                continue
            kept.append(entry)
        for record, labels in former.items():
            networks = ", ".join(dict.fromkeys(labels))
            _log.warning(
                "%s: left out: %s was another network then (its sha256 differs); measure again", record, networks
            )
        for record, labels in unknown.items():
            networks = ", ".join(dict.fromkeys(labels))
            _log.warning("%s: has no sha256, so it may be about another network than %s is now", record, networks)
        return tuple(kept)

    def _digest(self, entry: Entry) -> str | None:
        """Return the digest of a network as it is now: empty if it is no longer there, None if it cannot be found."""
        contract = self.bundles.get(entry.model)
        if contract is not None:
            return next((one.sha256 for one in contract.artefacts if one.name == entry.artefact), "")
        path = None if self.folder is None else self.folder / entry.model
        return None if path is None or not path.is_file() else sha256_of(path)
