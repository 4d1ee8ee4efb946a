"""Engines behind one protocol: open a checkpoint or a bundle, call it with images, get logits."""

from pathlib import Path
from typing import get_args

from parckit.contract import CONTRACT_FILE, InputError
from parckit.runtimes.protocol import Images, Logits, Runtime, Session

__all__ = ["Images", "Logits", "Runtime", "Session", "open_session"]


def open_session(path: Path, *, runtime: Runtime | None = None, threads: int | None = None) -> Session:
    """Open a checkpoint or a bundle, ready to be called.

    Args:
        path: a `.ckpt` or `.safetensors` file or the name of shipped weights (torch), or a bundle's folder
            (onnxruntime).
        runtime: the engine that must run it; None takes the one that `path` is for.
        threads: threads of one inference; None leaves the number to the engine.

    Raises:
        InputError: if there is nothing usable at `path`, or `runtime` cannot open what is there.
    """
    if runtime is not None and runtime not in get_args(Runtime):
        raise InputError(f"runtime={runtime!r}: choose from {get_args(Runtime)}")
    if not path.exists():
        path = _shipped(path)
    natural: Runtime = "onnxruntime" if path.is_dir() else "torch"
    if runtime not in (None, natural):
        kind = (
            f"a bundle (a folder with {CONTRACT_FILE})" if runtime == "onnxruntime" else "a .ckpt or .safetensors file"
        )
        raise InputError(f"{path}: runtime={runtime!r} opens {kind}")
    # Engines are imported here so that one is loaded only where it is used: torch alone takes seconds.
    if natural == "onnxruntime":
        from parckit.runtimes.onnxruntime import open_bundle  # noqa: PLC0415

        return open_bundle(path, threads=threads)
    from parckit.runtimes.torch import TorchSession, open_checkpoint  # noqa: PLC0415

    model, spec = open_checkpoint(path)
    return TorchSession(model, spec, threads=threads)


def _shipped(name: Path) -> Path:
    from parckit.models import shipped_weights  # noqa: PLC0415 - torch, which a bundle does without

    path = shipped_weights(str(name))
    if path is None:
        raise InputError(f"{name}: no such file or folder, nor weights that come with parckit")
    return path
