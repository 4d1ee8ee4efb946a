"""How an answer about one picture compares with the truth."""

from typing import NamedTuple


class Judgement(NamedTuple):
    """An answer, compared with the truth.

    Attributes:
        truth: the truth in words.
        answer: the answer in words.
        rank_value: a number from 0 to 1, by which answers are ranked: the wrong ones with the highest number are the
            worst, the right ones with the lowest number the least sure. `ResultView.rank_title` says what it is.
        is_right: whether the answer is the truth.
    """

    truth: str
    answer: str
    rank_value: float
    is_right: bool
