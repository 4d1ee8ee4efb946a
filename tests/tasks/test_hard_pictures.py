"""Pictures and boxes that break careless code, from files to finite losses of every detector."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from box_files import coco, fault_counts, write_coco, write_picture
from parckit.contract import NetworkSpec, Preprocessing
from parckit.data import convert_boxes, open_boxes
from parckit.data.segments import encode_mask
from parckit.measure.detection import detection_metric
from parckit.networks import build_network, head_of
from parckit.processing import make_decoder
from parckit.tasks import DataSettings, TrainingData
from parckit.tasks.detect import Detect

SIZE = (64, 64)
FEW = {"width": 8, "hidden": 16, "anchors": [8.0, 16.0, 32.0, 64.0, 128.0], "proposals": 20, "samples": 16}
HEADS = {
    "tinydet": {"width": 8, "depth": 1},
    "ssd": {},
    "cascade_mask_rcnn": FEW | {"mask_width": 8},
}
"""A cascade has all parts of the other two-stage detectors."""
PICTURES = {
    "empty.png": (40, 30),
    "thin.png": (1, 30),
    "point.png": (1, 1),
    "grey.png": (40, 30),
    "deep.png": (40, 30),
    "cmyk.jpg": (40, 30),
    "turned.png": (40, 30),
    "crowd.png": (40, 30),
    "many.png": (60, 50),
}
"""Name -> stored width and height."""
MANY = 600
"""Objects of one picture. test_detection_losses.py takes 5,000, without masks."""


def box(picture: str, edges: tuple[float, float, float, float], **keys: object) -> dict[str, object]:
    """Return an annotation with its filled mask; `edges` are (left, top, width, height)."""
    left, top, width, height = edges
    polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
    number = list(PICTURES).index(picture)
    return {"image_id": number, "bbox": list(edges), "segmentation": [polygon], **keys}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a COCO folder whose splits have the hard pictures."""
    folder = tmp_path_factory.mktemp("hard")
    runs = encode_mask(np.tile(np.arange(40) > 20, (30, 1)))
    boxes = [
        box("thin.png", (0, 0, 1, 30)),
        box("grey.png", (5, 5, 20, 20)),
        box("deep.png", (5, 5, 20, 20), category_id=2),
        box("cmyk.jpg", (5, 5, 20, 20)),
        box("turned.png", (5, 5, 20, 10)),
        box("turned.png", (9, 9, 3, 3), category_id=77),
        box("crowd.png", (0, 0, 12, 12)),
        box("crowd.png", (21, 0, 19, 30), iscrowd=1) | {"segmentation": runs},
        *(box("many.png", (i % 50, i // 50 % 40 + i / MANY, 6 + i % 3, 6)) for i in range(MANY)),
    ]
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, size in PICTURES.items():
            write_picture(folder / split / name, size=size, orientation=6 if name == "turned.png" else 1)
        Image.fromarray(rng.integers(0, 256, (30, 40), dtype=np.uint8)).save(folder / split / "grey.png")
        Image.fromarray(rng.integers(0, 65536, (30, 40), dtype=np.uint16)).save(folder / split / "deep.png")
        Image.new("CMYK", (40, 30), (10, 200, 30, 0)).save(folder / split / "cmyk.jpg")
        write_coco(folder / f"{split}.json", coco(boxes, images=PICTURES))
    return folder


@pytest.mark.parametrize("head", HEADS)
def test_losses_and_numbers_are_finite(source: Path, head: str):
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=SIZE, fit="stretch")
    settings = DataSettings(source=str(source), preprocessing=preprocessing, batch_size=len(PICTURES), workers=0)
    task = Detect()
    task.head = head
    data = TrainingData(settings, task=task)
    spec = NetworkSpec(
        task="detect",
        backbone="test_resnet",
        head=head,
        head_kwargs=HEADS[head],
        labels=data.labels,
        preprocessing=preprocessing,
    )
    network = build_network(spec).train()
    task.begin(network, spec)
    (batch,) = data.train_dataloader()
    assert len(batch.targets) == len(PICTURES)
    assert max(len(scene.objects.labels) for scene in batch.targets) > 500
    assert task.loss(network, batch.images, batch.targets).isfinite()
    (batch,) = data.val_dataloader()
    metric, decoder = detection_metric(spec), make_decoder(head_of(spec).decoder(spec), spec)
    with torch.inference_mode():
        for index, scene in enumerate(batch.targets):
            outputs = network.eval()(batch.images[index : index + 1])
            metric.update(decoder([output.numpy() for output in outputs], [batch.geometries[index]]), [scene])
            if task.has_validation_loss:
                assert task.validation_losses(outputs, [scene]).isfinite().all()
    assert np.isfinite(list(metric.compute().values())).all()


def test_their_boxes_are_read_and_turned(source: Path, tmp_path: Path):
    table = open_boxes(str(source), split="train", masks=True)
    by_name = {Path(table.name(index)).name: table.targets[index] for index in range(len(PICTURES))}
    assert by_name["turned.png"].boxes.tolist() == [[15, 5, 25, 25]]
    assert by_name["turned.png"].masks[0].nonzero().amin(0).tolist() == [5, 15]
    assert by_name["crowd.png"].crowd.tolist() == [False, True]
    assert by_name["crowd.png"].masks[1].sum() == 19 * 30
    assert len(by_name["empty.png"].labels) == 0
    assert len(by_name["many.png"].labels) == MANY
    assert fault_counts(table)["unknown class"] == 1
    # All of it survives another format.
    convert_boxes(str(source), tmp_path / "voc", to="voc")
    again = open_boxes(str(tmp_path / "voc"), split="train")
    assert [len(again.targets[index].labels) for index in range(len(PICTURES))] == [
        len(table.targets[index].labels) for index in range(len(PICTURES))
    ]
