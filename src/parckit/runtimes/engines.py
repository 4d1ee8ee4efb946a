"""The table of engines. A new engine is a line here, a file beside this one, and a converter in `parckit.deploy`."""

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from parckit.contract import AbsentError, Artefact, InputError, MissingExtraError, NetworkSpec, Precision
from parckit.runtimes.protocol import Session

CHECKPOINT = "checkpoint"
"""The format of what torch opens; all other formats are those of a bundle's artefacts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How an engine opens.

    Attributes:
        name: as users write it.
        package: module that must be installed.
        extra: extra of parckit that installs it; empty if pip does not.
        module: module of `parckit.runtimes` with its `open_artefact`; imported only when the engine is used.
        formats: formats of artefacts that it opens.
        suffixes: endings, in small letters, of single files that it opens because they say themselves what they are.
        precisions: precisions that it runs.
        source: where the package comes from, if pip does not install it.
        only_by_name: whether it runs only if a user names it, because its files hold machine code that may do anything.
        only_on_macos: whether it runs on macOS only, though its package can be installed elsewhere to convert.
    """

    name: str
    package: str
    extra: str
    module: str
    formats: tuple[str, ...]
    suffixes: tuple[str, ...]
    precisions: tuple[Precision, ...]
    source: str = ""
    only_by_name: bool = False
    only_on_macos: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the engine's package is installed. The package is not imported."""
        return find_spec(self.package) is not None

    @property
    def obstacle(self) -> str | None:
        """Why the engine cannot run here, such as "the package MNN is missing"; None if no reason is known."""
        error = self.absence_error(self.name)
        return None if error is None else error.obstacle

    def absence_error(self, what: str) -> AbsentError | None:
        """Return the error for a machine that cannot run the engine; None if no reason against it is known.

        Args:
            what: what needs the engine, such as a file.
        """
        if not self.is_installed:
            return MissingExtraError(what, package=self.package, extra=self.extra, source=self.source)
        if self.only_on_macos and sys.platform != "darwin":
            obstacle = f"{self.name} runs on macOS only"
            return AbsentError(f"{what}: {obstacle}", obstacle=obstacle)
        return None

    def opens(self, artefact: Artefact) -> bool:
        """Return whether the engine can run an artefact."""
        return artefact.format in self.formats and artefact.precision in self.precisions


ENGINES = (
    Engine(
        name="torch",
        package="torch",
        extra="models",
        module="parckit.runtimes.torch",
        formats=(CHECKPOINT,),
        suffixes=(".ckpt", ".safetensors", ""),  # names without an ending are those of shipped weights
        precisions=("fp32",),
    ),
    Engine(
        name="onnxruntime",
        package="onnxruntime",
        extra="onnxruntime",
        module="parckit.runtimes.onnxruntime",
        formats=("onnx",),
        suffixes=(".onnx",),
        precisions=("fp32", "fp16", "int8"),
    ),
    Engine(
        name="openvino",
        package="openvino",
        extra="openvino",
        module="parckit.runtimes.openvino",
        formats=("onnx",),
        suffixes=(),
        precisions=("fp32", "fp16", "int8"),
    ),
    Engine(
        name="opencv",
        package="cv2",
        extra="opencv",
        module="parckit.runtimes.opencv",
        formats=("onnx",),
        suffixes=(),
        precisions=("fp32",),
    ),
    Engine(
        name="mnn",
        package="MNN",
        extra="mnn",
        module="parckit.runtimes.mnn",
        formats=("mnn",),
        suffixes=(),
        precisions=("fp32", "fp16", "int8"),
    ),
    Engine(
        name="ncnn",
        package="ncnn",
        extra="ncnn",
        module="parckit.runtimes.ncnn",
        formats=("ncnn",),
        suffixes=(),
        precisions=("fp32", "fp16", "int8"),
    ),
    Engine(
        name="litert",
        package="ai_edge_litert",
        extra="litert",
        module="parckit.runtimes.litert",
        formats=("tflite",),
        suffixes=(),
        precisions=("fp32", "fp16", "int8"),
    ),
    Engine(
        name="executorch",
        package="executorch",
        extra="executorch",
        module="parckit.runtimes.executorch",
        formats=("executorch",),
        suffixes=(),
        precisions=("fp32",),
    ),
    Engine(
        name="aotinductor",
        package="torch",
        extra="models",
        module="parckit.runtimes.aotinductor",
        formats=("aotinductor",),
        suffixes=(),
        precisions=("fp32",),
        only_by_name=True,
    ),
    Engine(
        name="coreml",
        package="coremltools",
        extra="coreml",
        module="parckit.runtimes.coreml",
        formats=("coreml",),
        suffixes=(),
        precisions=("fp32", "fp16"),
        only_on_macos=True,
    ),
    Engine(
        name="tensorrt",
        package="tensorrt",
        extra="tensorrt",
        module="parckit.runtimes.tensorrt",
        formats=("tensorrt",),
        suffixes=(),
        precisions=("fp32", "fp16"),
    ),
    Engine(
        name="hbm_runtime",
        package="hbm_runtime",
        extra="",
        source="the system of D-Robotics' RDK X5 has it from version 3.5",
        module="parckit.runtimes.hbm_runtime",
        formats=("hobot",),
        suffixes=(),
        precisions=("int8",),
    ),
    Engine(
        name="hobot_dnn",
        package="hobot_dnn",
        extra="",
        source="the system of D-Robotics' boards has it",
        module="parckit.runtimes.hobot_dnn",
        formats=("hobot",),
        suffixes=(),
        precisions=("int8",),
    ),
    Engine(
        name="rknn",
        package="rknnlite",
        extra="",
        source="rknn-toolkit-lite2 for Rockchip's boards, github.com/airockchip/rknn-toolkit2",
        module="parckit.runtimes.rknn",
        formats=("rknn",),
        suffixes=(),
        precisions=("int8",),
    ),
)
"""Where several engines fit, the first one that can run on this machine is taken."""


class EngineModule(Protocol):
    """What an engine's module offers.

    torch's has no `open_artefact`, because a bundle holds no checkpoints. An engine without `suffixes` has no
    `open_file`.
    """

    def open_artefact(self, folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None) -> Session:
        """Load an artefact of the bundle `folder`."""
        ...

    def open_file(self, path: Path, *, threads: int | None) -> Session:
        """Load a file that says itself what it is: a checkpoint, or an artefact's file alone."""
        ...


def find_engine(name: str, *, option: str = "runtime") -> Engine:
    """Return the engine of a name.

    Args:
        name: the name.
        option: what an error calls the option that gives the name.

    Raises:
        InputError: if there is none.
    """
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise InputError(f"{option}={name!r}: choose from {', '.join(engine.name for engine in ENGINES)}")


def load_engine(engine: Engine, *, what: str) -> EngineModule:
    """Import an engine's module.

    Args:
        engine: which one.
        what: what an error says needs it, such as a file.

    Raises:
        AbsentError: if its package or its system is missing.
    """
    if (error := engine.absence_error(what)) is not None:
        raise error
    try:
        return cast("EngineModule", import_module(engine.module))
    except ModuleNotFoundError as error:
        package = (error.name or engine.package).partition(".")[0]
        raise MissingExtraError(what, package=package, extra=engine.extra, source=engine.source) from error
