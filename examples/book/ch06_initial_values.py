"""What initial weights do: if they are too small, all neurons give the same output and a deep net does not learn."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import load_images, options, save

import nnfast as nf

(x, y), _, name = load_images()
steps = 100 if options.small else 2_000
noise = np.random.default_rng(0).standard_normal((1_000, 100))
initializers = {"standard deviation 0.01": 0.01, "Glorot": "glorot_normal", "He": "he_normal"}

figure = plt.figure(figsize=(12, 5.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(7, 4))
curves, rows = right.subplots(), left.subfigures(3, 1)
for row, color, (label, initializer) in zip(rows, (3, 0, 2), initializers.items(), strict=True):
    out = noise
    row.suptitle(f"{label}: what five layers of sigmoid say", fontsize="medium")
    for i, ax in enumerate(row.subplots(1, 5, sharey=True)):
        layer = nf.Sequential([nf.Dense(100, "sigmoid", initializer=initializer)], input_shape=100, seed=i)
        out = layer.predict(out)
        ax.hist(out.ravel(), 30, range=(0, 1), color=nf.plotting.COLORS[color])
        ax.set(xticks=[0, 0.5, 1], yticks=[])

    hidden = [nf.Dense(100, "relu", initializer=initializer) for _ in range(5)]
    output = nf.Dense(10, "softmax", initializer=initializer)
    net = nf.Sequential([*hidden, output], input_shape=x.shape[1], seed=0)
    loss = net.fit(x, y, steps=steps, batch_size=128, optimizer=nf.SGD(0.01), verbose=0).step_loss
    smooth = np.convolve(loss, np.ones(20) / 20, "valid")
    curves.plot(smooth, color=nf.plotting.COLORS[color], label=label)
    print(f"{label}: deviation {out.std():.3f} after five layers of sigmoid; with relu, final loss {smooth[-1]:.3f}")
curves.set(title=f"{name}: five layers of relu", xlabel="iteration", ylabel="loss, mean of 20")
curves.legend()
save(figure)
