"""How jaxtyping's pytest hook checks the shapes of the rooms named in pyproject.toml."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import get_args

import torch
from beartype import beartype
from jaxtyping import AbstractArray


def typechecker(function: FunctionType) -> Callable[..., object]:
    """Check the shapes among `function`'s annotations, and nothing else, at every call.

    Other annotations are basedpyright's: checked here too, they would hide the errors that users get for wrong values.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if _has_shape(hint)}
    return beartype(function) if function.__annotations__ else function


def check_new_shapes(function: FunctionType | type, *, check: Callable[..., Callable[..., object]]) -> object:
    """Let jaxtyping check a function that has shapes among its annotations.

    Under a tracer nothing is checked, because a shape is then no number. While torch.fx traces, a tensor is no tensor.
    A check takes longer than a layer of a small network, so shapes that have passed are not checked again.

    Args:
        function: the function; a class stays jaxtyping's affair.
        check: jaxtyping's decorator.
    """
    if isinstance(function, type):
        return check(function)
    if not any(isinstance(hint, str) or _has_shape(hint) for hint in function.__annotations__.values()):
        return function
    checked, passed, results = check(function), set[object](), list[object]()

    @functools.cache  # few functions give results of several shapes for arguments of the same shapes
    def result_check() -> Callable[..., object]:
        return check(functools.wraps(function)(lambda *_, **__: results.pop()))

    @functools.wraps(function)
    def unless_known(*args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return function(*args, **kwargs)
        if any(isinstance(argument, torch.fx.Proxy) for argument in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        shapes = (*map(_shape, args), *kwargs, *map(_shape, kwargs.values()))
        is_known = shapes in passed
        result = (function if is_known else checked)(*args, **kwargs)
        with_result = (shapes, _shape(result))
        if is_known and with_result not in passed:
            results.append(result)
            result_check()(*args, **kwargs)
        passed.update((shapes, with_result))
        return result

    return unless_known


def _shape(value: object) -> object:
    """Return what a check looks at."""
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else type(value)


def _has_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_has_shape(part) for part in get_args(hint))
