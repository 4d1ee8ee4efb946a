"""What holds for all tests of exports."""

from collections.abc import Iterator

import pytest

MEMORY = 7_000_000
"""What every check finds, bytes."""


@pytest.fixture(scope="module", autouse=True)
def no_other_process() -> Iterator[None]:
    """Start no process that measures memory, which takes half a second for every file that is exported.

    tests/measure/test_memory.py starts some, and tests/cli/test_export.py looks for what an export writes of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in ("verify", "divergence"):
            patch.setattr(f"parckit.deploy.{module}.peak_memory", lambda *args, **options: MEMORY)
        yield
