"""Images for training and evaluation: sources, splits, transforms, batches. Nothing here knows of lightning."""

from parckit.data.datasets import ImageDataset, ImageTable, IndexedImages, OnError, Sample, Transform
from parckit.data.images import IMAGE_EXTENSIONS, decode_image, list_images, load_image
from parckit.data.loader import Batch, collate, image_loader
from parckit.data.source import open_images
from parckit.data.splits import Split
from parckit.data.streams import StreamedImages
from parckit.data.transforms import Augment, Crop, Policy, eval_transform, train_transform

__all__ = [
    "IMAGE_EXTENSIONS",
    "Augment",
    "Batch",
    "Crop",
    "ImageDataset",
    "ImageTable",
    "IndexedImages",
    "OnError",
    "Policy",
    "Sample",
    "Split",
    "StreamedImages",
    "Transform",
    "collate",
    "decode_image",
    "eval_transform",
    "image_loader",
    "list_images",
    "load_image",
    "open_images",
    "train_transform",
]
