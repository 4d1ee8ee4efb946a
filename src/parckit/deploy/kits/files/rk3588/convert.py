"""Compile the network for RK3588: `python3 convert.py`.

It needs RKNN-Toolkit2 on a PC. All settings stand in rknn.json. It was written after the toolkit's documentation, and
nobody has run it yet.
"""

import json
import os
import sys
from pathlib import Path

from rknn.api import RKNN


def main() -> None:
    """Compile the network with the settings in rknn.json."""
    os.chdir(Path(__file__).resolve().parent)
    settings = json.loads(Path("rknn.json").read_text(encoding="utf-8"))
    toolkit = RKNN()
    toolkit.config(**settings["config"])
    must(toolkit.load_onnx(model=settings["model"]), "load_onnx")
    parts = settings["custom_hybrid"]
    if parts:
        build_hybrid(toolkit, settings, parts)
    else:
        must(toolkit.build(do_quantization=True, dataset=settings["dataset"]), "build")
    must(toolkit.export_rknn(settings["result"]), "export_rknn")
    toolkit.release()
    print("compiled:", settings["result"])


def build_hybrid(toolkit: RKNN, settings: dict, parts: list) -> None:
    """Quantize all but some parts of the graph. Each part is its first and its last tensor; it stays in float16."""
    must(
        toolkit.hybrid_quantization_step1(dataset=settings["dataset"], proposal=False, custom_hybrid=parts),
        "hybrid_quantization_step1",
    )
    # The first step writes three files beside this script, named after the ONNX file.
    stem = Path(settings["model"]).stem
    must(
        toolkit.hybrid_quantization_step2(
            model_input=f"{stem}.model", data_input=f"{stem}.data", model_quantization_cfg=f"{stem}.quantization.cfg"
        ),
        "hybrid_quantization_step2",
    )


def must(code: int, step: str) -> None:
    """End if a step failed. The toolkit has printed why."""
    if code != 0:
        sys.exit(f"{step} failed with {code}")


if __name__ == "__main__":
    main()
