"""What training and evaluation accept in the same way: sizes of batches, loader processes and broken images."""

from typing import get_args

from parckit.contract import InputError
from parckit.data.datasets import OnError

_MOST_WORKERS = 1024
"""Most loader processes. A machine that is told to start millions hangs."""


def check_loading(*, batch_size: int, least: int, workers: int, on_error: str, max_broken: float) -> None:
    """Check the settings of a loader.

    Args:
        batch_size: images per batch.
        least: smallest batch.
        workers: number of loader processes.
        on_error: what happens at a broken image.
        max_broken: largest share of broken images.

    Raises:
        InputError: if one is out of range.
    """
    if batch_size < least:
        raise InputError(f"batch_size={batch_size}: must be at least {least}")
    if not 0 <= workers <= _MOST_WORKERS:
        raise InputError(f"workers={workers}: must lie in 0..{_MOST_WORKERS}")
    if on_error not in get_args(OnError):
        raise InputError(f"on_error={on_error!r}: choose from {get_args(OnError)}")
    if not 0 <= max_broken <= 1:
        raise InputError(f"max_broken={max_broken}: must lie in [0, 1]")


def check_broken(images: str, *, source: str, skipped: int, seen: int, expected: int, max_broken: float) -> None:
    """Check that not too many images are broken.

    Args:
        images: what the images are called.
        source: where they come from.
        skipped: number of broken images so far.
        seen: number of images so far, with the broken ones.
        expected: number of all images that there will be.
        max_broken: largest share of `expected` that may be broken.

    Raises:
        InputError: if more are broken.
    """
    if skipped > max_broken * expected:
        accepted = f"at most {100 * max_broken:g} % may be broken (--data.max_broken {max_broken:g})"
        raise InputError(f"--data {source}: {skipped} of {seen} {images} are broken; {accepted}")
