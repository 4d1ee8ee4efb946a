"""`parckit VERB ...`: find the verb, run it, and turn the user's mistakes into one line and exit code 2."""

import logging
import os
import signal
import sys
import time
from importlib import import_module

from parckit import __version__
from parckit.contract import DivergedError, ExportError, InputError, LostProcessError, TerminatedError

VERBS = {
    "quickstart": "the whole path on real handwritten digits: train, export, verify, benchmark, report",
    "data": "pack, check and lay out images before training on them",
    "train": "train a model from a recipe",
    "eval": "accuracy of a checkpoint or bundle on labelled images",
    "predict": "classify pictures with a checkpoint or bundle",
    "export": "fuse a checkpoint and write a verified ONNX bundle",
    "bench": "latency and throughput of a bundle on this machine",
    "list": "models with parameters, multiply-adds, papers and licences",
    "info": "cost and stages of one model at one size",
    "erf": "effective receptive fields of models side by side",
    "cam": "Grad-CAM: the parts of a picture that speak for a class",
    "convert-weights": "turn an official checkpoint into safetensors",
}

_USER_ERROR = 2
_OF_SIGNAL = 128
# Added to a signal's number it is what shells and SLURM report of a process that the signal ended.
_NUMBERS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
# Where launchers write the number of a process, or of its machine, from 0.
_PATIENCE = 5.0  # seconds; processes that fail for the same reason do so at about the same time


def main(argv: list[str] | None = None) -> None:
    """Run the command line; `argv` defaults to the process's own."""
    args = sys.argv[1:] if argv is None else argv
    verb = args[0] if args else "--help"
    if verb in ("-h", "--help"):
        print(_help())
        return
    if verb == "--version":
        print(f"parckit {__version__}")
        return
    if verb not in VERBS:
        _fail(f"{verb!r} is no verb: choose from {', '.join(VERBS)}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        import_module(f"parckit.cli.{verb.replace('-', '_')}").main(args[1:])
    except (InputError, OSError) as error:
        if os.environ.get("PARCKIT_TRACEBACK"):
            raise
        _fail(_one_line(error))
    except (ExportError, DivergedError, LostProcessError) as error:
        _fail(str(error), code=1)
    except TerminatedError as error:
        _fail(str(error), code=_OF_SIGNAL + error.signum)
    except KeyboardInterrupt:
        _fail("interrupted", code=_OF_SIGNAL + signal.SIGINT)


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items()]
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
    # An error that crossed from a loader's worker carries that process's traceback; its last line is the message.
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return last.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")


def _fail(message: str, *, code: int = _USER_ERROR) -> None:
    if any(os.environ.get(name, "0") != "0" for name in _NUMBERS):
        # The first of several processes speaks at once; if it did, the launcher ends this one meanwhile.
        time.sleep(_PATIENCE)
    print(f"parckit: error: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
