"""A derivative is the slope of the tangent; differences give it nearly exactly, if h is neither large nor tiny."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import save

import nnfast as nf

x = np.linspace(0, 7, 200)
sizes = np.logspace(-15, 0, 46)
figure, (curve, errors) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")

curve.plot(x, np.sin(x), color="black", linewidth=2, label="sin(x)")
for at, color, dash in ((1.0, 0, "-"), (2.5, 3, "--"), (5.0, 2, "-.")):
    slope = nf.numerical_diff(np.sin, at)
    near = np.array([at - 1, at + 1])
    style = {"color": nf.plotting.COLORS[color], "linestyle": dash}
    curve.plot(near, np.sin(at) + slope * (near - at), **style, label=f"at {at:g}: slope {slope:.2f}")
    curve.plot(at, np.sin(at), "o", color=style["color"])
    print(f"slope of sin at {at:g}: {slope:.10f} from differences, {np.cos(at):.10f} from the formula")
curve.set(title="tangents by nf.numerical_diff", xlabel="$x$", ylabel="$f(x)$", ylim=(-1.5, 2.2))
curve.legend(loc="upper right", ncols=2, fontsize="small")

forward = [(np.sin(1 + h) - np.sin(1)) / h for h in sizes]
central = [nf.numerical_diff(np.sin, 1.0, h) for h in sizes]
errors.loglog(sizes, np.abs(forward - np.cos(1)), "s-", color=nf.plotting.COLORS[1], markersize=3, label="forward")
errors.loglog(sizes, np.abs(central - np.cos(1)), "o-", color=nf.plotting.COLORS[0], markersize=3, label="central")
errors.axvline(1e-4, color="0.5", linestyle=":", label="$h = 10^{-4}$")
errors.set(title="error of the slope at 1", xlabel="$h$", ylabel="error")
errors.legend()
save(figure)
