"""Looking for hyperparameters: random pairs on a logarithmic scale, each judged on held-out images."""

import matplotlib.pyplot as plt
import numpy as np
from _picture import load_images, options, save

import nnfast as nf

(x, y), _, name = load_images()
train, held_out = (x[:400], y[:400]), (x[400:500], y[400:500])
rng = np.random.default_rng(0)
trials, epochs = (6, 2) if options.small else (100, 30)
rates, decays = 10 ** rng.uniform(-4, 0, trials), 10 ** rng.uniform(-6, 0, trials)
curves = []
for learning_rate, decay in zip(rates, decays, strict=True):
    layers = [*(nf.Dense(100, "relu") for _ in range(3)), nf.Dense(10, "softmax")]
    net = nf.Sequential(layers, input_shape=x.shape[1], seed=0)
    sgd = nf.SGD(learning_rate, weight_decay=decay)
    history = net.fit(*train, epochs=epochs, batch_size=100, optimizer=sgd, validation_data=held_out, verbose=0)
    curves.append(history["val_accuracy"])
last = np.array([curve[-1] for curve in curves])
best = np.argsort(-last, kind="stable")[:5]

figure, (field, ax) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
points = field.scatter(rates, decays, c=last, cmap="viridis", edgecolor="0.3", linewidth=0.5)
figure.colorbar(points, ax=field, label="accuracy on held out images")
field.set(title=f"{trials} trials", xlabel="learning rate", ylabel="weight decay", xscale="log", yscale="log")
for i, color in zip(best, (0, 1, 2, 3, 4), strict=True):
    told = f"rate {rates[i]:.3g}, decay {decays[i]:.1e}"
    print(f"{told}: {last[i]:.1%} of {len(held_out[0])} held-out images")
    ax.plot(range(1, epochs + 1), curves[i], color=nf.plotting.COLORS[color], label=told)
ax.set(title=f"the best five, {name}", xlabel="epoch", ylabel="accuracy on held out images")
ax.legend(fontsize="small")
save(figure)
