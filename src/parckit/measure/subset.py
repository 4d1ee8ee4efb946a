"""Evaluation on some of a network's classes: the answers are limited to them."""

from collections.abc import Collection
from dataclasses import replace
from typing import final

from parckit.contract import InputError
from parckit.runtimes import Images, Outputs, Session

_MOST_NAMED = 5


@final
class SubsetSession:
    """A session whose network has only some of its classes. The numbers of all other classes are dropped.

    ImageNet-R and ImageNet-A are evaluated in this way: 200 of the network's 1,000 classes can be the answer.

    Args:
        session: a session whose outputs have one number for every class.
        classes: names of the classes, in any order; the network's order stays.

    Raises:
        InputError: if the network is no classifier, lacks one of the classes, or there are fewer than two.
    """

    def __init__(self, session: Session, classes: Collection[str]) -> None:
        labels, task = session.spec.labels, session.spec.task
        if task != "classify":
            reason = f"only classifiers can be evaluated on some of their classes, not task={task!r}"
            raise InputError(f"--data.classes {','.join(classes)}: {reason}")
        if missing := [name for name in classes if name not in labels]:
            known = ", ".join(labels[:_MOST_NAMED]) + (", ..." if len(labels) > _MOST_NAMED else "")
            raise InputError(f"--data.classes: the network has no class {missing[0]!r} to evaluate; it has {known}")
        if len(set(classes)) < 2:
            reason = "the answers are limited to these classes, so name at least two"
            raise InputError(f"--data.classes {','.join(classes)}: {reason}")
        self._session = session
        self._indices = [index for index, label in enumerate(labels) if label in classes]
        self.spec = replace(session.spec, labels=tuple(labels[index] for index in self._indices))
        self.input = session.input
        self.outputs = session.outputs
        self.decoder = session.decoder
        self.engine = session.engine
        self.artefact = session.artefact
        self.batch_size = session.batch_size

    def __call__(self, images: Images) -> Outputs:
        """Run the network, and keep the numbers of the classes.

        Shape:
            images: as the session's -> (B, classes) for each output
        """
        return tuple(output[:, self._indices] for output in self._session(images))
