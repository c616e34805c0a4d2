"""The gradient of a net of six weights, and one step against it: the right class becomes more probable."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import save

import nnfast as nf

x, target = np.array([[0.6, 0.9]]), [2]  # one sample, and its class
net = nf.Sequential([nf.Dense(3, "softmax", initializer="he_normal")], input_shape=2, dtype="float64", seed=1)
weights = net.params["W1"]  # a view: what changes it changes the net
gradient = nf.numerical_gradient(lambda _: net.loss(x, target), weights)
before, loss = net.predict(x)[0], net.loss(x, target)
shown = {"weights $W$": weights.copy(), "gradient of the loss": gradient}

weights -= 0.5 * gradient
after = net.predict(x)[0]
print(f"numerical gradient:\n{gradient.round(4)}\nloss: {loss:.4f}, and {net.loss(x, target):.4f} after one step")

figure, (*maps, bars) = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained", width_ratios=(3, 3, 4))
for ax, (title, matrix) in zip(maps, shown.items(), strict=True):
    ax.imshow(matrix, cmap="PuOr", vmin=-1.5, vmax=1.5)
    for (i, j), value in np.ndenumerate(matrix):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 1 else "black")
    ax.set(title=title, xlabel="class", xticks=range(3), ylabel="input", yticks=range(2))
classes = np.arange(3)
bars.bar(classes - 0.2, before, 0.4, color=nf.plotting.COLORS[5], label="before")
bars.bar(classes + 0.2, after, 0.4, color=nf.plotting.COLORS[0], label="after one step")
bars.set(title="class 2 is right", xlabel="class", xticks=classes, ylabel="probability", ylim=(0, 1))
bars.legend()
save(figure)
