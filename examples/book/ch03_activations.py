"""Step, sigmoid and relu, each with its slope: the step is flat, so nothing tells a net which way to learn."""

import matplotlib.pyplot as plt
from _picture import save

import nnfast as nf

figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
nf.plotting.plot_activations(["step", "sigmoid", "relu"], axes=panels)

x = [-2.0, -0.5, 0.0, 0.5, 2.0]
for name in ("step", "sigmoid", "relu"):
    print(f"{name}({x}) = {getattr(nf.functions, name)(x).round(3).tolist()}")
save(figure)
