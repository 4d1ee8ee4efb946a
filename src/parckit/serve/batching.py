"""Inference for threads that each have one image: one by one, or in batches of what waits at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from parckit.contract import begin_with_batch
from parckit.runtimes import Outputs, Session

Image = NDArray[np.generic]
"""One image of a network's input, without the batch dimension."""


class _Entry(NamedTuple):
    image: Image
    outputs: "Future[Outputs]"


def largest_batch(session: Session, *, most: int) -> int:
    """Return how many images a session takes at once.

    Args:
        session: a network in an engine.
        most: the answer for an artefact that takes any number of images. Others take the number that they were made
            for, or one by one if their outputs do not begin with the batch.
    """
    if not begin_with_batch(session.outputs):
        return 1
    return session.input.batch_size or most


class Runner(Protocol):
    """Runs the images of many threads through one or more sessions.

    Attributes:
        images: images that it works on at the same time; more wait.
    """

    images: int

    @property
    def is_alive(self) -> bool:
        """Whether images can be run."""
        ...

    def run(self, image: Image) -> Outputs:
        """Return the outputs for an image, which have a batch dimension of 1 if they have one."""
        ...

    def close(self) -> None:
        """Let the runner's threads end, if it has some, after the images that wait. No image may be run afterwards."""
        ...


OnBatch = Callable[[int, float], None]
"""A function that is called after every inference, with its number of images and its seconds."""


def make_runner(sessions: Sequence[Session], *, most: int, wait: float, on_batch: OnBatch) -> Runner:
    """Return what fits the artefact: a `Batcher`, or `OneByOne` if it takes one image.

    Args:
        sessions: the network, once for each inference at the same time.
        most: most images of an inference; see `largest_batch`.
        wait: seconds that an inference waits for more images.
        on_batch: is called after every inference.
    """
    images = largest_batch(sessions[0], most=most)
    if images == 1:
        return OneByOne(sessions, on_batch=on_batch)
    return Batcher(sessions, most=images, wait=wait, on_batch=on_batch)


@final
class OneByOne:
    """Runs every image alone, in the thread that has it: to hand it to another thread would take longer.

    Args:
        sessions: the network, once for each inference at the same time.
        on_batch: is called after every inference.
    """

    is_alive = True

    def __init__(self, sessions: Sequence[Session], *, on_batch: OnBatch) -> None:
        self.images = len(sessions)
        self._on_batch = on_batch
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            self._free.put(session)

    def run(self, image: Image) -> Outputs:
        """Run an image; see `Runner`."""
        session = self._free.get()
        start = monotonic()
        try:
            outputs = session(image[None])
        finally:
            self._free.put(session)
        self._on_batch(1, monotonic() - start)
        return outputs

    def close(self) -> None:
        """Do nothing."""


@final
class Batcher:
    """Runs images together that come at about the same time.

    Every session has a thread. It takes the first image that waits, and more until the batch is full or `wait` is over.

    Args:
        sessions: the network, once for each inference at the same time.
        most: most images of an inference.
        wait: seconds that an inference waits for more images.
        on_batch: is called after every inference.
    """

    def __init__(self, sessions: Sequence[Session], *, most: int, wait: float, on_batch: OnBatch) -> None:
        self.images = most * len(sessions)
        self._most = most
        self._wait = wait
        self._on_batch = on_batch
        self._entries: SimpleQueue[_Entry | None] = SimpleQueue()
        # As daemons, they do not keep a process alive that ends with an error before `close`.
        self._threads = [Thread(target=self._work, args=(session,), daemon=True) for session in sessions]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether all threads can take images."""
        return all(thread.is_alive() for thread in self._threads)

    def run(self, image: Image) -> Outputs:
        """Run an image, perhaps with others; see `Runner`."""
        entry = _Entry(image, Future())
        self._entries.put(entry)
        return entry.outputs.result()

    def close(self) -> None:
        """Let the threads end after the images that wait; see `Runner`."""
        self._entries.put(None)

    def _work(self, session: Session) -> None:
        while group := self._collect():
            self._run(session, group)

    def _collect(self) -> list[_Entry]:
        """Return the entries of the next inference; none at the end."""
        group: list[_Entry] = []
        deadline = None
        while len(group) < self._most:
            try:
                entry = self._entries.get(timeout=deadline and max(0.0, deadline - monotonic()))
            except Empty:
                break
            if entry is None:
                self._entries.put(None)  # the other threads must see the end, too
                break
            group.append(entry)
            deadline = deadline or monotonic() + self._wait
        return group

    def _run(self, session: Session, group: Sequence[_Entry]) -> None:
        start = monotonic()
        try:
            outputs = session(np.stack([entry.image for entry in group]))
        except Exception as error:
            for entry in group:
                entry.outputs.set_exception(error)
            return
        self._on_batch(len(group), monotonic() - start)
        for index, entry in enumerate(group):
            entry.outputs.set_result(tuple(output[index : index + 1] for output in outputs))
