"""From a picture file to an array, and from an engine's outputs to an answer. numpy and Pillow are all it needs."""

from parckit.processing.boxes import box_areas, box_iou, intersections, suppress
from parckit.processing.classify import CLASSIFY, UNKNOWN, ClassDecoder, ClassPrediction, ClassScore, probabilities
from parckit.processing.decoders import DECODERS, Decoder, make_decoder
from parckit.processing.detect import COLOURS, BoxPrediction, best_boxes
from parckit.processing.detections import DETECTIONS, DetectionsDecoder
from parckit.processing.geometry import Geometry
from parckit.processing.images import (
    FORMAT_OF_EXTENSION,
    IMAGE_EXTENSIONS,
    Picture,
    decode_image,
    find_format,
    list_images,
    load_image,
    open_picture,
    readable_formats,
)
from parckit.processing.inputs import FLOAT_NCHW, cover, fit, preprocess, to_array, to_pixels, whole_picture
from parckit.processing.lettering import letter
from parckit.processing.listing import LeftOut, pictures, refused_ending, subfolders
from parckit.processing.mask_prediction import IGNORED, MaskPrediction
from parckit.processing.masks import BoxMasks
from parckit.processing.multilabel import MULTILABEL, LabelDecoder, LabelPrediction, LabelScore
from parckit.processing.nv12 import ColourRange, nv12_to_rgb, rgb_to_nv12
from parckit.processing.palette import class_colours
from parckit.processing.prediction import Prediction
from parckit.processing.priors import (
    CENTRE_VARIANCE,
    LARGEST_OFFSET,
    SIZE_VARIANCE,
    PriorSettings,
    decode_offsets,
)
from parckit.processing.segment import CLASS_MAP, SEGMENT, ClassMapDecoder, SegmentDecoder, read_maps
from parckit.processing.settings import usual_settings
from parckit.processing.ssd import BACKGROUND, SSD, SsdDecoder
from parckit.processing.tiles import BOX_OVERLAP, PIXEL_OVERLAP, TileSettings, cut_tiles, merge_tiles
from parckit.processing.tinydet import TINYDET, TinyDetDecoder, map_points
from parckit.processing.video import (
    VIDEO_EXTENSIONS,
    VideoFacts,
    VideoFrame,
    VideoWriter,
    describe_video,
    is_video,
    read_video,
)
from parckit.processing.windows import WindowedNetwork, WindowSettings, classes_in_windows

__all__ = [
    "BACKGROUND",
    "BOX_OVERLAP",
    "CENTRE_VARIANCE",
    "CLASSIFY",
    "CLASS_MAP",
    "COLOURS",
    "DECODERS",
    "DETECTIONS",
    "FLOAT_NCHW",
    "FORMAT_OF_EXTENSION",
    "IGNORED",
    "IMAGE_EXTENSIONS",
    "LARGEST_OFFSET",
    "MULTILABEL",
    "PIXEL_OVERLAP",
    "SEGMENT",
    "SIZE_VARIANCE",
    "SSD",
    "TINYDET",
    "UNKNOWN",
    "VIDEO_EXTENSIONS",
    "BoxMasks",
    "BoxPrediction",
    "ClassDecoder",
    "ClassMapDecoder",
    "ClassPrediction",
    "ClassScore",
    "ColourRange",
    "Decoder",
    "DetectionsDecoder",
    "Geometry",
    "LabelDecoder",
    "LabelPrediction",
    "LabelScore",
    "LeftOut",
    "MaskPrediction",
    "Picture",
    "Prediction",
    "PriorSettings",
    "SegmentDecoder",
    "SsdDecoder",
    "TileSettings",
    "TinyDetDecoder",
    "VideoFacts",
    "VideoFrame",
    "VideoWriter",
    "WindowSettings",
    "WindowedNetwork",
    "best_boxes",
    "box_areas",
    "box_iou",
    "class_colours",
    "classes_in_windows",
    "cover",
    "cut_tiles",
    "decode_image",
    "decode_offsets",
    "describe_video",
    "find_format",
    "fit",
    "intersections",
    "is_video",
    "letter",
    "list_images",
    "load_image",
    "make_decoder",
    "map_points",
    "merge_tiles",
    "nv12_to_rgb",
    "open_picture",
    "pictures",
    "preprocess",
    "probabilities",
    "read_maps",
    "read_video",
    "readable_formats",
    "refused_ending",
    "rgb_to_nv12",
    "subfolders",
    "suppress",
    "to_array",
    "to_pixels",
    "usual_settings",
    "whole_picture",
]
