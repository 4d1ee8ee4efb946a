"""Images for training and evaluation: sources, splits, transforms, batches. No module here uses Lightning."""

from parckit.data.datasets import DrawnImages, IndexedImages, OnError, Sample, Table, Target, TrainTransform, Transform
from parckit.data.loader import MOST_WORKERS, Batch, Collate, collate_classes, image_loader, train_loader
from parckit.data.sampling import BatchShape, Draw, Epoch, MultiScale, OneSize, Progressive, SeededBatches, Sizes
from parckit.data.source import open_images, open_table
from parckit.data.splits import Split
from parckit.data.transforms import AugmentSettings, Crop, CropInterpolation, eval_transform, train_transform

__all__ = [
    "MOST_WORKERS",
    "AugmentSettings",
    "Batch",
    "BatchShape",
    "Collate",
    "Crop",
    "CropInterpolation",
    "Draw",
    "DrawnImages",
    "Epoch",
    "IndexedImages",
    "MultiScale",
    "OnError",
    "OneSize",
    "Progressive",
    "Sample",
    "SeededBatches",
    "Sizes",
    "Split",
    "Table",
    "Target",
    "TrainTransform",
    "Transform",
    "collate_classes",
    "eval_transform",
    "image_loader",
    "open_images",
    "open_table",
    "train_loader",
    "train_transform",
]
