"""A bundle with a tiny network that every board takes."""

from dataclasses import replace
from pathlib import Path

import onnx

from bundles import SIZE, WEIGHT, tiny_artefact, tiny_spec
from parckit.contract import Contract, Preprocessing, write_contract

NODES = ("/pool/GlobalAveragePool", "/head/conv/Conv", "/head/Flatten")
NORMALISED = Preprocessing(size=SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def write_bundle(
    folder: Path, *, scale: float = 1.0, preprocessing: Preprocessing = NORMALISED, doubled: bool = False
) -> Path:
    """Write a bundle whose graph every board takes. If `doubled`, a node computes with constants only."""
    height, width = preprocessing.size
    model = onnx.parser.parse_model(f"""<ir_version: 6, opset_import: ["": 11]>
        tiny (float[1, 3, {height}, {width}] image) => (float[1, 4] logits)
        <float[4, 3, 1, 1] w = {{{", ".join(f"{value * scale:f}" for value in WEIGHT.T.ravel())}}}>
        {{
            p = GlobalAveragePool(image)
            c = Conv<kernel_shape = [1, 1]>(p, w)
            logits = Flatten(c)
        }}""")
    for node, name in zip(model.graph.node, NODES, strict=True):
        node.name = name
    if doubled:
        model.graph.node.insert(0, onnx.helper.make_node("Add", ["w", "w"], ["v"], "/double"))
    file = folder / "onnx-fp32" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(model, file)
    artefact = tiny_artefact(file)
    artefact = replace(artefact, input=replace(artefact.input, shape=(1, 3, height, width)))
    spec = replace(tiny_spec(), preprocessing=preprocessing)
    write_contract(Contract(spec=spec, artefacts=(artefact,), params=12, madds=12, versions={}), folder)
    return folder
