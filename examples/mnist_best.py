"""The best dense network for MNIST in a minute, with everything that nnfast offers.

Batch normalization, dropout, label smoothing, momentum, one cycle of the learning rate, and images shifted by at most
a pixel, anew in each epoch.
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import nnfast as nf

EPOCHS, BATCH = 15, 256
RATE, DECAY, DROPOUT, SMOOTHING = 0.2, 5e-4, 0.2, 0.1


def shifted(images, rng):
    """Return images, of shape (n, pixels), each moved by -1, 0 or 1 pixels in both directions."""
    side = round(images.shape[1] ** 0.5)
    padded = np.pad(images.reshape(-1, side, side), [(0, 0), (1, 1), (1, 1)])
    out, places = np.empty((len(images), side, side), images.dtype), rng.integers(0, 9, len(images))
    for place in range(9):
        rows, (down, right) = np.flatnonzero(places == place), divmod(place, 3)
        out[rows] = padded[rows, down : down + side, right : right + side]
    return out.reshape(images.shape)


def network(n_in, seed):
    """Return the untrained network."""
    hidden = [nf.Dense(512, use_bias=False), nf.BatchNorm(), nf.Activation("relu"), nf.Dropout(DROPOUT)]
    loss = nf.losses.CrossEntropy(label_smoothing=SMOOTHING)
    return nf.Sequential([*hidden * 2, nf.Dense(10, "softmax")], input_shape=n_in, loss=loss, seed=seed)


def train(net, x, y, seed, epochs=EPOCHS, after=None):
    """Train the network; call `after` after each epoch."""
    cycle = nf.schedules.OneCycle(RATE, steps=epochs * -(-len(x) // BATCH))
    sgd = nf.SGD(cycle, momentum=0.9, nesterov=True, weight_decay=DECAY)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        net.fit(shifted(x, rng), y, batch_size=BATCH, optimizer=sgd, verbose=0)
        if after:
            after()


def main():
    """Train the network three times, print its accuracy on unseen images, and show some that it reads wrongly."""
    sys.path.append(str(Path(__file__).with_name("book")))
    import matplotlib.pyplot as plt
    from _picture import load_images, options, save

    (x, y), (x_test, y_test), name = load_images()
    epochs, accuracies = 2 if options.small else EPOCHS, []
    for seed in range(1 if options.small else 3):
        net, start = network(x.shape[1], seed), perf_counter()
        train(net, x, y, seed, epochs)
        seconds = perf_counter() - start
        accuracies.append(net.accuracy(x_test, y_test))
        told = f"{accuracies[-1]:.2%} of {len(x_test):,} unseen images read correctly, after {seconds:.1f} s"
        print(f"{name}, seed {seed}, {nf.get_num_threads()} threads: {told}", flush=True)
    print(f"median: {np.median(accuracies):.2%}")

    probabilities = net.predict(x_test)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y_test)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:24]
    figure, panels = plt.subplots(2, 12, figsize=(10, 2.6), layout="constrained")
    side = round(x.shape[1] ** 0.5)
    for ax in panels.flat:
        ax.axis("off")
    for ax, i in zip(panels.flat, surest, strict=False):
        ax.imshow(x_test[i].reshape(side, side), cmap="Greys")
        ax.set_title(f"{y_test[i]}, not {probabilities[i].argmax()}", fontsize="small")
    figure.suptitle(f"{name}: {len(wrong)} of {len(x_test):,} are read wrongly; those it is surest of")
    save(figure)


if __name__ == "__main__":
    main()
