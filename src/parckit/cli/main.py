"""`parckit VERB ...`: find the verb, run it, and turn the user's mistakes into one line and exit code 2."""

import io
import logging
import os
import re
import signal
import sys
import threading
import time
from importlib import import_module

from parckit.contract import (
    DISK_ERRORS,
    SIGNAL_BASE,
    VERSION,
    MissingExtraError,
    ParckitError,
    last_message,
    most_pixels,
    printable,
    tell_warnings,
)
from parckit.contract.openmp import wait_briefly

_log = logging.getLogger(__name__)

VERBS = {
    "quickstart": ("the whole path on real handwritten digits: train, export, verify, benchmark, report", "quickstart"),
    "data": ("pack, check and lay out images before training on them", "eval"),
    "train": ("train a network from a recipe", "train"),
    "tune": ("find good values for keys of a recipe by training several times", "tune"),
    "eval": ("accuracy of a checkpoint or bundle on labelled images", "eval"),
    "predict": ("answers for pictures from a checkpoint or bundle", "models"),
    "serve": ("answers for pictures over HTTP from a bundle", "serve"),
    "export": ("fuse a checkpoint and write a verified ONNX bundle", "export"),
    "quantize": ("add an int8 network to a bundle, and check it", "export"),
    "kit": ("what the compiler of a board with an NPU starts from, from a bundle", "export"),
    "web": ("a static page that runs a bundle's network in the browser", "onnxruntime"),
    "bench": ("latency and throughput of bundles on this machine, side by side", "export"),
    "compare": ("accuracy, latency and size of networks side by side", "eval"),
    "report": ("a page about a run or a bundle", "eval"),
    "list": ("models with parameters, multiply-adds, papers and licences", "models"),
    "info": ("cost and stages of one model at one size", "models"),
    "erf": ("effective receptive fields of models side by side", "eval"),
    "cam": ("Grad-CAM: the parts of a picture that support a class", "explain"),
    "convert-weights": ("turn an official checkpoint into safetensors", "models"),
}
"""Verb -> what it does, and the extra of parckit that installs what it needs."""

_USER_ERROR = 2
_SIGPIPE = 13
"""Windows has no such signal."""
_PROCESS_NUMBERS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables in which launchers write the number of a process, or of its machine, from 0."""
_KILLED_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+).*\) (?:is killed by signal|exited unexpectedly)")
"""torch's two messages about a loader's process that has gone."""
_PATIENCE = 5.0
"""Seconds that all processes but the first wait before they tell an error: they fail at about the same time."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line; `argv` defaults to the process's own."""
    _escape_what_cannot_be_shown()
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
    _start_log()
    try:
        most_pixels()  # a mistake in the environment is told before the work
        import_module(f"parckit.cli.{verb.replace('-', '_')}").main(args[1:])
    except KeyboardInterrupt:
        _fail("interrupted", code=SIGNAL_BASE + signal.SIGINT)
    except BrokenPipeError:
        # Who reads the output, such as `head`, has gone. Python must not write what is left when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(SIGNAL_BASE + _SIGPIPE) from None
    except Exception as error:
        explained = None if os.environ.get("PARCKIT_TRACEBACK") else _explain(error, verb=verb)
        if explained is None:
            raise
        message, code = explained
        _fail(message, code=code)


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


def _explain(error: Exception, *, verb: str) -> tuple[str, int] | None:
    """Return the line and the exit code for an error that a user can mend; None for a fault of parckit."""
    if isinstance(error, ParckitError):
        return str(error) or type(error).__name__, error.exit_code
    if isinstance(error, OSError):
        return _one_line(error), _USER_ERROR
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        is_ours = package in ("", "parckit")
        missing = MissingExtraError(f"parckit {verb}", package=package, extra=VERBS[verb][1])
        return None if is_ours else (str(missing), _USER_ERROR)
    if _lacks_memory(error):
        return "not enough memory; take smaller images, a smaller batch or fewer workers", _USER_ERROR
    if (worker := _KILLED_WORKER.search(str(error))) is not None:
        process = f"the system ended process {worker[1]}, which loads images"
        return f"{process}; probably the memory was full: take fewer workers or a smaller batch", _USER_ERROR
    return None


def _one_line(error: OSError) -> str:
    if error.filename is not None:
        return printable(f"{os.fsdecode(error.filename)}: {error.strerror}")
    lines = last_message(str(error)).strip().splitlines()
    return printable(lines[-1] if lines else type(error).__name__)


def _lacks_memory(error: Exception) -> bool:
    # torch has no type for this error on CPUs; on GPUs it has one, with "out of memory" in the message.
    return isinstance(error, MemoryError) or "t allocate memory" in str(error) or "out of memory" in str(error)


def _escape_what_cannot_be_shown() -> None:
    """Let a terminal that cannot show a character, for example an ASCII terminal, get an escape instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Lines(logging.Formatter):
    """Writes a record of parckit as one line. Other libraries may write several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        text = super().formatMessage(record)
        if record.name.startswith("parckit"):
            return printable(text)
        return "\n".join(map(printable, text.splitlines()))


def _start_log() -> None:
    """Show warnings of parckit, of Python and of other libraries on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # Without network it warns about every retry; our error says that the data set cannot be reached.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not os.environ.get("PARCKIT_TRACEBACK"):
        tell_warnings(_log.warning)
        threading.excepthook = _pass_over_full_disks


def _pass_over_full_disks(failure: threading.ExceptHookArgs) -> None:
    """Do not print the traceback of a thread that writes a log; the main thread tells the error in one line."""
    if not (isinstance(failure.exc_value, OSError) and failure.exc_value.errno in DISK_ERRORS):
        threading.__excepthook__(failure)


def _fail(message: str, *, code: int = _USER_ERROR) -> None:
    if any(os.environ.get(name, "0") != "0" for name in _PROCESS_NUMBERS):
        # The first of several processes tells its error at once; the launcher then ends the others while they wait.
        time.sleep(_PATIENCE)
    print(f"parckit: error: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
