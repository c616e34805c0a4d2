"""A network that learns how to hold a pendulum up: the torque for its sine, cosine and speed."""

import numpy as np

import nnfast as nf


def trained() -> nf.Sequential:
    """Return the network, taught by a rule: push against the fall and against the speed, within limits."""
    rng = np.random.default_rng(0)
    angle, speed = rng.uniform(-1, 1, 5000), rng.normal(0, 2, 5000)  # 0 is upright
    x = np.stack([np.sin(angle), np.cos(angle), speed], axis=1)
    torque = np.clip(-25 * np.sin(angle) - 5 * speed, -20, 20)
    net = nf.Sequential([nf.Dense(32, "tanh"), nf.Dense(32, "tanh"), nf.Dense(1)], input_shape=3, seed=0)
    net.fit(x, torque[:, None], epochs=30, batch_size=50, optimizer=nf.Adam(3e-3), verbose=0)
    return net


def fallen(n: int) -> np.ndarray:
    """Return the angles and speeds of pendulums that have begun to fall."""
    return np.random.default_rng(1).uniform(-0.6, 0.6, (n, 2))
