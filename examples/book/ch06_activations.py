"""How large initial weights should be: the outputs of five layers, for weights of four sizes."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import options, save

import nnfast as nf

x = np.random.default_rng(0).standard_normal((100 if options.small else 1_000, 100))
sizes = {"standard deviation 1": 1.0, "standard deviation 0.01": 0.01, "Xavier": "glorot_normal", "He": "he_normal"}

figure = plt.figure(figsize=(12, 6.4), layout="constrained")
parts = figure.subfigures(1, 2, wspace=0.05)
for part, activation, end, top in zip(parts, ("sigmoid", "relu"), (1, 3), (None, 0.15), strict=True):
    for row, (label, size) in zip(part.subfigures(4, 1), sizes.items(), strict=True):
        layers = [nf.Dense(100, activation, initializer=size) for _ in range(5)]
        net = nf.Sequential(layers, input_shape=100, seed=0)
        row.suptitle(f"{label}: outputs of five layers of {activation}", fontsize="medium")
        panels = nf.plotting.plot_activation_histograms(net, x, limits=(0, end), axes=row.subplots(1, 5))
        for ax in panels:
            ax.set(title="", ylabel="", yticks=[], ylim=(0, top), xlabel=ax.get_xlabel().split(", ")[1])
        print(f"{activation}, {label}: in the last layer {panels[-1].get_xlabel()}")
save(figure)
