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
        If a record knows such a network beside the one of now, it is a namesake, which is left out without a warning.
        """
        named = [entry for entry in entries if not self.only_these or entry.model in self.bundles]
        judged = [(entry, *self._judge(entry)) for entry in named]
        # `parckit bench a/bundle b/bundle` measures two networks with one name, and neither is a former one.
        recognised = {_name(entry) for entry, is_kept, doubt in judged if is_kept and not doubt}
        networks: dict[tuple[str, str], list[str]] = defaultdict(list)
        for entry, is_kept, doubt in judged:
            if doubt and (is_kept or _name(entry) not in recognised):
                networks[entry.record, doubt].append(label_of(entry.model, entry.artefact))
        for (record, doubt), labels in networks.items():
            _log.warning("%s: %s %s", record, ", ".join(dict.fromkeys(labels)), doubt)
        return tuple(entry for entry, is_kept, _ in judged if is_kept)

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


def _name(entry: Entry) -> tuple[str, str, str]:
    """Return the names that two entries of a record can have in common although they are about two networks."""
    return entry.record, entry.model, entry.artefact
