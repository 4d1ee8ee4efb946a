"""The kit of D-Robotics RDK X5: what `hb_mapper makertbin` takes.

Sources: ptq_process.md of github.com/D-Robotics/rdk_doc (commit 0e03fc3), the settings of the compiler; the folder
ConvNeXt of github.com/D-Robotics/rdk_model_zoo, examples of them. Nobody has run the compiler on our kits yet.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import yaml
from numpy.typing import NDArray

from parckit.contract import InputError, Preprocessing
from parckit.deploy.kits.kit import Compiled, Kit, KitContent, References, in_pixels, rounded

_GROUPS = ("model_parameters", "input_parameters", "calibration_parameters", "compiler_parameters")
_MARCH = "bayes-e"
"""The NPU of RDK X5. `bayes` is that of RDK Ultra, `bernoulli2` that of RDK X3."""
_TYPES = {"rgb": ("rgb", "nv12"), "bgr": ("bgr", "nv12"), "grey": ("gray", "gray")}
"""Order of the channels -> input_type_train, input_type_rt."""
_EVEN = ("nv12", "yuv444")
"""Values of input_type_rt that need an even height and width."""
_CHANNELS = {"rgb": 3, "bgr": 3, "yuv444": 3, "gray": 1}
"""input_type_train -> number of channels."""
_NUMBERS = {"float32": 4, "uint8": 1}
"""cal_data_type -> bytes of a number."""
_VALUES = {
    "input_type_train": ("rgb", "bgr", "yuv444", "gray", "featuremap"),
    "input_type_rt": ("rgb", "bgr", "yuv444", "nv12", "gray", "featuremap"),
    "input_layout_train": ("NCHW", "NHWC"),
    "input_layout_rt": ("NCHW", "NHWC"),
    "input_space_and_range": ("regular", "bt601_video"),
    "norm_type": ("data_mean_and_scale", "data_mean", "data_scale", "no_preprocess"),
    "cal_data_type": tuple(_NUMBERS),
    "calibration_type": ("default", "mix", "kl", "max", "load", "skip"),
    "optimize_level": ("O0", "O1", "O2", "O3"),
}
"""Setting -> the values that ptq_process.md lists. Networks with several inputs have one for each."""
_OTHERS = (
    *("onnx_model", "march", "output_model_file_prefix", "working_dir", "layer_out_dump", "output_nodes"),
    *("remove_node_type", "remove_node_name", "set_node_data_type", "debug_mode", "node_info", "input_name"),
    *("input_shape", "input_batch", "mean_value", "scale_value", "cal_data_dir", "preprocess_on", "max_percentile"),
    *("per_channel", "run_on_cpu", "run_on_bpu", "optimization", "compile_mode", "debug", "core_num", "input_source"),
    *("max_time_per_fc", "jobs"),
)
"""The other settings in ptq_process.md. The compiler has hidden ones, too."""
_MISSPELT = 0.85
"""How similar a name must be to a setting, from 0 to 1, to be a misspelling of it, and no hidden setting."""
_NODE_LISTS = ("output_nodes", "remove_node_name", "run_on_cpu", "run_on_bpu")
"""Settings with names of nodes between semicolons."""
_TYPE_KEYS = ("InputType", "OutputType")
"""Beginnings of the keys with the type of a node. `InputType0` is that of its first input."""
_NODE_TYPES = ("int8", "int16")
Settings = Mapping[str, object]


def _write_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write float32 numbers from 0 to 255, (C, H, W): mean and scale are inside the compiled network."""
    pixels.transpose(2, 0, 1).astype(np.float32).tofile(path)


def _normalisation(preprocessing: Preprocessing) -> dict[str, tuple[float, ...]]:
    """The compiled network computes (pixel - mean) x scale, with pixels from 0 to 255."""
    scales = tuple(rounded(1 / (255 * deviation)) for deviation in preprocessing.std)
    return {"mean_value": in_pixels(preprocessing.mean), "scale_value": scales}


def _configure(content: KitContent) -> dict[str, str]:
    preprocessing = content.spec.preprocessing
    train, at_run_time = _TYPES[preprocessing.channel_order]
    raised = {name: {"ON": "BPU", "InputType": "int16", "OutputType": "int16"} for name in content.raised}
    numbers = {name: " ".join(map(repr, values)) for name, values in _normalisation(preprocessing).items()}
    range_of_colours = {"input_space_and_range": "regular"} if at_run_time == "nv12" else {}
    settings = {
        "model_parameters": {
            "onnx_model": f"./{content.model}",
            "march": _MARCH,
            "layer_out_dump": False,
            "working_dir": "compiled",
            "output_model_file_prefix": content.name,
            **({"node_info": raised} if raised else {}),
        },
        "input_parameters": {
            "input_name": content.artefact.input.name,
            "input_type_rt": at_run_time,
            **range_of_colours,
            "input_type_train": train,
            "input_layout_train": "NCHW",
            "input_shape": "x".join(map(str, content.artefact.input.shape)),
            "norm_type": "data_mean_and_scale",
            **numbers,
        },
        "calibration_parameters": {
            "cal_data_dir": f"./{Path(content.calibration[0]).parent}",
            "cal_data_type": "float32",
            "calibration_type": "default",
        },
        "compiler_parameters": {"compile_mode": "latency", "debug": False, "optimize_level": "O3"},
    }
    why = "".join(f"# {name}: {reason}\n" for name, reason in content.raised.items())
    comment = f"# Nodes in int16 (node_info), and why:\n{why}" if raised else ""
    return {RDK_X5_KIT.configuration: comment + yaml.safe_dump(settings, sort_keys=False, width=120)}


def _read(path: Path) -> References:
    groups = _groups(path)
    model, inputs, calibration = (groups[name] for name in _GROUPS[:3])
    train, at_run_time = str(inputs.get("input_type_train", "")), str(inputs.get("input_type_rt", ""))
    norm = str(inputs.get("norm_type", "no_preprocess"))
    needed = [f"{name}_value" for name in ("mean", "scale") if name in norm]
    nodes, faults = _node_info(model.get("node_info"))
    names = {key: _names(group.get(key)) for key in _NODE_LISTS for group in (model, calibration) if group.get(key)}
    shapes = tuple(_shape(text) for text in _names(inputs.get("input_shape")))
    if model.get("march") != _MARCH:
        faults.append(f"march: {model.get('march')!r} is not {_MARCH!r}, the NPU of RDK X5")
    faults += chain.from_iterable(map(_wrong_values, groups.values()))
    missing = [key for key in needed if key not in inputs]
    faults += [f"{key}: is missing, though norm_type is {norm!r}" for key in missing]
    files, kind = _calibration_files(path, calibration, faults)
    return References(
        graph=path.parent / str(model.get("onnx_model", "")),
        nodes={**({"node_info": nodes} if nodes else {}), **names},
        inputs=_names(inputs.get("input_name")),
        shapes=shapes,
        channels_last=inputs.get("input_layout_train") == "NHWC",
        channels=_CHANNELS.get(train),
        even_sides=at_run_time in _EVEN,
        normalisation={key: _numbers(inputs[key], key=key) for key in needed if key not in missing},
        words={"input_type_train": train},
        calibration=files,
        numbers=kind,
        faults=tuple(faults),
    )


def _groups(path: Path) -> dict[str, Settings]:
    """Return the groups of settings.

    Raises:
        InputError: if the file is no YAML, or lacks a group or the ONNX file.
    """
    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no YAML") from error
    whole = cast("Mapping[str, object]", content) if isinstance(content, dict) else {}
    groups = {name: whole.get(name) for name in _GROUPS}
    if missing := [name for name, group in groups.items() if not isinstance(group, dict)]:
        raise InputError(f"{path}: has no {missing[0]}; is it a configuration of hb_mapper makertbin?")
    if not cast("Settings", groups["model_parameters"]).get("onnx_model"):
        raise InputError(f"{path}: model_parameters has no onnx_model")
    return {name: cast("Settings", group) for name, group in groups.items()}


def _wrong_values(group: Settings) -> Iterator[str]:
    """Yield what the compiler does not accept, or does not know, in a group of settings."""
    for name, value in group.items():
        key = str(name)  # YAML reads `on` as True
        choices = _VALUES.get(key, ())
        wrong = [part for part in _names(value) if choices and part not in choices]
        yield from (f"{key}: {part!r}; choose from {', '.join(choices)}" for part in wrong)
        known = (*_VALUES, *_OTHERS)
        if key not in known and (close := get_close_matches(key, known, n=1, cutoff=_MISSPELT)):
            yield f"{key}: there is no such setting; the nearest name is {close[0]!r}"


def _node_info(value: object) -> tuple[tuple[str, ...], list[str]]:
    """Return the nodes that `node_info` names, and what is wrong in it. It may be a text or a table."""
    if not isinstance(value, dict):
        pairs = [part.rpartition(":") for part in _names(value)]
        table: Mapping[str, object] = {name: {"OutputType": kind} for name, _, kind in pairs}
    else:
        table = cast("Mapping[str, object]", value)
    faults: list[str] = []
    for name, entry in table.items():
        settings = cast("Settings", entry) if isinstance(entry, dict) else {}
        kinds = [str(kind).strip() for key, kind in settings.items() if str(key).startswith(_TYPE_KEYS)]
        faults += [
            f"node_info: {name}: type {kind!r}; choose from {', '.join(_NODE_TYPES)}"
            for kind in kinds
            if kind not in _NODE_TYPES
        ]
        if settings.get("ON", "BPU") not in ("BPU", "CPU"):
            faults.append(f"node_info: {name}: ON {settings['ON']!r}; choose from BPU, CPU")
    return tuple(map(str, table)), faults


def _calibration_files(path: Path, settings: Settings, faults: list[str]) -> tuple[tuple[Path, ...] | None, int | None]:
    """Return the calibration files and the bytes of a number in them; None for neither."""
    if settings.get("calibration_type") in ("skip", "load"):
        return None, None
    folders = [path.parent / name for name in _names(settings.get("cal_data_dir"))]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent or not folders:
        faults.append(f"cal_data_dir: {', '.join(absent) or 'empty'}: no such folder")
        return None, None
    files = tuple(sorted(chain.from_iterable(folder.iterdir() for folder in folders)))
    named = "float32" if str(folders[0]).endswith("_f32") else "uint8"
    kind = str(settings.get("cal_data_type", named))
    return files, None if settings.get("preprocess_on") is True else _NUMBERS.get(kind)


def _names(value: object) -> tuple[str, ...]:
    """Return the parts of a text with semicolons; nothing for an empty one."""
    return tuple(part.strip() for part in str(value or "").split(";") if part.strip())


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(side) for side in text.split("x"))
    except ValueError as error:
        raise InputError(f"input_shape: {text!r} is no shape such as 1x3x224x224") from error


def _numbers(value: object, *, key: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in str(value).split())
    except ValueError as error:
        raise InputError(f"{key}: {value!r} are no numbers with spaces between") from error


RDK_X5_KIT = Kit(
    target="rdk-x5",
    configuration="mapper.yaml",
    orders={order: f"calibration_data_{train}_f32" for order, (train, _) in _TYPES.items()},  # pyright: ignore[reportArgumentType]
    suffix=".rgb",
    write_picture=_write_picture,
    normalisation=_normalisation,
    words=lambda preprocessing: {"input_type_train": _TYPES[preprocessing.channel_order][0]},
    configure=_configure,
    read=_read,
    templates=("README.md", "compile.sh", "perf.sh", "predict.py", "predict.ipynb"),
    compiled=Compiled(format="hobot", suffix=".bin", engines=("hbm_runtime", "hobot_dnn")),
)
