"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Let the garbage collector skip the imported libraries: to search them again and again costs a tenth of the time."""
    gc.collect()
    gc.freeze()
