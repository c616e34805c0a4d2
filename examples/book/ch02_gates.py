"""Logic gates, one neuron each: another bias turns AND into OR, and other signs turn AND into NAND."""

import matplotlib.pyplot as plt
from _picture import save

import nnfast as nf

inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
gates = {"AND": nf.perceptron.AND, "NAND": nf.perceptron.NAND, "OR": nf.perceptron.OR}

print("x1 x2 ", *gates)
for x1, x2 in inputs:
    print(f"{x1:2} {x2:2} ", *(f"{gate(x1, x2):{len(name)}}" for name, gate in gates.items()))

figure, panels = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
for ax, (name, gate) in zip(panels, gates.items(), strict=True):
    nf.plotting.plot_decision_boundary(gate, inputs, gate(inputs), margin=0.4, ax=ax)
    w1, w2 = gate.weights
    ax.set(title=f"{name}: ${w1:g} x_1 {w2:+g} x_2 {gate.bias:+g} > 0$", xticks=[0, 1], yticks=[0, 1])
    points_and_line = ax.get_legend_handles_labels()[0]
    ax.get_legend().remove()  # one for all, below
labels = ["silent: 0", "fires: 1", "the line between"]
figure.legend(points_and_line, labels, loc="outside lower center", ncols=3, frameon=False)
save(figure)
