"""Run a script that builds models with timm, and let it know parckit's: `python -m parckit.models SCRIPT.py ARGUMENTS`.

`torchrun -m parckit.models SCRIPT.py ARGUMENTS` starts it in several processes.
"""

import runpy
import sys
from pathlib import Path

import parckit.models  # noqa: F401  # registers the models  # pyright: ignore[reportUnusedImport]


def main() -> None:
    """Run the script that the first argument names; it gets the other arguments.

    Raises:
        SystemExit: if the first argument is no file.
    """
    script = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if script is None or not script.is_file():
        raise SystemExit(f"script={script}: must be a Python file: python -m parckit.models SCRIPT.py ARGUMENTS")
    del sys.argv[0]
    # As Python does for a script: it may import its neighbours.
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
