"""The 8x8 digits that come with the package.

digits.npz holds the rows of UCI's optdigits.tes in order, without loss: `images`, uint8 (1797, 8, 8), and `labels`,
uint8 (1797,). It was written by `np.savez_compressed`; NOTICE has the credit and the licence.
"""

from __future__ import annotations

import os

import numpy as np

from nnfast.datasets._images import arrange, check_options


def load_digits(normalize: bool = True, flatten: bool = True, one_hot: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the 1,797 handwritten digits of 8x8 pixels that come with nnfast.

    They are the test part of "Optical Recognition of Handwritten Digits" [1]_, written by 13 people: between 174 and
    183 images of each digit. No file outside the package is read.

    Parameters
    ----------
    normalize : bool
        Scale the pixels to [0, 1]; otherwise they are counts from 0 (paper) to 16 (ink).
    flatten : bool
        Make each image a row of 64 pixels, top row first; otherwise it stays 8x8.
    one_hot : bool
        Return each label as a row with a one in the column of its digit.

    Returns
    -------
    x : numpy.ndarray
        The images, shape (1797, 64) or (1797, 8, 8); float32 if normalized, else uint8.
    y : numpy.ndarray
        The digits 0 to 9: int64 of shape (1797,), or float32 of shape (1797, 10) if one-hot.

    Raises
    ------
    TypeError
        If an option is neither True nor False.

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
       https://doi.org/10.24432/C50P49. Licence of the data: CC BY 4.0.

    Examples
    --------
    >>> from nnfast.datasets import load_digits
    >>> x, y = load_digits()
    >>> x.shape, x.dtype, x.max()
    ((1797, 64), dtype('float32'), np.float32(1.0))
    >>> y[:5]
    array([0, 1, 2, 3, 4])
    """
    check_options(normalize=normalize, flatten=flatten, one_hot=one_hot)
    with np.load(os.path.join(os.path.dirname(__file__), "digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return arrange(images, labels, 16, normalize=normalize, flatten=flatten, one_hot=one_hot)
