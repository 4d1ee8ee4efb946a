"""What torch does with the current call: run it, trace it, export it, or transform it.

Code that branches on the size of a map must ask this, because a program that torch writes down has no branches.
"""

import torch


def is_transformed() -> bool:
    """Tell whether a transform of `torch.func` (vmap, grad, jvp) is active."""
    # torch.compile handles the transforms itself.
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def needs_plain_operators() -> bool:
    """Tell whether torch traces, exports, compiles or transforms the call.

    Then there must be no loop over images, no `out=` and no autograd function of our own.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or is_transformed()


def is_open(*sizes: object) -> bool:
    """Tell whether `torch.export` leaves one of the sizes open, so that the program is for many sizes."""
    return torch.compiler.is_exporting() and any(isinstance(size, torch.SymInt) for size in sizes)


def fixed(size: int) -> int:
    """Make a size a constant of a trace of `torch.jit`, which is for one size; return it unchanged otherwise.

    torch warns that the trace may not work for other sizes.
    """
    return int(size) if torch.jit.is_tracing() else size
