"""Overfitting: a large net memorizes 300 images. A little weight decay helps with others; too much hinders."""

import matplotlib.pyplot as plt
from _picture import load_images, options, save

import nnfast as nf

(x, y), (x_test, y_test), name = load_images()
x, y, others = x[:300], y[:300], (x_test[::5], y_test[::5])
epochs = 5 if options.small else 150
figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", sharey=True)
for ax, decay in zip(panels, (0.0, 0.01, 0.1), strict=True):
    layers = [*(nf.Dense(100, "relu") for _ in range(6)), nf.Dense(10, "softmax")]
    net = nf.Sequential(layers, input_shape=x.shape[1], seed=0)
    sgd = nf.SGD(0.05, weight_decay=decay, decay_biases=False)
    history = net.fit(x, y, epochs=epochs, batch_size=100, optimizer=sgd, validation_data=others, verbose=0)
    learned, unseen = net.accuracy(x, y), net.accuracy(x_test, y_test)
    print(f"weight decay {decay:g}: {learned:.1%} of the images it learned from, {unseen:.1%} of others")
    for key, label, color in (("accuracy", "learned from", 0), ("val_accuracy", "others", 3)):
        ax.plot(range(1, epochs + 1), history[key], color=nf.plotting.COLORS[color], label=label)
    ax.set(title=f"decay {decay:g}: in the end {learned:.1%} and {unseen:.1%}", xlabel="epoch", ylim=(0, 1.05))
    ax.grid(color="0.92")
panels[0].set_ylabel("accuracy")
panels[0].legend(loc="lower right")
figure.suptitle(f"{name}: 300 images, six hidden layers of 100")
save(figure)
