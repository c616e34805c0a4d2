"""Is a gradient right? Backpropagation compared with differences; then the same with two planted mistakes."""

import matplotlib.pyplot as plt
from _picture import save

import nnfast as nf

x, y = nf.datasets.load_digits()
x, y = x[:100], y[:100]
net = nf.Sequential([nf.Dense(20, "sigmoid"), nf.Dense(10, "softmax")], input_shape=64, seed=0)
mistaken = dict(net.gradient(x, y))
mistaken["b1"] *= 2  # somebody forgot to halve
mistaken["W2"][:, 3] *= -1  # and got a sign wrong

figure = plt.figure(figsize=(12, 6), layout="constrained")
upper, lower = figure.subfigures(2, 1)
for part, gradient, title in ((upper, None, "backpropagation"), (lower, mistaken, "with two mistakes in it")):
    report = net.check_gradient(x, y, gradient=gradient)
    print(report, end="\n\n")
    report.plot(part.subplots(1, 4))
    part.suptitle(title)
save(figure)
