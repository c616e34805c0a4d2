"""Batch normalization lets a deep net learn from initial weights that are otherwise far too small."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from _picture import load_images, options, save

import nnfast as nf

warnings.filterwarnings("ignore", "the training diverged")  # without normalization some do: the picture shows it
(x, y), _, name = load_images()
x, y = x[:1_000], y[:1_000]
epochs = 3 if options.small else 20
figure, panels = plt.subplots(2, 4, figsize=(12, 5), layout="constrained", sharex=True, sharey=True)
for ax, deviation in zip(panels.flat, np.logspace(0, -3.5, 8), strict=True):
    reached = []
    for norm, color, label in (([], 3, "without"), ([nf.BatchNorm()], 0, "with batch normalization")):
        hidden = [nf.Dense(100, initializer=deviation), *norm, nf.Activation("relu")]
        layers = [*hidden * 5, nf.Dense(10, "softmax", initializer=deviation)]
        net = nf.Sequential(layers, input_shape=x.shape[1], seed=0)
        history = net.fit(x, y, epochs=epochs, batch_size=100, optimizer=nf.SGD(0.01), verbose=0)
        ax.plot(range(1, epochs + 1), history["accuracy"], color=nf.plotting.COLORS[color], label=label)
        reached.append(history["accuracy"][-1])
    print(f"standard deviation {deviation:.5f}: {reached[0]:.1%} without, {reached[1]:.1%} with")
    ax.set(title=f"standard deviation {deviation:.2g}", ylim=(0, 1.05))
figure.supxlabel("epoch", fontsize="medium")
figure.supylabel(f"accuracy on 1,000 images of {name}", fontsize="medium")
figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
save(figure)
