"""Four optimizers in a long valley: SGD zigzags, Momentum rolls, AdaGrad and Adam see that one axis is flatter."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import save

import nnfast as nf


def valley(x, y):
    """Return the height of a valley that is steep across and nearly flat along."""
    return x**2 / 20 + y**2


def walk(optimizer, steps=30):
    """Return the points on the way down from (-7, 2).

    The point is the weights of a layer: its outputs for the identity matrix are the weights, with the same gradient.
    """
    net = nf.Sequential([nf.Dense(1, use_bias=False, initializer=[[-7.0], [2.0]])], input_shape=2)
    points = [net.params["W1"].ravel().copy()]
    for _ in range(steps):
        x, y = net.forward(np.eye(2), training=True).ravel()
        net.backward([[x / 10], [2 * y]])
        net.update(optimizer)
        points.append(net.params["W1"].ravel().copy())
    return np.array(points)


across, up = np.linspace(-8, 8, 161), np.linspace(-3, 3, 121)
figure, panels = plt.subplots(2, 2, figsize=(10, 5.6), layout="constrained", sharex=True, sharey=True)
optimizers = nf.SGD(0.95), nf.SGD(0.1, momentum=0.9), nf.Adagrad(1.5), nf.Adam(0.3)
for ax, optimizer, name in zip(panels.flat, optimizers, ("SGD", "Momentum", "AdaGrad", "Adam"), strict=True):
    path = walk(optimizer)
    print(f"{name:9} after 30 steps: height {valley(*path[-1]):.2g}")
    ax.contour(across, up, valley(*np.meshgrid(across, up)), levels=9, cmap="Greys_r", linewidths=0.6)
    ax.plot(*path.T, "o-", color=nf.plotting.COLORS[0], markersize=4, linewidth=1.2)
    ax.set(title=f"{name}: {optimizer!r}", xlim=(-8, 8), ylim=(-3, 3))
save(figure)
