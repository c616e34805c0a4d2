"""Learning to read digits: loss and accuracy while a net of 50 hidden neurons learns from batches of 100 images."""

import matplotlib.pyplot as plt
from _picture import load_images, save

import nnfast as nf

(x, y), test, name = load_images()
net = nf.Sequential([nf.Dense(50, "sigmoid"), nf.Dense(10, "softmax")], input_shape=x.shape[1], seed=0)
net.summary()
sgd = nf.SGD(learning_rate=0.1)
history = net.fit(x, y, epochs=17, batch_size=100, optimizer=sgd, validation_data=test)
print(f"{name}: it reads {net.accuracy(x, y):.1%} of the images it learned from, {net.accuracy(*test):.1%} of others")

figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
history.plot(panels)
figure.suptitle(f"{name}: {x.shape[1]}-50-10, sigmoid")
save(figure)
