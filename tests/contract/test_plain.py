"""From plain data to dataclasses."""

from dataclasses import dataclass, field

import pytest

from parckit.contract import ADDED_LATER, InputError, from_plain, to_plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    name: str = "nothing"
    share: float = 0.5
    scale: float | None = field(default=None, metadata=ADDED_LATER)


def test_only_fields_that_were_added_later_may_be_missing():
    assert from_plain(Record, {"name": "a", "share": 1}, name="record") == Record(name="a", share=1.0)
    with pytest.raises(InputError, match="record: has no 'share'"):
        from_plain(Record, {"name": "a", "scale": 2.0}, name="record")


def test_a_record_survives():
    record = Record(name="a", scale=2.0)
    assert from_plain(Record, to_plain(record), name="record") == record


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite(share):
    with pytest.raises(InputError, match=rf"record.share: holds {share}, not a finite number"):
        from_plain(Record, {"name": "a", "share": share}, name="record")
