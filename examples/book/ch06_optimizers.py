"""Four optimizers teach the same net to read digits: the others are all faster than plain SGD."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import load_images, options, save

import nnfast as nf

(x, y), test, name = load_images()
steps = 100 if options.small else 2_000
optimizers = {
    "SGD": nf.SGD(0.01),
    "Momentum": nf.SGD(0.01, momentum=0.9),
    "AdaGrad": nf.Adagrad(0.01),
    "Adam": nf.Adam(0.001),
}
figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for i, (optimizer_name, optimizer) in enumerate(optimizers.items()):
    layers = [*(nf.Dense(100, "relu") for _ in range(5)), nf.Dense(10, "softmax")]
    net = nf.Sequential(layers, input_shape=x.shape[1], seed=0)  # the same initial weights each time
    history = net.fit(x, y, steps=steps, batch_size=128, optimizer=optimizer, verbose=0)
    width = max(1, steps // 40)
    smooth = np.convolve(history.step_loss, np.ones(width) / width, "valid")
    ax.plot(np.arange(width, steps + 1), smooth, color=nf.plotting.COLORS[i], label=repr(optimizer))
    print(f"{optimizer_name:9} loss {smooth[-1]:.4f} after {steps:,} steps, {net.accuracy(*test):.1%} of others right")
ax.set(title=f"{name}: five hidden layers of 100", xlabel="iteration", ylabel=f"loss, mean of {width}", yscale="log")
ax.grid(color="0.92")
ax.legend()
save(figure)
