"""`parckit data convert`: pictures with boxes from one format into another."""

from functools import partial
from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.progress import track
from parckit.cli.tables import tell
from parckit.contract import check_place
from parckit.data import OnBoxFault
from parckit.data.box_records import BoxFormat
from parckit.data.converting import convert_boxes
from parckit.options import Parser, verb_parser

SOURCE = "digit_scenes, digit_scenes:N, a COCO .json file or folder, a VOC folder, a YOLO data.yaml or its folder"
"""What a source of pictures with boxes may be."""


def convert_parser() -> Parser:
    """Return the parser of the action."""
    parser = verb_parser("data convert", description="Write pictures with boxes as COCO, Pascal VOC or YOLO files.")
    parser.add_argument("source", type=str, help=SOURCE)
    parser.add_argument("--to", type=BoxFormat, required=True, help="format of the new files")
    parser.add_argument("--out", type=Path, required=True, help="new folder; appears when all files are written")
    fault = "drop or cut faulty boxes and tell their number, or refuse a source that has some"
    parser.add_argument("--on_box_fault", type=OnBoxFault, default="drop", help=fault)
    return parser


def convert(args: Namespace) -> None:
    """Run the action."""
    check_place(args.out, option="--out")
    counts = convert_boxes(
        args.source,
        args.out,
        to=args.to,
        on_box_fault=args.on_box_fault,
        track=partial(track, description="converting"),
    )
    tell(f"{args.out}: " + ", ".join(f"{count} {split} pictures" for split, count in counts.items()))
