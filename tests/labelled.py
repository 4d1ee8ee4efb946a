"""Lists of small pictures with several labels: two handwritten digits side by side, whose labels are the digits."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 16


def write_pairs(folder: Path, *, digits: int = 4, count: int = 240, val: int = 60) -> Path:
    """Write the pictures and their list; return the list. The last `val` pictures are `val`.

    One picture in eight shows no digit in its right half. One shows none at all.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, classes = load_digits(return_X_y=True)
    known = np.flatnonzero(classes < digits)
    rows = []
    for number in range(count):
        # No picture comes twice.
        pair = [] if number == 1 else [known[number]] if number % 8 == 0 else rng.choice(known, 2, replace=False)
        canvas = Image.new("L", (2 * SIDE, SIDE))
        for place, index in enumerate(pair):
            pixels = np.rint(images[index].reshape(8, 8) * 15.9).astype(np.uint8)
            canvas.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (SIDE * place, 0))
        canvas.save(folder / f"{number:03}.png")
        labels = ";".join(sorted({f"digit {classes[index]}" for index in pair}))
        rows.append((f"{number:03}.png", labels, "train" if number < count - val else "val"))
    return write_list(folder / "pairs.csv", [("path", "labels", "split"), *rows])


def write_list(path: Path, rows: list[tuple[str, ...]]) -> Path:
    """Write a list of files; the first row names the columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path
