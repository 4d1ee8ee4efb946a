"""Inference in batches: threads that each own a session take the images that wait, several at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import NamedTuple, final

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


@final
class Batcher:
    """Runs images through sessions. The images that are there at the same time share an inference.

    A thread takes the first image that waits, and more until the batch is full or `wait` is over.

    Args:
        sessions: one for each thread.
        most: most images of an inference; see `largest_batch`.
        wait: seconds that an inference waits for more images.
        on_batch: is told the number of images and the seconds of every inference.
    """

    def __init__(
        self, sessions: Sequence[Session], *, most: int, wait: float, on_batch: Callable[[int, float], None]
    ) -> None:
        self._most = largest_batch(sessions[0], most=most)
        self._wait = wait
        self._on_batch = on_batch
        self._entries: SimpleQueue[_Entry | None] = SimpleQueue()
        # A thread that hangs in an engine must not keep the process alive.
        self._threads = [Thread(target=self._work, args=(session,), daemon=True) for session in sessions]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether all threads can take images."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, image: Image) -> "Future[Outputs]":
        """Let an image wait for its inference; return its outputs, which keep a batch dimension of 1."""
        entry = _Entry(image, Future())
        self._entries.put(entry)
        return entry.outputs

    def close(self) -> None:
        """Run all images that wait, and end the threads. None may be submitted afterwards."""
        self._entries.put(None)
        for thread in self._threads:
            thread.join()

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
            is_alone = len(group) == 1
            entry.outputs.set_result(outputs if is_alone else tuple(part[index : index + 1] for part in outputs))
