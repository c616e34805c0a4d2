"""The order in which an epoch visits the samples."""

from __future__ import annotations

import numpy as np


def shuffle(order: np.ndarray, bit_generator: np.random.BitGenerator) -> None:
    """Shuffle `order` in place (Fisher and Yates; Durstenfeld 1964), with the generator's raw 64 bits for each draw.

    The draw below i + 1 is the high half of a 128-bit product (Lemire 2019), without the rejection step: the bias is
    below 2**-32 for arrays that fit in memory.
    """
    for i in range(len(order) - 1, 0, -1):
        j = (int(bit_generator.random_raw()) * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
