"""One watched forward pass: which module ran on which map, and who else read what it returned.

Folding moves numbers from one module into another. That is exact only if nothing else sees the tensor between them, and
neither module is used twice, so it is decided by what ran and not by how a class is written.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of a module: its first argument and what it returned."""

    x: Tensor
    out: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What one forward pass showed."""

    calls: Mapping[nn.Module, Sequence[Call]]
    """In order; modules that did not run, or not on a tensor, are absent."""
    reads: Mapping[int, int]
    """id of a tensor in `calls` -> how many operators took it; being returned by the model counts as one more."""
    hooked: frozenset[nn.Module]
    """Modules with hooks of their own, which see or change what goes in and out."""
    folded: dict[nn.Module, nn.Module] = field(default_factory=dict)
    """What became of those folded so far: one that bears two names is folded once."""

    def only_call(self, module: nn.Module) -> Call | None:
        """Return the one call of a module without hooks; None if it ran twice or never, or has hooks."""
        calls = self.calls.get(module, ())
        return calls[0] if len(calls) == 1 and module not in self.hooked else None

    def is_read_once(self, tensor: object) -> bool:
        """Tell whether one operator took the tensor and the model did not return it."""
        return self.reads.get(id(tensor), 0) == 1

    def size_of(self, module: nn.Module) -> tuple[int, int]:
        """Return (height, width) of the map that a module got.

        Raises:
            ValueError: if it ran on maps of two sizes.
        """
        sizes = {(call.x.shape[2], call.x.shape[3]) for call in self.calls[module]}
        if len(sizes) > 1:
            raise ValueError(f"model uses one {type(module).__name__} at two sizes: it cannot be folded for both")
        return sizes.pop()


class _Reads(TorchDispatchMode):
    """Count how often each tensor is an operator's argument; composite operations count as the ones they consist of."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self._alive: list[object] = []  # a tensor's id is its own only while it lives

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        out = func(*args, **(kwargs or {}))
        self._alive += [args, kwargs, out]
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return out


def watch(model: nn.Module, images: Tensor) -> Trace:
    """Run the model once; every intermediate tensor is kept while it runs."""
    calls: defaultdict[nn.Module, list[Call]] = defaultdict(list)

    def note(module: nn.Module, args: tuple[object, ...], out: object) -> None:
        if args and isinstance(args[0], Tensor):
            calls[module].append(Call(x=args[0], out=out))

    hooked = frozenset(module for module in model.modules() if module._forward_hooks or module._forward_pre_hooks)  # pyright: ignore[reportPrivateUsage]
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad(), _Reads() as reads:
            returned = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    reads.count.update(id(leaf) for leaf in tree_leaves(returned))
    return Trace(calls=dict(calls), reads=reads.count, hooked=hooked)
