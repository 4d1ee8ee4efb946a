"""`parckit data priors`: the prior boxes of an SSD, fitted to the boxes of a source."""

from jsonargparse import Namespace

from parckit.cli.data_convert import SOURCE
from parckit.cli.tables import show, tell, to_json
from parckit.contract import Preprocessing
from parckit.contract.preprocessing import Fit
from parckit.options import Parser, parse_size, verb_parser


def priors_parser() -> Parser:
    """Return the parser of the action."""
    parser = verb_parser("data priors", description="Fit the prior boxes of an SSD to the boxes of a source.")
    parser.add_argument("source", type=str, help=SOURCE)
    parser.add_argument("--size", type=str, default="320", help="HEIGHTxWIDTH of the network's input, pixels")
    parser.add_argument("--fit", type=Fit, default="stretch", help="how pictures are brought to this size")
    parser.add_argument("--json", action="store_true", help="print the keywords of the head as JSON, nothing else")
    return parser


def priors(args: Namespace) -> None:
    """Run the action."""
    from parckit.data.prior_fitting import fit_priors  # loads torchvision and timm; the other actions need neither
    from parckit.networks.ssd import SsdSettings

    preprocessing = Preprocessing(size=parse_size(args.size), fit=args.fit)
    fitted = fit_priors(args.source, preprocessing=preprocessing, start=SsdSettings().priors)
    keywords = to_json({"scales": fitted.priors.scales, "ratios": fitted.priors.ratios})
    if args.json:
        print(keywords)
        return
    rows = [
        (label, str(count), f"{100 * fitted.before[label]:.1f}", f"{100 * fitted.after[label]:.1f}")
        for label, count in fitted.counts.items()
    ]
    title = f"{args.source} at {args.size} ({args.fit}): how many boxes have a prior with an IoU of at least 0.5"
    show(title, ("class", "boxes", "usual priors %", "fitted priors %"), rows)
    tell(f"--model.head_kwargs='{keywords}'")
