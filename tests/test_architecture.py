"""The public face of the rooms, what each may import, and how light the package is at start."""

import ast
import json
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import jaxtyping
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

import parckit
from bundles import write_tiny_bundle
from parckit.layers import axis_conv
from pictures import coloured
from processes import run
from repository import ROOT
from shapes import typechecker

PACKAGE = ROOT / "src" / "parckit"
ROOMS = sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py"))
HEAVY = {"torch", "torchvision", "timm", "lightning", "onnx", "onnxruntime", "sklearn", "matplotlib"}
TORCH = {"torch", "torchvision", "timm", "safetensors", "jaxtyping"}
ALLOWED = {
    "contract": set[str](),
    "options": {"jsonargparse", "yaml"},
    "processing": {"numpy", "PIL"},
    "layers": TORCH,
    "models": TORCH,
    "networks": TORCH | {"segmentation_models_pytorch"},
}
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; "
"""Makes `import torch` fail as on a board that has none."""
HELP = "from parckit.cli.main import main; main()"
HELP_SECONDS = 0.5


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def public_names(room: str) -> set[str]:
    """Return what a room's `__init__.py` defines, or takes from the room's files, under a name without underscore."""
    names = set[str]()
    for node in ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"parckit.{room}."):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_exactly_its_public_names(room: str):
    listed = getattr(import_module(f"parckit.{room}"), "__all__", [])
    assert sorted(listed) == sorted(public_names(room))


@pytest.mark.parametrize("room", ALLOWED)
def test_the_lower_rooms_need_few_libraries(room: str):
    allowed = ALLOWED[room] | sys.stdlib_module_names | {"parckit"}
    foreign = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in (PACKAGE / room).rglob("*.py")
        for name in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.partition(".")[0] not in allowed
    ]
    assert foreign == []


def test_every_lazy_name_of_the_package_loads():
    assert parckit.__all__ == dir(parckit)
    assert all(getattr(parckit, name) is not None for name in parckit.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = parckit.no_such_name


def test_a_name_whose_package_is_missing_ends_with_the_pip_line():
    code = f"""{WITHOUT_TORCH}
import json, parckit
errors = {{}}
for name in parckit.__all__:
    try:
        getattr(parckit, name)
    except ImportError as error:
        errors[name] = str(error)
print(json.dumps(errors))
"""
    errors = json.loads(run(sys.executable, "-c", code))
    needs_torch = {
        **dict.fromkeys(
            ("create_detector", "create_model", "create_segmenter", "fuse", "load_official_state_dict", "parcify"),
            "models",
        ),
        "evaluate": "eval",
        "export": "export",
        "quantize": "export",
        "train": "train",
    }
    assert errors == {
        name: f'parckit.{name} needs the package torch; install it with: pip install "parckit[{extra}]"'
        for name, extra in needs_torch.items()
    }


def test_a_board_without_torch_predicts_and_measures(tmp_path: Path):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    coloured("red").save(tmp_path / "a.png")
    verbs = (
        ["predict", str(bundle), str(tmp_path / "a.png")],
        ["bench", str(bundle), "--warmup=0", "--seconds=0.01", f"--record={tmp_path / 'bench.json'}"],
    )
    calls = "; ".join(f"main({argv!r})" for argv in verbs)
    printed = run(sys.executable, "-c", f"{WITHOUT_TORCH} from parckit.cli.main import main; {calls}")
    assert "probability %" in printed
    assert "p50 ms" in printed


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("parckit, parckit.contract, parckit.options, parckit.cli.main", {*HEAVY, "numpy", "PIL"}),
        ("parckit.processing, parckit.runtimes, parckit.serve.server", HEAVY),
    ],
)
def test_start_up_imports_nothing_heavy(modules: str, heavy: set[str]):
    report = f"import {modules}, sys; print(*sorted({heavy!r} & sys.modules.keys()))"
    assert run(sys.executable, "-c", report).split() == []


def test_help_answers_at_once():
    # The best of five: other processes can only make a run slower, never faster.
    seconds = min(_seconds_of_help() for _ in range(5))
    assert seconds < HELP_SECONDS


def _seconds_of_help() -> float:
    start = time.perf_counter()
    assert "quickstart" in run(sys.executable, "-c", HELP, "--help")
    return time.perf_counter() - start


def test_shapes_are_checked_while_testing():
    # pyproject.toml names the rooms that are checked, and tests/shapes.py checks them.
    with pytest.raises(TypeCheckError):
        axis_conv(torch.ones(2, 3, 4, 4), torch.ones(2, 4), axis="height", padding="circular")


def test_a_result_is_checked_although_the_shapes_of_the_arguments_have_passed():
    @jaxtyping.jaxtyped(typechecker=typechecker)  # as the hook writes it
    def repeat(tensor: Float[Tensor, "a b"], times: int) -> Float[Tensor, "a b"]:
        return tensor.repeat(1, times)

    assert repeat(torch.ones(2, 3), 1).shape == (2, 3)
    with pytest.raises(TypeCheckError, match="the return value"):
        repeat(torch.ones(2, 3), 2)


def test_package_root_is_this_clone():
    assert Path(str(parckit.__file__)).parent == PACKAGE
