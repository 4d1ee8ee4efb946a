"""Tar shards behind URLs, read from front to back through webdataset in its secure mode; nothing is kept on disk.

`http`, `https` go through `curl`, `gs` through `gsutil`, `s3` through `aws`: these programs must be installed. The
shards' samples and splits are those of `parckit.data.shardlist`; `classes.txt` must stand beside the first shard.
"""

import random
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple, cast, final
from urllib.parse import urlsplit

from torch.utils.data import IterableDataset, get_worker_info
from webdataset import utils as webdataset_settings
from webdataset.filters import shuffle
from webdataset.gopen import Pipe, gopen
from webdataset.shardlists import split_by_node, split_by_worker
from webdataset.tariterators import group_by_keys, tar_file_iterator

from parckit.contract import InputError
from parckit.data.datasets import ImageDataset, OnError, Sample, Transform, load_or_skip, seed_generators
from parckit.data.images import decode_image
from parckit.data.shardlist import (
    CLASSES_FILE,
    SHARD_EXTENSIONS,
    choose_shards,
    expand_braces,
    image_and_label,
    parse_labels,
    parse_target,
    shard_name,
)
from parckit.data.splits import Split

SCHEMES = ("http", "https", "s3", "gs")
SHUFFLE_WINDOW = 1000
"""Encoded samples among which the next one is drawn: some MB of memory, and more than a batch by far."""

_CLOSED_EARLY = (0, 23, 141, -13)
# Exit statuses of a download that ended well, or because we stopped reading at the tar's end mark (curl's own write
# error, a shell's and a process's broken pipe).


class _Encoded(NamedTuple):
    name: str
    image: bytes
    target: int


@final
class StreamedImages(ImageDataset, IterableDataset[Sample | None]):
    """Images of remote shards; the shards are dealt out to processes and loader workers."""

    def __init__(
        self,
        urls: list[str],
        *,
        labels: tuple[str, ...],
        served: str,
        transform: Transform,
        on_error: OnError = "raise",
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        self.labels = labels
        self.served = served
        self._urls = urls
        self._transform = transform
        self._on_error: OnError = on_error
        self._seed = seed
        self._epoch = epoch

    def shuffled(self, *, seed: int, epoch: int = 0) -> "StreamedImages":
        """Return the same images in random order, for training.

        Order and augmentation follow from seed, epoch and loader worker. Every pass is the next epoch, wherever it is
        made: each worker counts its own.

        Args:
            seed: of order and augmentation.
            epoch: that the first pass is.
        """
        return StreamedImages(
            self._urls,
            labels=self.labels,
            served=self.served,
            transform=self._transform,
            on_error=self._on_error,
            seed=seed,
            epoch=epoch,
        )

    def __iter__(self) -> Iterator[Sample | None]:
        if self._seed is None:
            return self._decoded(None)
        worker = get_worker_info()
        rng = random.Random(f"{self._seed}/{self._epoch}/{worker.id if worker else 0}")  # noqa: S311 - no secret
        self._epoch += 1
        return self._decoded(rng)

    def _decoded(self, rng: random.Random | None) -> Iterator[Sample | None]:
        for name, data, target in self._encoded(rng):
            image = load_or_skip(partial(decode_image, data, name=name), on_error=self._on_error)
            if rng is not None:
                seed_generators(rng.getrandbits(32))  # numpy accepts no more
            yield None if image is None else (self._transform(image), target)

    def _encoded(self, rng: random.Random | None) -> Iterator[_Encoded]:
        urls = list(split_by_worker(split_by_node(iter(self._urls))))
        read = partial(_read_shard, labels=self.labels)
        if rng is None:
            return chain.from_iterable(map(read, urls))
        rng.shuffle(urls)
        return cast("Iterator[_Encoded]", shuffle(SHUFFLE_WINDOW, rng=rng)(chain.from_iterable(map(read, urls))))


def open_stream(source: str, *, split: Split, transform: Transform, on_error: OnError = "raise") -> StreamedImages:
    """Open a split of remote shards.

    Args:
        source: their URL, with braces for several: `https://host/set/{train-{0000..0008},test-0000}.tar`.
        split: which shards; see `parckit.data.shardlist`.
        transform: applied to every image.
        on_error: what to do about a broken image; a broken shard always raises.

    Raises:
        InputError: for a scheme or ending not accepted, or if the class names cannot be fetched.
    """
    urls = expand_braces(source)
    for url in urls:
        if urlsplit(url).scheme not in SCHEMES or not shard_name(url).endswith(SHARD_EXTENSIONS):
            accepted = f"{', '.join(SCHEMES)} URLs that end in {', '.join(SHARD_EXTENSIONS)}"
            raise InputError(f"{url}: not a shard's URL; accepted are {accepted}")
    chosen, served = choose_shards(urls, split=split, source=source)
    return StreamedImages(
        chosen,
        served=served,
        labels=_fetch_labels(urls[0]),
        transform=transform,
        on_error=on_error,
    )


def _fetch_labels(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    address = parts._replace(path=parts.path.rpartition("/")[0] + "/" + CLASSES_FILE).geturl()
    stream = _start_download(address)
    try:
        text = stream.read()
    except OSError:  # raised only if the failed program has ended by now; its status tells in either case
        text = b""
    if status := _end_download(stream):
        raise InputError(
            f"{address}: cannot be fetched (download program's exit status {status}); it names the classes"
        )
    return parse_labels(text.decode("utf-8", errors="replace"), name=address)


def _read_shard(url: str, *, labels: tuple[str, ...]) -> Iterator[_Encoded]:
    stream = _start_download(url)
    problem: Exception | None = None
    try:
        yield from _samples(stream, url=url, labels=labels)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        problem = error
    finally:
        status = _end_download(stream)
    if status:
        raise InputError(f"{url}: cannot be fetched (download program's exit status {status})")
    if problem:
        raise InputError(f"{url}: broken shard ({str(problem).partition(' @ ')[0]})") from problem


def _samples(stream: Pipe, *, url: str, labels: tuple[str, ...]) -> Iterator[_Encoded]:
    files = (file | {"__url__": url} for file in tar_file_iterator(cast("tarfile.TarFile", stream)))
    for sample in group_by_keys(files):
        name = f"{url}:{sample['__key__']}"
        contents = {ending: cast("bytes", content) for ending, content in sample.items() if not ending.startswith("__")}
        pair = image_and_label(contents, name=name)
        if pair is not None:
            yield _Encoded(name=name, image=pair[0], target=parse_target(pair[1], labels=labels, name=name))


def _start_download(url: str) -> Pipe:
    # The switch is the library's own: with it, neither commands in URLs nor rewriting by environment are obeyed.
    # It is set here because a loader worker may be a fresh process.
    webdataset_settings.enforce_security = True  # pyright: ignore[reportAttributeAccessIssue]
    try:
        if url.startswith("s3://"):  # webdataset reads it through a cache server only
            return Pipe(["aws", "s3", "cp", url, "-"], mode="rb")
        return cast("Pipe", gopen(url))
    except FileNotFoundError as error:
        raise InputError(f"{url}: reading it needs the program {error.filename!r}") from error


def _end_download(stream: Pipe) -> int:
    """Close a download; return its exit status, 0 if all that was read arrived whole."""
    stream.stream.close()
    status = stream.proc.wait()
    return 0 if status in _CLOSED_EARLY else status
