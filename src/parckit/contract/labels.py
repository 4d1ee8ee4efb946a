"""Class names from a text file."""

from collections import Counter
from pathlib import Path

from parckit.contract.errors import InputError

MOST_CLASSES = 1_000_000
"""Most classes of a network. Without class names, every index up to the highest one becomes a class."""


def parse_labels(text: str, *, name: str) -> tuple[str, ...]:
    """Read the class names in `text`, the content of the classes file `name`. A byte order mark is no part of them.

    Raises:
        InputError: if there is no class name, or a class name appears twice.
    """
    labels = tuple(line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip())
    if not labels:
        raise InputError(f"{name}: is empty; one class name per line is needed")
    if len(labels) > MOST_CLASSES:
        raise InputError(f"{name}: has {len(labels)} class names; at most {MOST_CLASSES} are read")
    if repeated := [label for label, count in Counter(labels).items() if count > 1]:
        raise InputError(f"{name}: class {min(repeated)!r} appears twice")
    return labels


def read_class_names(path: Path | str) -> tuple[str, ...]:
    """Read a text file with one class name per line.

    Raises:
        InputError: if the file cannot be read, is empty or has a name twice.
    """
    try:
        return parse_labels(Path(path).expanduser().read_text(encoding="utf-8"), name=str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
