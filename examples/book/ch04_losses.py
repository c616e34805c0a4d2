"""Losses over the probability that a net gives the right class: cross entropy punishes confident mistakes most."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from _picture import save

import nnfast as nf

RIGHT = np.eye(10)[2]  # class 2, one-hot


def rows(probability):
    """Return predictions that give this probability to the right class, and share the rest among the others."""
    p = np.atleast_1d(probability)[:, None]
    return np.where(RIGHT == 1, p, (1 - p) / 9)


def losses_of(function, probability):
    """Return the loss of each of these predictions."""
    return np.array([function(row, RIGHT) for row in rows(probability)])


p = np.linspace(0.01, 0.99, 99)
figure, (losses, slopes) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for name, color, dash in (("cross_entropy", 0, "-"), ("sum_squared_error", 3, "--"), ("mean_squared_error", 2, ":")):
    loss = partial(losses_of, getattr(nf.functions, name))
    print(f"{name}: {loss(0.6)[0]:.4f} where the right class has 0.6, {loss(0.1)[0]:.4f} where it has 0.1")
    style = {"color": nf.plotting.COLORS[color], "linestyle": dash, "linewidth": 2, "label": name}
    losses.plot(p, loss(p), **style)
    slopes.plot(p, -nf.numerical_diff(loss, p), **style)
losses.set(title="the loss", ylabel="loss")
slopes.set(title="how strongly it pulls to the right", ylabel="minus its slope", yscale="log")
for ax in (losses, slopes):
    ax.set_xlabel("probability given to the right class")
    ax.grid(color="0.92")
    ax.legend()
save(figure)
