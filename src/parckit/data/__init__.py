"""Images for training and evaluation: sources, splits, transforms, batches. No module here uses Lightning."""

from parckit.data.box_checking import check_boxes
from parckit.data.box_records import BoxFormat
from parckit.data.boxes import box_splits, open_box_table, open_boxes
from parckit.data.converting import convert_boxes
from parckit.data.datasets import DrawnImages, IndexedImages, OnError, Sample, Table, Target, TrainTransform, Transform
from parckit.data.faults import OnBoxFault, OnMaskFault
from parckit.data.limits import check_broken, check_loading
from parckit.data.loader import (
    Batch,
    Collate,
    collate_classes,
    collate_labels,
    collate_listed,
    image_loader,
    train_loader,
)
from parckit.data.mask_checking import check_masks
from parckit.data.mask_transforms import MaskAugmentSettings, eval_mask_transform, train_mask_transform
from parckit.data.masks import open_mask_table
from parckit.data.matching import match_classes, name_numbers, order_classes
from parckit.data.objects import Objects, Scene
from parckit.data.picture_table import BoxTable, MaskTable
from parckit.data.pixel_classes import PixelClasses
from parckit.data.sampling import Draw, Sampling, SeededBatches
from parckit.data.scene_transforms import SceneAugmentSettings, eval_scene_transform, train_scene_transform
from parckit.data.sizes import BatchShape, MultiScale, OneSize, Progressive, Sizes
from parckit.data.source import OpenTable, Source, name_source, open_images, open_label_table, open_table
from parckit.data.splits import Split
from parckit.data.summary import describe_left_out, describe_run
from parckit.data.targets import PixelTargets, count_images
from parckit.data.transforms import AugmentSettings, eval_transform, train_transform

__all__ = [
    "AugmentSettings",
    "Batch",
    "BatchShape",
    "BoxFormat",
    "BoxTable",
    "Collate",
    "Draw",
    "DrawnImages",
    "IndexedImages",
    "MaskAugmentSettings",
    "MaskTable",
    "MultiScale",
    "Objects",
    "OnBoxFault",
    "OnError",
    "OnMaskFault",
    "OneSize",
    "OpenTable",
    "PixelClasses",
    "PixelTargets",
    "Progressive",
    "Sample",
    "Sampling",
    "Scene",
    "SceneAugmentSettings",
    "SeededBatches",
    "Sizes",
    "Source",
    "Split",
    "Table",
    "Target",
    "TrainTransform",
    "Transform",
    "box_splits",
    "check_boxes",
    "check_broken",
    "check_loading",
    "check_masks",
    "collate_classes",
    "collate_labels",
    "collate_listed",
    "convert_boxes",
    "count_images",
    "describe_left_out",
    "describe_run",
    "eval_mask_transform",
    "eval_scene_transform",
    "eval_transform",
    "image_loader",
    "match_classes",
    "name_numbers",
    "name_source",
    "open_box_table",
    "open_boxes",
    "open_images",
    "open_label_table",
    "open_mask_table",
    "open_table",
    "order_classes",
    "train_loader",
    "train_mask_transform",
    "train_scene_transform",
    "train_transform",
]
