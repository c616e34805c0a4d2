"""Gradient descent with three learning rates: a good one arrives, a small one hardly moves, a large one diverges."""

import matplotlib.pyplot as plt
from _picture import save

import nnfast as nf


def bowl(x):
    """Return the sum of squares."""
    return x[0] ** 2 + x[1] ** 2


figure, panels = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
for ax, learning_rate in zip(panels, (0.1, 0.001, 1.05), strict=True):
    descent = nf.gradient_descent(bowl, [-3.0, 4.0], learning_rate=learning_rate, steps=30)
    print(f"learning rate {learning_rate:g}: {descent}")
    nf.plotting.plot_descent(bowl, descent, low=(-8, -8), high=(8, 8), ax=ax)
    ax.set_title(f"learning rate {learning_rate:g}: $f$ ends at {descent.fun:,.4g}")
    ax.set_aspect("equal")
save(figure)
