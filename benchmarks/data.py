"""Time the input pipeline on one core, from a JPEG file of 500x375 to a normalised 224 tensor, and JPEG decoders.

    OMP_NUM_THREADS=1 python benchmarks/data.py

Beside ours runs the pipeline of torchvision's own reference training for classification, in both of its forms: on PIL
images (its default) and on tensors. The pictures are those of ../shared/data/imagenet_samples.zip, resized and encoded
anew; another zip of pictures serves as well (`--pictures`). A decoder that is not installed is left out.
"""

import argparse
import io
import statistics
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import io as torchvision_io
from torchvision import transforms as T
from torchvision.datasets.folder import default_loader

from parckit.contract import Preprocessing
from parckit.data import AugmentSettings, eval_transform, train_transform
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record
from parckit.processing import IMAGE_EXTENSIONS, decode_image, load_image

RECORD = Path(__file__).parent / "records" / "data.json"
PICTURES = Path("../shared/data/imagenet_samples.zip")
COUNT = 40
STORED = (500, 375)  # (width, height): ImageNet's most frequent size
QUALITY = 90
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="per table")
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--out", type=Path, default=RECORD)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*TorchVision are deprecated")
    with tempfile.TemporaryDirectory() as folder:
        files = write_jpegs(args.pictures, Path(folder))
        encoded = [file.read_bytes() for file in files]
        tables = {
            "training": measure(training(), files, baseline="torchvision", seconds=args.seconds),
            "evaluation": measure(evaluation(), files, baseline="torchvision", seconds=args.seconds),
            "decoding": measure(decoders(), encoded, baseline="pillow", seconds=args.seconds),
        }
    values = {
        "pictures": {"count": len(files), "size": STORED, "mean_bytes": round(statistics.mean(map(len, encoded)))},
        **tables,
        "largest_difference_from_pillow": differences(encoded),
    }
    write_record(args.out, "data", values, seed=0, threads=1)


def write_jpegs(archive: Path, folder: Path) -> list[Path]:
    """Write pictures from all over the archive as JPEG files of one size."""
    files: list[Path] = []
    with zipfile.ZipFile(archive) as pictures:
        names = [name for name in pictures.namelist() if name.lower().endswith(IMAGE_EXTENSIONS)]
        for number, name in enumerate(names[:: max(1, len(names) // COUNT)][:COUNT]):
            picture = decode_image(pictures.read(name), name=name).resize(STORED, Image.Resampling.BICUBIC)
            files.append(folder / f"{number}.jpg")
            picture.save(files[-1], quality=QUALITY)
    return files


def training() -> Mapping[str, Callable[[Path], object]]:
    """Random resized crop and flip."""
    transform = train_transform(Preprocessing(size=(SIDE, SIDE), mean=MEAN, std=STD), augment=AugmentSettings())
    pil = T.Compose([T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), T.PILToTensor(), *normalising()])
    tensor = T.Compose([T.PILToTensor(), T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), *normalising()])
    return {
        "parckit": lambda file: transform(load_image(file), 0, size=(SIDE, SIDE), share=0.0),
        "torchvision": lambda file: pil(default_loader(str(file))),
        "torchvision on tensors": lambda file: tensor(default_loader(str(file))),
    }


def evaluation() -> Mapping[str, Callable[[Path], object]]:
    """Resize the shorter side to 256 and crop the centre."""
    preprocessing = Preprocessing(size=(SIDE, SIDE), crop_pct=SIDE / 256, mean=MEAN, std=STD)
    transform = eval_transform(preprocessing)
    pil = T.Compose([T.Resize(256), T.CenterCrop(SIDE), T.PILToTensor(), *normalising()])
    tensor = T.Compose([T.PILToTensor(), T.Resize(256), T.CenterCrop(SIDE), *normalising()])
    return {
        "parckit": lambda file: transform(load_image(file), 0),
        "torchvision": lambda file: pil(default_loader(str(file))),
        "torchvision on tensors": lambda file: tensor(default_loader(str(file))),
    }


def normalising() -> tuple[T.ConvertImageDtype, T.Normalize]:
    """Return the last steps of either form."""
    return T.ConvertImageDtype(torch.float), T.Normalize(MEAN, STD)


def decoders() -> dict[str, Callable[[bytes], Image.Image]]:
    """Return what turns the bytes of a JPEG into an RGB picture of PIL."""
    functions: dict[str, Callable[[bytes], Image.Image]] = {
        "pillow": lambda data: Image.open(io.BytesIO(data)).convert("RGB"),
        "parckit": lambda data: decode_image(data, name="a JPEG"),
        "torchvision.io": with_torchvision,
    }
    try:
        decode = import_module("simplejpeg").decode_jpeg
    except ImportError:
        return functions
    return functions | {
        "simplejpeg": lambda data: Image.fromarray(decode(data, "RGB")),
        "simplejpeg, inexact": lambda data: Image.fromarray(decode(data, "RGB", fastdct=True, fastupsample=True)),
    }


def with_torchvision(data: bytes) -> Image.Image:
    """Decode with torchvision's decoder, which 0.29 deprecates."""
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    pixels = torchvision_io.decode_jpeg(buffer, mode=torchvision_io.ImageReadMode.RGB)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def measure(
    candidates: Mapping[str, Callable[..., object]], inputs: Sequence[object], *, baseline: str, seconds: float
) -> dict[str, Mapping[str, float]]:
    """Time every candidate over all inputs, with the same random crops, and compare with the baseline."""

    def over_all(run: Callable[..., object]) -> Callable[[], None]:
        def call() -> None:
            torch.manual_seed(0)
            for item in inputs:
                run(item)

        return call

    times = interleave({name: over_all(run) for name, run in candidates.items()}, seconds=seconds)
    rows: dict[str, Mapping[str, float]] = {}
    for name, seconds_of_runs in times.items():
        per_second = round(len(inputs) / statistics.median(seconds_of_runs), 1)
        rows[name] = {"images_per_second": per_second, **asdict(compare_times(times[baseline], seconds_of_runs))}
        print(f"{name:24}{per_second:8.1f} images/s, {rows[name]['speedup']:.3f} times {baseline}", flush=True)
    return rows


def differences(encoded: Sequence[bytes]) -> dict[str, int]:
    """Return how far, in levels of 0..255, each decoder's pixels are from Pillow's at most."""
    pillow, *others = decoders().items()
    expected = [np.asarray(pillow[1](data), dtype=int) for data in encoded]
    return {
        name: max(
            int(np.abs(np.asarray(decode(data), dtype=int) - pixels).max())
            for data, pixels in zip(encoded, expected, strict=True)
        )
        for name, decode in others
    }


if __name__ == "__main__":
    main()
