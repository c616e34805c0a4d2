"""The common form in which all loaders of labelled images return their data."""

from __future__ import annotations

import numpy as np

from nnfast._validation import check_bool


def check_options(**options: bool) -> None:
    """Raise TypeError unless each option is True or False: ``one_hot="False"`` would count as true."""
    for name, value in options.items():
        check_bool(name, value)


def arrange(
    images: np.ndarray, labels: np.ndarray, white: int, *, normalize: bool, flatten: bool, one_hot: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return `x, y` from uint8 `images` of shape (n, height, width), brightest at `white`, and `labels` from 0 to 9."""
    x = np.divide(images, white, dtype=np.float32) if normalize else images
    if flatten:
        x = x.reshape(len(x), -1)
    y = np.eye(10, dtype=np.float32)[labels] if one_hot else labels.astype(np.int64)
    return x, y
