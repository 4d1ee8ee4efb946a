"""Images for training and evaluation: sources, splits, transforms, batches. Nothing here knows of lightning."""

from parckit.data.datasets import (
    DrawnImages,
    ImageTable,
    IndexedImages,
    OnError,
    Sample,
    TrainTransform,
    Transform,
)
from parckit.data.images import IMAGE_EXTENSIONS, decode_image, list_images, load_image
from parckit.data.loader import Batch, collate, image_loader, train_loader
from parckit.data.sampling import BatchShape, Draw, Epoch, MultiScale, OneSize, Progressive, SeededBatches, Sizes
from parckit.data.source import open_images
from parckit.data.splits import Split
from parckit.data.transforms import Augment, Crop, CropInterpolation, eval_transform, train_transform

__all__ = [
    "IMAGE_EXTENSIONS",
    "Augment",
    "Batch",
    "BatchShape",
    "Crop",
    "CropInterpolation",
    "Draw",
    "DrawnImages",
    "Epoch",
    "ImageTable",
    "IndexedImages",
    "MultiScale",
    "OnError",
    "OneSize",
    "Progressive",
    "Sample",
    "SeededBatches",
    "Sizes",
    "Split",
    "TrainTransform",
    "Transform",
    "collate",
    "decode_image",
    "eval_transform",
    "image_loader",
    "list_images",
    "load_image",
    "open_images",
    "train_loader",
    "train_transform",
]
