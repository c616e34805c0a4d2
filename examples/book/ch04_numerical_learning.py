"""Learning by numerical gradients and by backpropagation: the same curve, at quite another price."""

from time import perf_counter

import matplotlib.pyplot as plt
from _picture import load_images, options, save

import nnfast as nf

(x, y), _, name = load_images()
x, y = x[:1000], y[:1000]
figure, (curves, bars) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=(2, 1))
n_steps = 10 if options.small else 200
times = {}
for gradient, color, style in (("backpropagation", 0, {"linewidth": 4}), ("numerical", 1, {"linestyle": "--"})):
    layers = [nf.Dense(50, "sigmoid"), nf.Dense(10, "softmax")]
    net = nf.Sequential(layers, input_shape=x.shape[1], dtype="float64", seed=0)  # the same initial weights each time
    start = perf_counter()
    history = net.fit(x, y, steps=n_steps, batch_size=100, optimizer=nf.SGD(learning_rate=0.5), gradient=gradient)
    times[gradient] = 1e3 * (perf_counter() - start) / n_steps
    print(f"{gradient}: loss {history.step_loss[-1]:.10f}, {times[gradient]:.3g} ms a step")
    curves.plot(history.step_loss, color=nf.plotting.COLORS[color], label=gradient, **style)
ratio = times["numerical"] / times["backpropagation"]
curves.set(title=f"{len(x):,} images of {name}", xlabel="iteration", ylabel="loss")
curves.legend()
drawn = bars.bar(times.keys(), times.values(), color=nf.plotting.COLORS[:2])
bars.bar_label(drawn, [f"{time:.3g} ms" for time in times.values()])
bars.set(title=f"a step takes {ratio:,.0f} times as long", ylabel="ms", ymargin=0.12)
save(figure)
