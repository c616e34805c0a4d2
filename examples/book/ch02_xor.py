"""What one line cannot do: no neuron gets more than three of XOR's four points right; two and a third neuron can."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from _picture import options, save

import nnfast as nf
from nnfast.perceptron import NAND, OR, XOR

inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
targets = XOR(inputs)

with warnings.catch_warnings(action="ignore"):  # it warns of what this shows: learning cannot succeed
    neuron = nf.Perceptron(np.zeros(2)).fit(inputs, targets)
print(f"Can any line separate the ones of XOR from its zeros? {neuron.linearly_separable_}")

n_lines = 1_000 if options.small else 100_000
lines = np.random.default_rng(0).uniform(-1, 1, (n_lines, 3))  # two weights and a bias
right = ((lines[:, :2] @ inputs.T + lines[:, 2:] > 0) == targets).sum(axis=1)
share = 100 * np.bincount(right, minlength=5) / n_lines
print(f"Of {n_lines:,} random lines {share[3]:.1f}% get three points right, and {share[4]:.1f}% all four.")

figure, (bars, one, two) = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
bars.bar_label(bars.bar(range(5), share, color=nf.plotting.COLORS[5]), fmt="%.1f")
bars.set(title=f"{n_lines:,} random lines", xlabel="points right", ylabel="lines (%)", ymargin=0.12)
for ax, gate, title in ((one, OR, "one line, OR: 3 of 4 right"), (two, XOR, "AND of two lines: 4 of 4 right")):
    nf.plotting.plot_decision_boundary(gate, inputs, targets, margin=0.4, ax=ax)
    ax.set(title=title, xticks=[0, 1], yticks=[0, 1])
    ax.get_legend().remove()  # one for both, below
for name, gate, dash in (("NAND", NAND, "--"), ("OR", OR, "-")):
    (w1, w2), bias = gate.weights, gate.bias
    two.axline((0, -bias / w2), slope=-w1 / w2, color="black", linestyle=dash, linewidth=2.2, label=f"line of {name}")
figure.legend(*two.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
save(figure)
