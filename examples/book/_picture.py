"""What the scripts in this folder share: their command line, their data, and where they save the picture."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

import nnfast as nf

rcParams.update({"figure.constrained_layout.w_pad": 0.1, "figure.constrained_layout.h_pad": 0.1})  # inches

SCRIPT = Path(sys.argv[0])
Data = tuple[np.ndarray, np.ndarray]

parser = argparse.ArgumentParser(description=getattr(sys.modules["__main__"], "__doc__", None))
parser.add_argument("--small", action="store_true", help="use little data, to take a second or so")
parser.add_argument("--out", type=Path, default=SCRIPT.resolve().with_name("pictures"), metavar="FOLDER")
options = parser.parse_args()


def load_images() -> tuple[Data, Data, str]:
    """Return images to train on, images to test with, and their name: MNIST, or nnfast's small digits."""
    if not options.small:
        try:
            return *nf.datasets.load_mnist(), "MNIST"
        except (ImportError, OSError) as error:  # without pooch to download it, or without a connection
            print(f"MNIST is not here, so this uses digits of 8 x 8 pixels. {error}", file=sys.stderr)
    x, y = nf.datasets.load_digits()
    return (x[300:], y[300:]), (x[:300], y[:300]), "8 x 8 digits"


def save(figure: Figure) -> None:
    """Save the picture under the script's name, with a palette of 128 colours, which makes it a third of the size."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{SCRIPT.stem}.png"
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"picture: {path}")
