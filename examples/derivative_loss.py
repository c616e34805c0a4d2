"""A loss that contains the network's derivative: it learns the solution of u' = -2 x u, u(0) = 1 from the equation.

Lagaris, Likas, Fotiadis, "Artificial neural networks for solving ordinary and partial differential equations" (1998).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnfast as nf

sys.path.append(str(Path(__file__).with_name("book")))
from _picture import options, save

x, h, steps = np.linspace(-2, 2, 101)[:, None], 1e-3, 1000 if options.small else 4000
points = np.concatenate([x - h, x + h, x, [[0.0]]])  # for the slope, for u, and for u(0)
net = nf.Sequential([nf.Dense(32, "tanh"), nf.Dense(32, "tanh"), nf.Dense(1)], input_shape=1, dtype="float64", seed=0)
adam, losses = nf.Adam(nf.schedules.Cosine(0.01, steps=steps)), []
for _ in range(steps):
    left, right, u, start = np.split(net.forward(points, training=True), [101, 202, 303])
    wrong = (right - left) / (2 * h) + 2 * x * u  # zero for a solution
    losses.append(np.mean(wrong**2) + (start[0, 0] - 1) ** 2)
    slope = 2 * wrong / len(x)  # of the loss, for each number in `wrong`: the rest is the chain rule
    net.backward(np.concatenate([-slope / (2 * h), slope / (2 * h), 2 * x * slope, 2 * (start - 1)]))
    net.update(adam)

solution, found = np.exp(-(x**2)), net.predict(x)
slope, found_slope = -2 * x * solution, net.jacobian(x)[:, :, 0]
print(f"largest error {abs(found - solution).max():.1e}, of the derivative {abs(found_slope - slope).max():.1e}")
figure, (ax, curve) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
ax.plot(x, np.hstack([solution, slope]), color="0.7", linewidth=5, label=["$u$, solution", "$u'$, solution"])
ax.plot(x, np.hstack([found, found_slope]), color="black", linewidth=1, label=["$u$, network", "$u'$, network"])
ax.set(title="$u' = -2 x u$, $u(0) = 1$", xlabel="$x$")
ax.legend(fontsize="small")
curve.semilogy(losses, color=nf.plotting.COLORS[0], linewidth=0.8)
curve.set(title="mean of $(u' + 2 x u)^2$, plus $(u(0) - 1)^2$", xlabel="step", ylabel="loss")
save(figure)
