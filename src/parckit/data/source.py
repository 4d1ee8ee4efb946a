"""One word or path says where images come from."""

from pathlib import Path
from typing import get_args

from parckit.contract import InputError
from parckit.data.datasets import ImageDataset, ImageTable, IndexedImages, OnError, Transform
from parckit.data.digits import open_digits
from parckit.data.folder import open_folder
from parckit.data.huggingface import SCHEME, open_huggingface
from parckit.data.shards import is_shard_folder, is_shard_pattern, open_shards
from parckit.data.splits import Split
from parckit.data.streams import open_stream

_ACCEPTED = (
    "accepted are 'digits', a folder of class folders or of train/, val/, test/, a folder or pattern of .tar or .tar.gz"
    " shards, http, https, s3 or gs URLs of shards, and hf://NAME"
)


def open_images(source: str, *, split: Split, transform: Transform, on_error: OnError = "raise") -> ImageDataset:
    """Open a split of labelled images.

    Args:
        source: `"digits"` (embedded), a folder (`parckit.data.folder`), local shards (`parckit.data.shards`), a URL of
            shards (`parckit.data.streams`) or `"hf://NAME"` (`parckit.data.huggingface`). A folder of the name
            digits is `"./digits"`.
        split: `"train"`, `"val"`, `"test"`, or `"all"` of it; missing ones follow `parckit.data.splits`.
        transform: applied to every image.
        on_error: `"raise"` stops at a broken image with its name; `"skip"` leaves it out and counts it in the batch.

    Returns:
        `IndexedImages`, or `StreamedImages` for URLs.

    Raises:
        InputError: if the source is of no accepted kind or not well formed, or for another split or `on_error`.
    """
    for name, value, accepted in (("split", split, get_args(Split)), ("on_error", on_error, get_args(OnError))):
        if value not in accepted:
            raise InputError(f"{name}={value!r}: choose from {accepted}")
    if "://" in source and not source.startswith(SCHEME):
        return open_stream(source, split=split, transform=transform, on_error=on_error)
    return IndexedImages(_open_table(source, split=split), transform=transform, on_error=on_error)


def _open_table(source: str, *, split: Split) -> ImageTable:
    if source == "digits":
        return open_digits(split=split)
    if source.startswith(SCHEME):
        return open_huggingface(source, split=split)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return open_shards(source, split=split) if is_shard_folder(folder) else open_folder(folder, split=split)
    if is_shard_pattern(source):
        return open_shards(source, split=split)
    problem = "not a folder" if folder.exists() else "no such folder"
    raise InputError(f"{source}: {problem}; {_ACCEPTED}")
