"""The gradient of a bowl: at each point, the arrow opposite to it points downhill; the longer, the steeper."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import save

import nnfast as nf


def bowl(x):
    """Return the sum of squares."""
    return x[0] ** 2 + x[1] ** 2


for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
    print(f"gradient at {point}: {nf.numerical_gradient(bowl, point).round(6)}")

figure = plt.figure(figsize=(10, 4.4), layout="constrained")
surface = figure.add_subplot(1, 2, 1, projection="3d")
x0, x1 = np.meshgrid(*[np.linspace(-2, 2, 41)] * 2)
surface.plot_surface(x0, x1, bowl([x0, x1]), cmap="viridis", rcount=20, ccount=20)
surface.set(title="$f(x_0, x_1) = x_0^2 + x_1^2$", xlabel="$x_0$", ylabel="$x_1$", zlabel="$f$")
nf.plotting.plot_gradient_field(bowl, ax=figure.add_subplot(1, 2, 2))
save(figure)
