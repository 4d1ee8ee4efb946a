"""Images for training and evaluation: sources, splits, transforms, batches. No module here uses Lightning."""

from parckit.data.datasets import DrawnImages, IndexedImages, OnError, Sample, Table, Target, TrainTransform, Transform
from parckit.data.limits import check_broken, check_loading
from parckit.data.loader import Batch, Collate, collate_classes, image_loader, train_loader
from parckit.data.matching import match_classes, name_numbers, order_classes, read_class_names
from parckit.data.sampling import Draw, Sampling, SeededBatches
from parckit.data.sizes import BatchShape, Epoch, MultiScale, OneSize, Progressive, Sizes
from parckit.data.source import Source, name_source, open_images, open_table
from parckit.data.splits import Split
from parckit.data.summary import describe_left_out, describe_run
from parckit.data.transforms import AugmentSettings, Crop, CropInterpolation, eval_transform, train_transform

__all__ = [
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
    "Sampling",
    "SeededBatches",
    "Sizes",
    "Source",
    "Split",
    "Table",
    "Target",
    "TrainTransform",
    "Transform",
    "check_broken",
    "check_loading",
    "collate_classes",
    "describe_left_out",
    "describe_run",
    "eval_transform",
    "image_loader",
    "match_classes",
    "name_numbers",
    "name_source",
    "open_images",
    "open_table",
    "order_classes",
    "read_class_names",
    "train_loader",
    "train_transform",
]
