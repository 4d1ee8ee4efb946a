"""Write the kits of boards for the networks that a board shall run, check them, and record which passed.

    PYTHONPATH=tests python benchmarks/kits.py --work FOLDER [--only NAME | --record]

Every network is exported for the board, which compares the exported file with torch. Then its kit is written with eight
pictures of noise, and checked: every node, tensor, shape and file that the compiler's settings name must be there. As
an example, every tenth node gets more bits, if it depends on the picture. The weights are random, because only names
and shapes count; batch norms get the statistics of noise. A network that is finished in FOLDER is not repeated. The
compilers are not run.
"""

import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import nn

from backbones import as_if_trained
from parckit.contract import NetworkSpec, ParckitError, Preprocessing, Task
from parckit.deploy import export_bundle, settings_for
from parckit.deploy.kits import KITS, read_graph
from parckit.deploy.kits.checking import check_kit
from parckit.deploy.kits.writing import KitSettings, write_kit
from parckit.measure.evaluation import EvaluationData
from parckit.measure.records import write_record
from parckit.networks import build_network

RECORD = Path(__file__).parent / "records" / "kits.json"
NETWORKS: dict[str, tuple[Task, str, str, int]] = {
    "convnext_atto": ("classify", "convnext_atto", "classifier", 224),
    "convnext_femto": ("classify", "convnext_femto", "classifier", 224),
    "convnext_pico": ("classify", "convnext_pico", "classifier", 224),
    "convnext_nano": ("classify", "convnext_nano", "classifier", 224),
    "parc_convnext_xt": ("classify", "parc_convnext_xt", "classifier", 224),
    "parcnet_s": ("classify", "parcnet_s", "classifier", 256),
    "parc_mobilenetv2": ("classify", "parc_mobilenetv2", "classifier", 224),
    "ssd parcnet_s": ("detect", "parcnet_s", "ssd", 320),
    "deeplabv3 parcnet_s": ("segment", "parcnet_s", "deeplabv3", 256),
}
"""Name -> task, backbone, head, and side of the input in pixels."""
PICTURES = 8
EVERY = 10
SEED = 0


def main() -> None:
    """Try what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*NETWORKS], help="try this network only, and record nothing")
    parser.add_argument("--work", type=Path, required=True, help="folder of the results")
    parser.add_argument("--record", action="store_true", help="only record what is in the folder of the results")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in NETWORKS if arguments.only is None else [arguments.only]:
        for target in KITS:
            path = arguments.work / f"{name.replace(' ', '-')}-{target}.json"
            if not path.is_file() and arguments.record:
                continue
            if not path.is_file():
                path.write_text(json.dumps(attempt(name, target)), encoding="utf-8")
            rows.append(json.loads(path.read_text(encoding="utf-8")))
            print(json.dumps(rows[-1]), flush=True)
    if arguments.only is None:
        write_record(RECORD, "kits", {"rows": rows}, seed=SEED, threads=None)


def attempt(name: str, target: str) -> dict[str, object]:
    """Return what happened to a network's kit."""
    task, backbone, head, side = NETWORKS[name]
    labels = tuple("abcdefgh")
    spec = NetworkSpec(
        task=task, backbone=backbone, head=head, labels=labels, preprocessing=Preprocessing(size=(side, side))
    )
    with TemporaryDirectory() as work:
        bundle, kit, pictures = (Path(work) / part for part in ("bundle", "kit", "pictures"))
        try:
            settings = replace(settings_for(target), engines=("onnxruntime",))
            contract = export_bundle(draw_network(spec), spec, out=bundle, settings=settings)
            graph = read_graph(bundle / contract.artefacts[0].main_file)
            write_noise(pictures, side=side)
            some = tuple(name for name in graph.nodes[::EVERY] if graph.edges[name][0])
            options = KitSettings(target=target, samples=PICTURES, raised=some)
            raised = write_kit(bundle, kit, EvaluationData(source=str(pictures)), settings=options)
            faults: tuple[str, ...] = check_kit(kit)
        except ParckitError as error:
            return {"network": name, "target": target, "passed": False, "reason": str(error)}
        counts = {"nodes": len(graph.nodes), "raised": len(raised)}
        return {"network": name, "target": target, "passed": not faults, "reason": "; ".join(faults), **counts}


def draw_network(spec: NetworkSpec) -> nn.Module:
    """Build a network with random weights whose batch norms have the statistics of their maps, as training leaves them.

    With other statistics the maps of SSD with ParC-Net-S grow from block to block, to 100,000. Then its gates become
    steps, and float32 in torch itself differs from float64 by 2e-4, which is more than a comparison accepts.
    """
    network = as_if_trained(build_network(spec)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches, which is one
            module.train()
    with torch.no_grad():
        network(torch.randn(PICTURES, 3, *spec.preprocessing.size, generator=torch.Generator().manual_seed(SEED)))
    return network.eval()


def write_noise(folder: Path, *, side: int) -> None:
    """Write pictures of noise."""
    folder.mkdir()
    for number in range(PICTURES):
        pixels = np.random.default_rng(zlib.crc32(bytes([number]))).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


if __name__ == "__main__":
    main()
