"""How an answer about one picture compares with the truth."""

from typing import NamedTuple


class Judgement(NamedTuple):
    """An answer, compared with the truth.

    Attributes:
        truth: the truth in words.
        answer: the answer in words.
        confidence: how sure the network is of its answer, 0 to 1; of a wrong answer, how sure it is of its worst part.
            Of the classes of pixels, it is the share of wrong pixels.
        is_right: whether the answer is the truth.
    """

    truth: str
    answer: str
    confidence: float
    is_right: bool
