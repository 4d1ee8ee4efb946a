"""Writing files so that nothing partial is ever left behind."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Generator[Path, None, None]:
    """Yield a temporary path beside `target`; rename it to `target` on success, remove it on failure.

    The body may create a file or a folder there. A folder that stood at `target` is replaced as a whole.

    Raises:
        OSError: if the folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
