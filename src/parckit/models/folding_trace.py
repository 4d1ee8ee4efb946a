"""Record a forward pass: which module ran on which map, and how many operators read each tensor.

Folding moves numbers from one module into another. This is exact only if no other operator reads the tensor between
them and neither module runs twice. A recorded run shows this; the code of a class does not.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """The record of one forward pass."""

    calls: Mapping[nn.Module, Sequence[Call]]
    """Module -> its calls in order. Modules that did not run, or not on a tensor, are absent."""
    reads: Mapping[int, int]
    """id of a tensor in `calls` -> how many operators read it."""
    returned: frozenset[int]
    """ids of the tensors that the model returned, also inside containers and objects."""
    hooked: frozenset[nn.Module]
    """Modules that already had hooks. A hook may read or change the input and the output of its module."""
    folded: dict[nn.Module, nn.Module] = field(default_factory=dict)
    """Module -> folded module. So a module with two names is folded only once."""

    def only_call(self, module: nn.Module) -> Call | None:
        """Return the only call of a module; None if it ran twice or never, or has hooks."""
        calls = self.calls.get(module, ())
        return calls[0] if len(calls) == 1 and module not in self.hooked else None

    def is_read_once(self, tensor: object) -> bool:
        """Tell whether exactly one operator read the tensor and the model did not return it."""
        return self.reads.get(id(tensor), 0) == 1 and id(tensor) not in self.returned

    def size_of(self, module: nn.Module) -> tuple[int, int]:
        """Return (height, width) of the map on which a module ran.

        Raises:
            ValueError: if it ran on maps of two sizes.
        """
        sizes = {(call.x.shape[2], call.x.shape[3]) for call in self.calls[module]}
        if len(sizes) > 1:
            raise ValueError(f"model uses one {type(module).__name__} at two sizes: it cannot be folded for both")
        return sizes.pop()


class _Reads(TorchDispatchMode):
    """Count how many operators read each tensor; a composite operator counts as the operators that it consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        # Keep every tensor alive: the id of a freed tensor may be used again.
        self._alive: list[object] = []

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
    """Run the model once and record it; memory must hold all intermediate tensors."""
    calls: defaultdict[nn.Module, list[Call]] = defaultdict(list)

    def note(module: nn.Module, args: tuple[object, ...], out: object) -> None:
        if args and isinstance(args[0], Tensor):
            calls[module].append(Call(x=args[0], out=out))

    hooked = frozenset(module for module in model.modules() if module._forward_hooks or module._forward_pre_hooks)  # pyright: ignore[reportPrivateUsage]
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad(), _Reads() as reads:
            out = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    returned = frozenset(id(tensor) for tensor in _tensors_in(out))
    return Trace(calls=dict(calls), reads=reads.count, returned=returned, hooked=hooked)


def _tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in a model's output: in lists, tuples and dicts, and in the attributes of other objects."""
    waiting, seen = [value], set[int]()
    while waiting:
        leaf = waiting.pop()
        if isinstance(leaf, Tensor):
            yield leaf
        elif id(leaf) not in seen:
            seen.add(id(leaf))
            leaves = tree_leaves(leaf)
            # torch does not look into an object that it does not know: the object is a leaf.
            waiting += [*_attributes(leaf)] if len(leaves) == 1 and leaves[0] is leaf else leaves


def _attributes(instance: object) -> Iterator[object]:
    yield from getattr(instance, "__dict__", {}).values()
    yield from (getattr(instance, name, None) for name in getattr(type(instance), "__slots__", ()))
