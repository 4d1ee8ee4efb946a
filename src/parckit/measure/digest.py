"""Which network a measurement is about: the digest of the files that were measured."""

from pathlib import Path

from parckit.contract import read_contract, sha256_of, shipped_weights


def digest_of(path: Path | str, *, artefact: str) -> str:
    """Return the sha256 digest of what a session has opened.

    Args:
        path: a bundle's folder, a file, or the name of weights that ship with parckit.
        artefact: the bundle's artefact; a file has none.

    Raises:
        InputError: if there is no such bundle or artefact.
    """
    if Path(path).is_dir():
        # The session that opened the artefact has compared its files with the contract.
        return read_contract(Path(path), check_files=False).artefact(artefact).sha256
    return sha256_of(file_of(Path(path)))


def file_of(path: Path) -> Path:
    """Return a file, or the file of shipped weights if the path is their name."""
    return path if path.exists() else shipped_weights(str(path)) or path
