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
        networks: dict[tuple[str, str], list[str]] = defaultdict(list)
        for entry in entries:
            if self.only_these and entry.model not in self.bundles:
                continue
            is_kept, doubt = self._judge(entry)
            if is_kept:
                kept.append(entry)
            if doubt:
                networks[entry.record, doubt].append(label_of(entry.model, entry.artefact))
        for (record, doubt), labels in networks.items():
            _log.warning("%s: %s %s", record, ", ".join(dict.fromkeys(labels)), doubt)
        return tuple(kept)

    def _judge(self, entry: Entry) -> tuple[bool, str]:
        """Return whether an entry is kept, and what speaks against it; empty if nothing does."""
        if entry.sha256 is None:
            return True, "may have been another network then, because the record has no sha256"
        contract = self.bundles.get(entry.model)
        if contract is not None:
            digests = {artefact.name: artefact.sha256 for artefact in contract.artefacts}
            if entry.artefact not in digests:
                return False, "is left out, because it is no longer in the bundle"
            digest = digests[entry.artefact]
        else:
            path = None if self.folder is None else self.folder / entry.model
            # Records in the folder of a run may be about networks elsewhere, which the page shows under their names.
            digest = entry.sha256 if path is None or not path.is_file() else sha256_of(path)
        if digest != entry.sha256:
            return False, "is left out, because it was another network then (its sha256 differs); measure again"
        return True, ""
