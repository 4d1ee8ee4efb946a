"""`parckit predict`: classify pictures."""

import json
from pathlib import Path

import torch
from jsonargparse.typing import PositiveInt

from parckit.cli.parsing import verb_parser
from parckit.cli.tables import show
from parckit.data import eval_transform, load_image
from parckit.runtimes import Runtime, Session, open_session


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("predict", description="Classify pictures.")
    parser.add_argument("artefact", type=Path, help="a checkpoint, a bundle's folder, or parcnet_xs.cifar10")
    parser.add_argument("images", type=Path, nargs="+", help="picture files")
    parser.add_argument("--runtime", type=Runtime | None, default=None, help="the engine; by default what fits")
    parser.add_argument("--top", type=PositiveInt, default=3, help="classes to show for each picture")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.read(argv)
    session = open_session(args.artefact, runtime=args.runtime)
    ranked = {str(path): classify(session, path, top=args.top) for path in args.images}
    if args.json:
        plain = {path: [{"class": name, "probability": p} for name, p in ranking] for path, ranking in ranked.items()}
        print(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    rows = [
        (path if i == 0 else "", label, f"{100 * probability:.1f}")
        for path, ranking in ranked.items()
        for i, (label, probability) in enumerate(ranking)
    ]
    show(f"{args.artefact} ({session.engine})", ("picture", "class", "probability %"), rows)


def classify(session: Session, path: Path, *, top: int) -> list[tuple[str, float]]:
    """Return the most probable classes of a picture, best first, with their probabilities in 0..1.

    Raises:
        InputError: if the picture cannot be read.
    """
    image = eval_transform(session.spec.preprocessing)(load_image(path))
    probabilities = torch.from_numpy(session(image[None].numpy())[0]).softmax(0)
    values, indices = probabilities.topk(min(top, len(session.spec.labels)))
    return [(session.spec.labels[index], value) for index, value in zip(indices.tolist(), values.tolist(), strict=True)]
