"""What holds for all tests."""

import functools
import gc
import weakref
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest

if TYPE_CHECKING:
    from torch import Tensor

_ALLOCATIONS = 20_000
"""New objects after which the garbage collector looks through the youngest ones; Python's own number is 700."""

_FORKING = (
    "cli/test_resume.py",
    "cli/test_qat.py",
    "tasks/test_distributed.py",
    "cli/test_distributed.py",
    "cli/test_resume_tasks.py",
)
"""Files that fork trainings. They begin first, because a fork copies all that the tests before it have left."""

_LONG = (
    *_FORKING,
    "cli/test_quickstart.py",
    "test_readme.py",
    "test_wheel.py",
    "contracts/test_segmenters.py",
    "cli/test_multilabel.py",
    "contracts/test_deployment.py",
    "cli/test_eval.py",
    "cli/test_train_starts.py",
    "contracts/test_recipes.py",
    "contracts/test_backbones.py",
    "deploy/test_export.py",
    "models/test_parcnetv2.py",
    "models/test_parc_hybrids.py",
    "cli/test_train.py",
    "deploy/quantize/test_quantize.py",
    "models/test_parcifying.py",
    "networks/test_rcnn.py",
    "deploy/test_suppression.py",
    "test_public_face.py",
    "models/test_folding.py",
    "cli/test_export.py",
)
"""Files that take longest, the longest ones first. At the end, a process without tests would wait for a long file."""


def _jaxtyped(original: Callable[..., Callable[..., object]], *, typechecker: object) -> Callable[..., object]:
    """Return the decorator that jaxtyping's pytest hook puts around all functions of the rooms with shapes."""
    # Imported here, because the process that only distributes the tests needs no torch.
    from shapes import check_new_shapes

    return functools.partial(check_new_shapes, check=original(typechecker=typechecker))


jaxtyping.jaxtyped = functools.partial(_jaxtyped, jaxtyping.jaxtyped)


def pytest_sessionstart() -> None:
    """Collect no garbage while the tests are imported: there is none."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first. All other tests keep their order."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path, len(_LONG)))


def pytest_collection_finish() -> None:
    """Let the garbage collector run rarely and skip the imported libraries.

    It would look through them again and again, which takes a tenth of the time of all tests.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)
    gc.enable()


def _resized(maps: "Tensor", size: Sequence[int], *_: object) -> "Tensor":
    return maps.new_empty(*maps.shape[:2], *size)


@pytest.fixture(scope="session", autouse=True)
def compute_little_on_meta() -> object:
    """Skip what torch computes for fresh weights and resized maps without data; it needs 2 ms of Python for each."""
    from torch.library import Library

    library = Library("aten", "IMPL")
    # All but the first one make a truncated normal distribution.
    for in_place in ("normal_", "uniform_", "erfinv_", "mul_.Tensor", "add_.Tensor", "clamp_"):
        library.impl(in_place, lambda tensor, *_, **__: tensor, "Meta", allow_override=True)
    library.impl("upsample_bilinear2d", _resized, "Meta", allow_override=True)
    return library  # what is registered ends with it


@pytest.fixture(scope="session", autouse=True)
def read_operators_once() -> None:
    """Let torch's exporter list operators once, and read its table once a version of ONNX, not in every export."""
    # Imported here, because the process that only distributes the tests needs no torch.
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="session", autouse=True)
def find_options_once() -> None:
    """Let jsonargparse find every option once a parser. It looks through all of them for every key, again and again."""
    from jsonargparse import _core, _subcommands

    find = _subcommands.find_action_and_subcommand
    known = weakref.WeakKeyDictionary[object, dict[object, object]]()

    def find_once(parser: ArgumentParser, dest: str, exclude: object = None) -> object:
        of_parser = known.setdefault(parser, {})
        key = (dest, exclude, len(parser._actions))
        if key not in of_parser:
            of_parser[key] = find(parser, dest, exclude=exclude)
        return of_parser[key]

    _core.find_action_and_subcommand = _subcommands.find_action_and_subcommand = find_once
