"""What holds for all tests of exports."""

from collections.abc import Iterator

import pytest

from processes import measure_no_memory


@pytest.fixture(scope="module", autouse=True)
def no_other_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        measure_no_memory(patch)
        yield
