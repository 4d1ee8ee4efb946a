"""The documentation: its tables hold what was counted and recorded, its Python runs, its commands are known."""

import json
import re
import shlex
from importlib import import_module
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

import parckit.models  # noqa: F401  # registers the models
from bundles import write_tiny_bundle
from parckit.cli.main import VERBS
from parckit.deploy.targets import TARGETS
from parckit.layers import axis_form
from parckit.measure.catalogue import CATALOGUE
from parckit.options import Parser
from parckit.runtimes import open_session
from repository import ROOT

DOCS = ROOT / "docs"
ROW = re.compile(r"^\| `(\w+)`(?: \(timm\))? \| (\d+) \| ([\d,]+) \| [^|]+ \| ([\d,]+) \|", re.MULTILINE)
COUNTS = ROW.findall((DOCS / "models.md").read_text(encoding="utf-8"))
PYTHON = [
    pytest.param(block, id=f"{path.stem}-{i}")
    for path in sorted(DOCS.glob("*.md"))
    # tests/test_public_face.py runs the blocks of the first page in their order; a test below those of the second.
    if path.stem not in ("python", "from-checkpoint-to-board")
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.M))
    if "dynamic_shapes" not in block  # tests/integrations runs it
]
COMMANDS = [
    line
    for path in sorted(DOCS.glob("*.md"))
    for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.M)
    for line in block.replace("\\\n", " ").splitlines()
]


def record_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "records" / f"{name}.json").read_text(encoding="utf-8"))["values"]


class NotRunError(Exception):
    """A command was understood, and that is all."""


def test_the_table_of_models_was_found():
    assert len(COUNTS) >= 23


@pytest.mark.parametrize(("name", "size", "params", "madds"), COUNTS, ids=[row[0] for row in COUNTS])
def test_parameters_and_multiply_adds_are_the_counted_ones(name, size, params, madds):
    (entry,) = (entry for entry in json.loads(CATALOGUE.read_text(encoding="utf-8")) if entry["model"] == name)
    assert entry["size"] == [int(size), int(size)]
    assert (f"{entry['params']:,}", f"{entry['madds']:,}") == (params, madds)


def test_what_a_size_costs_is_recorded():
    rows = re.findall(
        r"^\| (\d+)x(\d+) \| ([\d.]+) s \| ([\d.]+) GB \| ([\d.]+) s \| ([\d.]+) GB \|$",
        (DOCS / "detect.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    recorded = {(row["mode"], *row["size"]): row for row in record_of("two_stage_sizes")["rows"]}
    assert len(recorded) == 2 * len(rows)
    for height, width, *figures in rows:
        costs = [recorded[mode, int(height), int(width)] for mode in ("eval", "train")]
        expected = [text for cost in costs for text in (f"{cost['seconds']:.1f}", f"{cost['peak_bytes'] / 1e9:.2f}")]
        assert figures == expected


@pytest.mark.parametrize("block", PYTHON)
def test_its_python_runs(block):
    names: dict[str, object] = {}
    exec(compile(block, "docs", "exec"), names)  # noqa: S102  # our own documentation
    # An example shows something: a network, or the maps that one gives.
    assert any(isinstance(value, torch.nn.Module) for value in names.values())


def test_a_program_for_a_board_can_be_compared(tmp_path, monkeypatch):
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "from-checkpoint-to-board.md").read_text("utf-8"), re.S | re.M
    )
    write_tiny_bundle(tmp_path / "bundle")
    Image.new("RGB", (9, 7), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs", "exec"), {})  # noqa: S102  # our own documentation
    session = open_session(tmp_path / "bundle")
    (output,) = session.outputs
    image = np.fromfile("input.bin", np.float32).reshape([size or 1 for size in session.input.shape])
    assert np.fromfile(f"{output.name}.bin", np.float32).tolist() == session(image)[0].ravel().tolist()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command, monkeypatch):
    def parse_only(parser: Parser, argv: list[str]) -> None:
        parse(parser, argv)
        raise NotRunError

    parse = Parser.parse
    monkeypatch.setattr(Parser, "parse", parse_only)
    program, verb, *argv = shlex.split(command)
    assert program == "parckit"
    assert verb in VERBS
    with pytest.raises(NotRunError):
        import_module(f"parckit.cli.{verb.replace('-', '_')}").main(argv)


def test_its_commands_mean_the_same_in_every_shell():
    """An unquoted bracket or question mark is a pattern, and zsh, macOS's shell, refuses one that no file matches."""
    texts = [path.read_text(encoding="utf-8") for path in (*DOCS.glob("*.md"), ROOT / "README.md")]
    options = [
        code for text in texts for code in re.findall(r"(?<!`)`([^`\n]*)`(?!`)", text) if re.match(r"\W*(--|hf:)", code)
    ]
    arguments = [*COMMANDS, *options]
    assert len(arguments) > 50
    assert [code for code in arguments if re.search(r"[\[?]", re.sub(r"\"[^\"]*\"|'[^']*'", "", code))] == []


def test_the_detectors_of_blood_cells_are_the_recorded_ones():
    text, rows = (DOCS / "detect.md").read_text(encoding="utf-8"), record_of("bccd")
    for name in ("tinydet", "ssd", "ssdlite320_mobilenet_v3_large"):
        scalars, classes = rows[name]["test_torch"], rows[name]["test_class_ap_50"]
        figures = [scalars["map"], scalars["map_50"], *classes.values()]
        cells = [f"{rows[name]['params'] / 1e6:.2f} M", *(f"{figure:.1f}" for figure in figures)]
        assert f" | {' | '.join(cells)} |" in text


def test_the_quickstart_of_a_detector_is_the_recorded_one():
    text, summary = (DOCS / "detect.md").read_text(encoding="utf-8"), record_of("quickstart_detect")["runs"]["seed0"]
    for figure in (
        f"{summary['map_torch']:.1f} % mAP",
        f"{summary['latency_ms_p50']:.2f} ms",
        f"{summary['seconds']:.0f} seconds",
    ):
        assert figure in text
    assert f"{summary['seconds']:.0f} seconds" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quickstart_of_a_segmenter_is_the_recorded_one():
    text, summary = (DOCS / "segment.md").read_text(encoding="utf-8"), record_of("quickstart_segment")["runs"]["seed0"]
    seconds = f"{summary['seconds']:.0f}"
    words = " ".join(text.split())
    for figure in (
        f"{summary['miou_torch']:.1f} % mean IoU",
        f"{summary['latency_ms_p50']:.2f} ms",
        f"{seconds} seconds",
    ):
        assert figure in words
    assert f"{seconds} seconds" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_segmenters_of_streets_are_the_recorded_ones():
    text, rows = (DOCS / "segment.md").read_text(encoding="utf-8"), record_of("camvid")
    for name in ("upernet_parc_resnet10t", "deeplabv3_mobilenetv2_100"):
        counts = (f"{rows[name]['params'] / 1e6:.2f} M", f"{rows[name]['madds'] / 1e9:.2f} G")
        figures = [f"{figure:.1f}" for figure in rows[name]["test_torch"].values()]
        cells = [*counts, f"{rows[name]['train_seconds'] / 60:.0f} min", *figures]
        assert f" | {' | '.join(cells)} |" in text


@pytest.mark.parametrize("record", ["receptive_field_512", "receptive_field_224"])
def test_receptive_fields_are_the_recorded_ones(record):
    values = record_of(record)
    height, width = values["size"]
    table = [
        f"| {height}x{width}, {values['images']} images | 30 % within | 50 % within | 99 % within |",
        "|---|---|---|---|",
    ]
    for model in values["models"]:
        assert [window["share"] for window in model["windows"]] == [0.3, 0.5, 0.99]
        cells = [f"{w['height']}x{w['width']} ({100 * w['area']:.1f} %)" for w in model["windows"]]
        table.append(f"| `{model['model']}` | {' | '.join(cells)} |")
    assert "\n".join(table) + "\n\n" in (DOCS / "receptive-field.md").read_text(encoding="utf-8")


def test_the_ingredients_of_cifar10_are_the_recorded_ones():
    rows = record_of("ingredients")["rows"]
    table = ["| | top-1 | to the recipe | minutes |", "|---|---|---|---|"]
    for row in rows:
        to_the_recipe = f"{row['top1'] - rows[0]['top1']:+.1f}"
        table.append(f"| {row['change']} | {row['top1']:.1f} | {to_the_recipe} | {row['seconds'] / 60:.0f} |")
    assert "\n".join(table) + "\n" in (DOCS / "cifar10.md").read_text(encoding="utf-8")


def test_the_speedups_are_the_recorded_ones():
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    for row in record_of("models_training")["comparisons"]:
        assert f"{row['speedup']:.2f} | {row['low']:.2f} to {row['high']:.2f}" in text


def test_networks_are_as_fast_in_every_engine_as_recorded():
    text, readme = (path.read_text(encoding="utf-8") for path in (DOCS / "speed.md", ROOT / "README.md"))
    values = record_of("models")
    for pair in values["comparisons"]:
        theirs = "unfused" if pair["theirs"] == "unfused" else f"`{pair['theirs']}`"
        for engine, row in pair["engines"].items():
            times = f"{row['ours_ms']:.1f} / {row['theirs_ms']:.1f}"
            ratio = f"{row['speedup']:.2f} | {row['low']:.2f} to {row['high']:.2f}"
            assert f"| `{pair['ours']}` / {theirs}, {pair['size']} | {engine} | {times} | {ratio} |\n" in text
        speedup = pair["engines"]["onnxruntime"]["speedup"]
        assert "convnext" in pair["ours"] or f"{speedup:.2f} times" in readme
    best = values["comparisons"][-1]["best"]
    assert f"takes {1 / best['speedup']:.2f} of the time of MobileViT-S in its best engine" in text


def test_goals_are_as_far_away_as_recorded():
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    section = text[text.index("### Goals") : text.index("## Detection")]
    reached = [row.split(" | ")[1] for row in section.splitlines() if row.startswith("| ParC")]
    comparisons = record_of("models")["comparisons"]
    best = [max(row["speedup"] for row in pair["engines"].values()) for pair in comparisons]
    shares = [row["share_of_ceiling"] for row in record_of("layers")["networks"] if row["name"] == "parcnet_s"]
    times = [1 / best[2], 1 / comparisons[-1]["best"]["speedup"]]
    assert reached == [f"{value:.2f}" for value in (*best[:2], *times)] + [f"{100 * max(shares):.0f} %"]


@pytest.mark.parametrize(
    ("page", "record", "result"),
    [("detect", "detection_twins", "map"), ("segment", "segmentation_twins", "miou")],
)
def test_twins_are_as_good_as_recorded(page, record, result):
    text, values = (DOCS / f"{page}.md").read_text(encoding="utf-8"), record_of(record)
    for name, twin in values["twins"].items():
        cells = [
            f"{twin['params'] / 1e6:.3f} M",
            f"{twin['madds'] / 1e6:.0f} M",
            ", ".join(f"{run[result]:.1f}" for run in twin["runs"]),
            f"{twin['mean'][result]:.1f}",
        ]
        assert f"| `{name}` | {' | '.join(cells)} |" in text
    low, high = values["difference"][result]["interval"]
    words = " ".join(text.split())
    assert f"{values['difference'][result]['mean']:.1f} points" in words
    assert f"from {low:.1f} to {high:.1f}" in words


def test_detectors_train_as_fast_as_recorded():
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    rows = record_of("detection_training")["comparisons"]
    for seconds in (*(row["ours_ms"] / 1e3 for row in rows), rows[0]["theirs_ms"] / 1e3):
        assert f"{seconds:.2f} s" in text


def test_segmenters_are_as_fast_as_recorded():
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    for row in record_of("segmentation_networks")["comparisons"]:
        cells = (
            f"{row['ours_ms']:.0f} / {row['theirs_ms']:.0f}",
            f"{row['speedup']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
        )
        assert f" | {' | '.join(cells)} |" in text
    for row in record_of("segmentation_sizes")["sizes"]:
        cells = (
            f"{row['ms']:.0f}",
            f"{row['peak_bytes'] / 1e6:.0f} MB",
            f"{row['madds'] / 1e9:.1f} G",
            f"{100 * row['global_share_of_madds']:.1f} %",
        )
        assert f"| {row['size']} | {' | '.join(cells)} |" in text
    assert f"pixels in {record_of('segmentation_decoding')['ms']:.0f} ms" in text


def test_a_training_step_is_as_fast_as_recorded():
    recorded = record_of("training")
    table = ["| | images/s | times the first | 95 % |", "|---|---|---|---|"]
    for rung in recorded["ladder"]["rungs"]:
        cells = (
            f"{rung['images_per_second']:.0f}",
            f"{rung['speedup']:.2f}",
            f"{rung['low']:.2f} to {rung['high']:.2f}",
        )
        table.append(f"| {rung['step'].removeprefix('+ ')} | {' | '.join(cells)} |")
    assert "\n".join(table) + "\n" in (DOCS / "speed.md").read_text(encoding="utf-8")


def test_the_table_of_forms_is_the_one_that_decides():
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    for padding in get_args(axis_form.Padding):
        cells = []
        for images, with_gradients in ((1, False), (1, True), (2, False), (2, True)):
            smallest = [
                next(
                    n
                    for n in range(2, 99)
                    if form_of(n, images, dim, padding, with_gradients=with_gradients) == "matmul"
                )
                for dim in (2, 3)
            ]
            cells.append(" \\| ".join(map(str, smallest)))
        assert f"| {padding} | {' | '.join(cells)} |\n" in text


def form_of(length: int, images: int, dim: int, padding: axis_form.Padding, *, with_gradients: bool) -> str:
    x = torch.zeros(images, 4, length, length, requires_grad=with_gradients)
    return axis_form.choose_form(x, dim=dim, padding=padding)


def test_the_table_of_boards_is_the_one_that_checks():
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\d+) to (\d+) \| (\d+) \|", (DOCS / "boards.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    boards = {name: (*map(str, board.opsets), str(board.longest_kernel)) for name, board in TARGETS.items()}
    assert {name: tuple(limits) for name, *limits in rows} == boards


@pytest.mark.parametrize("page", ["rdk-x5", "rdk-x5.zh"])
def test_the_tables_of_boards_kits_are_the_recorded_ones(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    tests = {"top1": "CIFAR-10, top-1 %", "map": "BCCD, mAP %", "miou": "digit_scenes, mIoU %"}
    for name, row in record_of("nv12").items():
        figures = " | ".join(f"{row[change]:.2f}" for change in ("none", "full", "limited", "mixed up"))
        assert f"| `{name}` | {tests[row['result']]} | {figures} |\n" in text
    rows = {(row["network"], row["target"]): row for row in record_of("kits")["rows"]}
    for network in dict.fromkeys(name for name, _ in rows):
        boards = [rows[network, target] for target in ("rdk-x5", "rk3588") if (network, target) in rows]
        passed = len(boards) == 2 and all(row["passed"] for row in boards)
        assert (f"| `{network}` | {boards[0].get('nodes')} | ✓ | ✓ |\n" in text) == passed


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_the_speedups_of_the_operator_are_the_recorded_ones(padding):
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    recorded = record_of("circular")["rows"]
    table = [
        f"| {padding}: positions | one image, constant kernel | one image, kernel given |"
        " 32 images, forward and backward |",
        "|---|---|---|---|",
    ]
    regimes = ("constant batch 1", "built batch 1", "training batch 32")
    for size in (7, 8, 10, 14, 16, 20, 28, 32, 56, 64):
        row = [str(size)]
        for regime in regimes:
            cases = (f"NCHW {padding} {size} {axis} {regime}" for axis in ("height", "width"))
            row.append(" \\| ".join(f"{recorded[case]['auto']:.2f}" for case in cases))
        table.append(f"| {' | '.join(row)} |")
    assert "\n".join(table) + "\n" in text


@pytest.mark.parametrize("table", ["training", "evaluation"])
def test_the_input_pipeline_is_as_fast_as_recorded(table):
    ours, theirs = (record_of("data")[table][name] for name in ("parckit", "torchvision"))
    rates = f"| {ours['images_per_second']:.0f} | {theirs['images_per_second']:.0f} |"
    cells = f"{rates} {ours['speedup']:.2f} | {ours['low']:.2f} to {ours['high']:.2f} |"
    assert re.search(rf"^\| {table}: [^|]+ {re.escape(cells)}$", (DOCS / "data.md").read_text(encoding="utf-8"), re.M)


def test_the_readmes_results_are_the_recorded_ones():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    cifar, digits = record_of("cifar10_parcnet_xs"), record_of("quickstart")["runs"]["seed0"]
    assert f"{cifar['test_torch']['top1']:.2f} % | {cifar['test_onnxruntime']['top1']:.2f} %" in readme
    assert f"{cifar['onnxruntime_timings'][0]['p50_ms']:.2f} ms" in readme
    assert f"{digits['top1_torch']:.2f} % | {digits['top1_onnxruntime']:.2f} %" in readme
    assert f"{digits['latency_ms_p50']:.2f} ms" in readme
