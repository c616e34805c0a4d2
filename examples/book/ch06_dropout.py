"""Dropout against overfitting: in training, random neurons are silent, so that none can rely on another."""

import matplotlib.pyplot as plt
from _picture import load_images, options, save

import nnfast as nf

(x, y), (x_test, y_test), name = load_images()
x, y, others = x[:300], y[:300], (x_test[::5], y_test[::5])
epochs = 5 if options.small else 150
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
for ax, rate in zip(panels, (0.0, 0.2), strict=True):
    hidden = [nf.Dense(200, "relu"), nf.Dropout(rate)] if rate else [nf.Dense(200, "relu")]
    net = nf.Sequential([*hidden * 3, nf.Dense(10, "softmax")], input_shape=x.shape[1], seed=0)
    sgd = nf.SGD(0.05)
    history = net.fit(x, y, epochs=epochs, batch_size=100, optimizer=sgd, validation_data=others, verbose=0)
    learned, unseen = net.accuracy(x, y), net.accuracy(x_test, y_test)
    print(f"dropout {rate:g}: {learned:.1%} of the images it learned from, {unseen:.1%} of others")
    for key, label, color in (("accuracy", "while learning", 0), ("val_accuracy", "others", 3)):
        ax.plot(range(1, epochs + 1), history[key], color=nf.plotting.COLORS[color], label=label)
    ax.set(title=f"dropout {rate:g}: in the end {learned:.1%} and {unseen:.1%}", xlabel="epoch", ylim=(0, 1.05))
    ax.grid(color="0.92")
panels[0].set_ylabel("accuracy")
panels[0].legend(loc="lower right")
figure.suptitle(f"{name}: 300 images, three hidden layers of 200")
save(figure)
