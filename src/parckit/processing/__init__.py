"""From a picture file to an array, and from an engine's outputs to an answer. numpy and Pillow are all it needs."""

from parckit.processing.classify import CLASSIFY, UNKNOWN, ClassDecoder, ClassPrediction, ClassScore, probabilities
from parckit.processing.decoders import DECODERS, Decoder, make_decoder
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
from parckit.processing.inputs import FLOAT_NCHW, cover, fit, preprocess, to_array, to_pixels
from parckit.processing.listing import LeftOut, pictures, refused_ending, subfolders
from parckit.processing.multilabel import MULTILABEL, LabelDecoder, LabelPrediction, LabelScore
from parckit.processing.prediction import Prediction

__all__ = [
    "CLASSIFY",
    "DECODERS",
    "FLOAT_NCHW",
    "FORMAT_OF_EXTENSION",
    "IMAGE_EXTENSIONS",
    "MULTILABEL",
    "UNKNOWN",
    "ClassDecoder",
    "ClassPrediction",
    "ClassScore",
    "Decoder",
    "Geometry",
    "LabelDecoder",
    "LabelPrediction",
    "LabelScore",
    "LeftOut",
    "Picture",
    "Prediction",
    "cover",
    "decode_image",
    "find_format",
    "fit",
    "list_images",
    "load_image",
    "make_decoder",
    "open_picture",
    "pictures",
    "preprocess",
    "probabilities",
    "readable_formats",
    "refused_ending",
    "subfolders",
    "to_array",
    "to_pixels",
]
