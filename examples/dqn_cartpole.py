"""Deep Q-learning: a network learns from trial and error to balance a pole on a cart.

The cart pole and its failure signal are those of Barto, Sutton and Anderson, "Neuronlike adaptive elements that can
solve difficult learning control problems" (1983), the method is that of Mnih et al., "Human-level control through deep
reinforcement learning" (2015), with a target network that follows slowly.
"""

import sys
from math import cos, radians, sin
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnfast as nf

sys.path.append(str(Path(__file__).with_name("book")))
from _picture import options, save

STEPS, BATCH, DISCOUNT, LIMIT = 8_000 if options.small else 20_000, 64, 0.98, 500
SCALE = np.array([0.4, 0.4, 5, 0.4])  # the network sees position, speed, angle and spin as numbers of order one


def move(state, action):
    """Push the cart to the left (0) or right (1) for 0.02 s; return the state, and whether it or the pole fails."""
    x, speed, angle, spin = state
    push = ((10 if action else -10) + 0.05 * spin**2 * sin(angle)) / 1.1
    turn = (9.8 * sin(angle) - cos(angle) * push) / (2 / 3 - 0.05 * cos(angle) ** 2 / 1.1)
    pull = push - 0.05 * turn * cos(angle) / 1.1
    state = np.array([x + 0.02 * speed, speed + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn])
    return state, abs(state[0]) > 2.4 or abs(state[2]) > radians(12)


rng, lengths, state = np.random.default_rng(0), [0], np.zeros(4)
net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(64, "relu"), nf.Dense(2)], input_shape=4, seed=0)
target, adam = net.copy(), nf.Adam(nf.schedules.Cosine(0.001, steps=STEPS))
before, after = np.empty((2, STEPS, 4), np.float32)  # the memory of all transitions
actions, failed = np.empty(STEPS, int), np.empty(STEPS, bool)
for i in range(STEPS):
    before[i], explores = SCALE * state, rng.random() < max(0.02, 1 - i / 4000)
    actions[i] = rng.integers(2) if explores else net.predict_one(before[i]).argmax()
    state, failed[i] = move(state, actions[i])
    after[i], lengths[-1] = SCALE * state, lengths[-1] + 1
    if failed[i] or lengths[-1] == LIMIT:
        state = rng.uniform(-0.05, 0.05, 4)
        lengths.append(0)
    rows = rng.integers(0, i + 1, BATCH)
    goals = DISCOUNT * target.predict(after[rows]).max(axis=1)
    goals[failed[rows]] = -1  # the only reward: the later it comes, the less it counts
    values = net.predict(before[rows])  # no error at the action that was not tried
    values[np.arange(BATCH), actions[rows]] = goals
    net.train_step(before[rows], values, adam)
    target.flat_params[:] += 0.01 * (net.flat_params - target.flat_params)

lengths = np.array(lengths[:-1])
first, last = lengths[:20].mean(), lengths[-20:].mean()
print(f"the pole stays up for {first:.0f} steps in the first 20 episodes, {last:.0f} in the last 20 of {len(lengths)}")
figure, (ax, field) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
ax.plot(range(1, len(lengths) + 1), lengths, ".", color=nf.plotting.COLORS[0])
ax.set(title="how long the pole stays up", xlabel="episode", ylabel="steps of 0.02 s")
angle, spin = np.meshgrid(np.linspace(-8, 8, 81), np.linspace(-80, 80, 81))
values = net.predict(SCALE * np.radians(np.stack([0 * angle, 0 * angle, angle, spin], axis=-1).reshape(-1, 4)))
better = (values[:, 1] - values[:, 0]).reshape(angle.shape)
drawn = field.pcolormesh(angle, spin, better, cmap="PuOr", vmin=-abs(better).max(), vmax=abs(better).max())
figure.colorbar(drawn, ax=field, label="value of a push to the right, minus left")
field.set(title="a cart at rest in the middle", xlabel="angle of the pole (°)", ylabel="its spin (°/s)")
save(figure)
