"""Tell what is in a picture: `python3 predict.py photo.jpg`.

It needs parckit and the board's engine, but no torch. If the board's system is older than version 3.5, type --runtime
hobot_dnn. On a PC, --runtime onnxruntime runs the network that was not compiled.
"""

import argparse
from pathlib import Path

from parckit.runtimes import load


def main() -> None:
    """Print the answer for a picture. A classifier tells the five most probable classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--runtime", default="hbm_runtime")
    arguments = parser.parse_args()
    predictor = load(Path(__file__).parent / "bundle", runtime=arguments.runtime)
    if "top" in predictor.session.decoder.defaults:
        predictor = load(Path(__file__).parent / "bundle", runtime=arguments.runtime, top=5)
    print(predictor(arguments.picture))


if __name__ == "__main__":
    main()
