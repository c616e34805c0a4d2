"""Reading handwritten digits, one by one and in batches: the same answers, and faster the more rows a call takes."""

from time import perf_counter

import matplotlib.pyplot as plt
from _picture import load_images, save

import nnfast as nf


def microseconds(batch_size):
    """Return the time per image, the best of five rounds over all images."""
    times = []
    for _ in range(5):
        start = perf_counter()
        for first in range(0, len(x_test), batch_size):
            net.predict(x_test[first : first + batch_size])
        times.append(perf_counter() - start)
    return 1e6 * min(times) / len(x_test)


(x, y), (x_test, y_test), name = load_images()
net = nf.Sequential([nf.Dense(50, "sigmoid"), nf.Dense(10, "softmax")], seed=0)
net.fit(x, y, epochs=5, batch_size=100, optimizer=nf.Adam(0.01))
print(f"{net.accuracy(x_test, y_test):.1%} of {len(x_test):,} unseen images of {name} are read correctly")
times = {size: microseconds(size) for size in (1, 10, 100, len(x_test))}
for size, time in times.items():
    print(f"{size:6,} at once: {time:6.2f} µs per image, {times[1] / time:4.1f} times as fast as one by one")

figure, (images, bars) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=(3, 2))
side = round(x.shape[1] ** 0.5)
images.imshow(x_test[:10].reshape(2, 5, side, side).swapaxes(1, 2).reshape(2 * side, 5 * side), cmap="Greys")
for i, digit in enumerate(net.predict_class(x_test[:10])):
    images.text(i % 5 * side, i // 5 * side, str(digit), color=nf.plotting.COLORS[3], fontsize="xx-large", va="top")
images.set(title=f"{name}, and what each is read as", xticks=[], yticks=[])
drawn = bars.bar([f"{size:,}" for size in times], times.values(), color=nf.plotting.COLORS[0])
bars.bar_label(drawn, [f"{times[1] / time:.1f} x" for time in times.values()])
bars.set(title="time for an image, and how much faster", xlabel="images at once", ylabel="µs", ymargin=0.12)
save(figure)
