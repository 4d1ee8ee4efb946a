"""Masks of Pascal VOC, also with the additional masks of SBD ("trainaug").

Accepted are a folder with `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/{train,val}.txt`, and a
folder above it, such as `VOCdevkit`. If there is a folder `SegmentationClassAug/` and a list `train_aug.txt` (or
`trainaug.txt`; or `aug.txt`, which is added to `train.txt`), they are the training set. A mask of VOC itself is taken
before one of SBD. `trainval.txt` serves as `train` if there is no `train.txt`. A split whose masks nobody has, such as
the test set of 2012, does not count.

A number in a palette is a class, and 255 is ignored. The classes are those of VOC, if there is no class table. Masks
that a tool has saved as red, green and blue are read through VOC's palette, unless a class table has colours.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from parckit.contract import InputError
from parckit.data.box_records import list_files, read_text, refuse_repeated
from parckit.data.mask_classes import ClassTable, find_class_table, read_class_table
from parckit.data.mask_coding import UNKNOWN, Colour, MaskCoding, make_coding
from parckit.data.mask_records import MaskLayout, MaskPair, MaskPairs, list_stems, splits_in_order, unique_by_stem
from parckit.data.splits import Named, find_splits

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_PICTURES, _MASKS, _AUGMENTED = "JPEGImages", "SegmentationClass", "SegmentationClassAug"
_LISTS = Path("ImageSets") / "Segmentation"
_WHOLE = ("train_aug", "trainaug")
"""Lists of VOC's and SBD's training pictures together."""
_ADDED = "aug"
"""A list of SBD's training pictures alone."""


def find_voc_masks(folder: Path) -> MaskLayout | None:
    """Return the masks of a VOC folder; None if there are none.

    Raises:
        InputError: if several years lie in the folder, two lists mean the same split, or there is no list.
    """
    patterns = (f"{_MASKS}*", f"*/{_MASKS}*", f"VOCdevkit/*/{_MASKS}*")
    for pattern in patterns:
        roots = sorted({path.parent for path in folder.glob(pattern) if path.name in (_MASKS, _AUGMENTED)})
        if len(roots) > 1:
            raise InputError(f"{folder}: holds {', '.join(path.name for path in roots)}; name one of these folders")
        if roots:
            return _layout(roots[0])
    return None


def _layout(root: Path) -> MaskLayout:
    pictures, augmented, masks = (
        unique_by_stem(list_stems(root / folder, left_out=[])) for folder in (_PICTURES, _AUGMENTED, _MASKS)
    )
    masks = {**augmented, **masks}
    listed, note = _names(root)
    # Nobody but the authors has the masks of VOC's test pictures.
    names: dict[Named, list[str]] = {
        split: stems for split, stems in listed.items() if any(stem in masks for stem in stems)
    }
    if not names:
        raise InputError(f"{root}: has no masks of the pictures in {root / _LISTS}, such as train.txt")
    table = find_class_table(root)
    labels, coding = read_class_table(table) if table else _usual_classes()
    coding = coding if len(coding.colours) else _with_voc_colours(coding)
    return MaskLayout(
        labels=labels,
        coding=coding,
        present=splits_in_order(names),
        read=partial(_read, names, root=root, pictures=pictures, masks=masks),
        note=note,
    )


def _usual_classes() -> ClassTable:
    return ClassTable(VOC_CLASSES, make_coding({number: number for number in range(len(VOC_CLASSES))}))


def _with_voc_colours(coding: MaskCoding) -> MaskCoding:
    """Return a coding that also takes the colours of VOC's palette for numbers."""
    class_of = {number: int(label) for number, label in enumerate(coding.numbers[:-1]) if label != UNKNOWN}
    return make_coding(class_of, colours=[(voc_colour(number), label) for number, label in class_of.items()])


def voc_colour(number: int) -> Colour:
    """Return the colour of a number in VOC's palette: its lowest bits are the highest bits of red, green and blue."""
    red, green, blue = (
        sum((number >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def _names(root: Path) -> tuple[dict[Named, list[str]], str]:
    """Return the names of the pictures of every split, and what to say of the training set."""
    files = {path.stem: path for path in list_files(root / _LISTS, ending=".txt")}
    names: dict[Named, list[str]] = {
        split: _read_list(files[stem]) for split, stem in find_splits(files, source=str(root / _LISTS)).items()
    }
    if "train" not in names and "trainval" in files:
        names["train"] = _read_list(files["trainval"])
    if not (root / _AUGMENTED).is_dir():
        return names, ""
    whole = next((stem for stem in _WHOLE if stem in files), None)
    if whole is not None:
        names["train"] = _read_list(files[whole])
    elif _ADDED in files:
        names["train"] = list(dict.fromkeys([*names.get("train", []), *_read_list(files[_ADDED])]))
    else:
        return names, ""
    return names, f"{whole or _ADDED}.txt and {_AUGMENTED}"


def _read_list(path: Path) -> list[str]:
    """Return the names in a list. A line may also have the paths of picture and mask, as DeepLab's lists do."""
    firsts = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    names = [Path(first).stem if "/" in first else first for first in firsts]
    refuse_repeated(names, origin=str(path))
    return names


def _read(
    names: Mapping[Named, Sequence[str]],
    split: Named,
    *,
    root: Path,
    pictures: Mapping[str, str],
    masks: Mapping[str, str],
) -> MaskPairs:
    """Return the pairs of a split. Files that do not exist are faults later, when their headers are read."""
    pairs = [
        MaskPair(
            name,
            pictures.get(name, str(root / _PICTURES / f"{name}.jpg")),
            masks.get(name, str(root / _MASKS / f"{name}.png")),
        )
        for name in names[split]
    ]
    return MaskPairs(pairs=pairs)
