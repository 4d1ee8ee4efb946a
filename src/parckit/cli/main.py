"""`parckit VERB ...`: find the verb, run it, and turn the user's mistakes into one line and exit code 2."""

import logging
import os
import signal
import sys
import time
from importlib import import_module

from parckit.contract import VERSION, MissingExtraError, ParckitError
from parckit.contract.openmp import wait_briefly

VERBS = {
    "quickstart": ("the whole path on real handwritten digits: train, export, verify, benchmark, report", "quickstart"),
    "data": ("pack, check and lay out images before training on them", "eval"),
    "train": ("train a network from a recipe", "train"),
    "tune": ("find good values for keys of a recipe by training several times", "tune"),
    "eval": ("accuracy of a checkpoint or bundle on labelled images", "eval"),
    "predict": ("answers for pictures from a checkpoint or bundle", "models"),
    "export": ("fuse a checkpoint and write a verified ONNX bundle", "export"),
    "bench": ("latency and throughput of a bundle on this machine", "models"),
    "report": ("a page about a run or a bundle", "eval"),
    "list": ("models with parameters, multiply-adds, papers and licences", "models"),
    "info": ("cost and stages of one model at one size", "models"),
    "erf": ("effective receptive fields of models side by side", "eval"),
    "cam": ("Grad-CAM: the parts of a picture that support a class", "explain"),
    "convert-weights": ("turn an official checkpoint into safetensors", "eval"),
}
"""Verb -> what it does, and the extra of parckit that installs what it needs."""

_USER_ERROR = 2
_SIGNAL_BASE = 128
"""A process killed by signal N exits with 128 + N."""
_PROCESS_NUMBERS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables in which launchers write the number of a process, or of its machine, from 0."""
_PATIENCE = 5.0
"""Seconds that all processes but the first wait before they tell an error: they fail at about the same time."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line; `argv` defaults to the process's own."""
    args = sys.argv[1:] if argv is None else argv
    verb = args[0] if args else "--help"
    if verb in ("-h", "--help"):
        print(_help())
        return
    if verb == "--version":
        print(f"parckit {VERSION}")
        return
    if verb not in VERBS:
        _fail(f"{verb!r} is no verb: choose from {', '.join(VERBS)}")
    wait_briefly()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        import_module(f"parckit.cli.{verb.replace('-', '_')}").main(args[1:])
    except (ParckitError, OSError) as error:
        if os.environ.get("PARCKIT_TRACEBACK"):
            raise
        _fail(_one_line(error), code=error.exit_code if isinstance(error, ParckitError) else _USER_ERROR)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "parckit") or os.environ.get("PARCKIT_TRACEBACK"):
            raise
        _fail(str(MissingExtraError(f"parckit {verb}", package=package, extra=VERBS[verb][1])))
    except KeyboardInterrupt:
        _fail("interrupted", code=_SIGNAL_BASE + signal.SIGINT)


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {summary}" for verb, (summary, _) in VERBS.items()]
    return "\n".join(
        (
            "usage: parckit VERB [options]      (parckit VERB --help shows a verb's options)",
            "",
            "Lightweight vision backbones with global convolutions, from images to a verified edge artefact.",
            "",
            *lines,
            "",
            "  --version   print the version",
            "  PARCKIT_TRACEBACK=1 in the environment shows the full traceback of an error",
        )
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # An error from a loader's worker carries the traceback of that process; its last line is the message.
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")


def _fail(message: str, *, code: int = _USER_ERROR) -> None:
    if any(os.environ.get(name, "0") != "0" for name in _PROCESS_NUMBERS):
        # The first of several processes tells its error at once; the launcher then ends the others while they wait.
        time.sleep(_PATIENCE)
    print(f"parckit: error: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
