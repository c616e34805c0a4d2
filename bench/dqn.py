"""An update of a deep Q-network beside the same in PyTorch and JAX."""

from __future__ import annotations

from importlib.util import find_spec
from timeit import Timer
from typing import Any

import numpy as np

from bench.data import Parameters, initial_parameters
from bench.inference import time_calls
from bench.peers import with_torch
from bench.race import ratios, spread
from bench.workloads import TINY

# Mnih et al., "Human-level control through deep reinforcement learning" (2015)
ROWS, DISCOUNT, LEARNING_RATE = 64, 0.99, 1e-5
STEPS = 20  # after which all must have the same weights
TOLERANCE = 1e-5  # of weights, which have moved by up to 2e-4; epsilon of Adam counts more for half the gradient


def compare_dqn(rounds: int, threads: int) -> dict[str, Any]:
    """Return the time of an update with each library; a ratio is its time divided by that of nnfast's quickest way.

    Each takes the batch as it likes it best: nnfast as NumPy arrays, the peers as tensors and arrays of their own,
    whose conversion is not measured.
    """
    import nnfast as nf

    batch, parameters = transitions(), initial_parameters(TINY)
    makers: dict[str, Any] = {"nnfast": NNFastDQN, "nnfast, backward": NNFastDQNBackward}
    absent = {}
    others = (
        ("nnfast, own loss", "numba", NNFastDQNOwnLoss), ("PyTorch", "torch", PyTorchDQN), ("JAX", "jax", JAXDQN)
    )  # fmt: skip
    for name, module, maker in others:
        if find_spec(module):
            makers[name] = maker
        else:
            absent[name] = f"{module} is not installed"
    agents = {name: maker(parameters, batch, threads) for name, maker in makers.items()}
    with nf.num_threads(threads):
        for agent in agents.values():
            for _ in range(STEPS):
                agent.update()
        expected = agents["nnfast"].parameters()
        wrong = [name for name, agent in agents.items() if not agree(agent.parameters(), expected)]
        seconds = time_calls({name: Timer(agent.update) for name, agent in agents.items()}, rounds)
    base = "nnfast, own loss" if "nnfast, own loss" in seconds else "nnfast"
    return {
        "network": f"{TINY}, {ROWS} rows",
        "base": base,
        "rounds": rounds,
        "microseconds": {name: spread([1e6 * s for s in taken]) for name, taken in seconds.items()},
        "ratio": {name: ratios(taken, seconds[base]) for name, taken in seconds.items()},
        "absent": absent,
        "disagreements": wrong,
    }


def transitions() -> list[np.ndarray]:
    """Return a batch from a replay memory: states, actions, rewards, next states, and one unless the state is final."""
    rng = np.random.default_rng(0)
    states, following = rng.standard_normal((2, ROWS, TINY.sizes[0]), np.float32)
    actions = rng.integers(0, TINY.sizes[-1], ROWS)
    going_on = (rng.random(ROWS) < 0.9).astype(np.float32)
    return [states, actions, rng.standard_normal(ROWS, np.float32), following, going_on]


def agree(found: Parameters, expected: Parameters) -> bool:
    """Return whether two libraries have the same weights and biases."""
    pairs = [(a, b) for own, other in zip(found, expected, strict=True) for a, b in zip(own, other, strict=True)]
    return all(np.allclose(a, b, rtol=0, atol=TOLERANCE) for a, b in pairs)


class NNFastDQN:
    """`predict` and `train_step`: only the output of the action that was taken has a target of its own."""

    def __init__(self, parameters: Parameters, batch: list[np.ndarray], threads: int) -> None:
        import nnfast as nf

        hidden = [nf.Dense(units, TINY.activation) for units in TINY.sizes[1:-1]]
        self.net = nf.Sequential([*hidden, nf.Dense(TINY.sizes[-1])], input_shape=TINY.sizes[0], loss="huber")
        for i, (weights, bias) in enumerate(parameters, start=1):
            self.net.params[f"W{i}"], self.net.params[f"b{i}"] = weights, bias
        self.target, self.adam = self.net.copy(), nf.Adam(LEARNING_RATE)
        self.batch, self.rows = batch, np.arange(ROWS)

    def update(self) -> None:
        """Train on the batch."""
        states, actions, rewards, following, going_on = self.batch
        best = np.maximum(*self.target.predict(following).T)  # of two actions
        targets = self.net.predict(states)
        targets[self.rows, actions] = rewards + DISCOUNT * going_on * best
        self.net.train_step(states, targets, self.adam)

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        params = self.net.params
        return [(params[f"W{i}"], params[f"b{i}"]) for i in range(1, len(TINY.sizes))]


class NNFastDQNBackward(NNFastDQN):
    """`forward`, `backward` and `update`: with the gradient of the loss with respect to the outputs."""

    def update(self) -> None:
        """Train on the batch."""
        states, actions, rewards, following, going_on = self.batch
        best = np.maximum(*self.target.predict(following).T)
        outputs = self.net.forward(states, training=True)
        error = outputs[self.rows, actions] - (rewards + DISCOUNT * going_on * best)
        gradient = np.zeros_like(outputs)
        gradient[self.rows, actions] = np.minimum(np.maximum(error, -1), 1) / ROWS
        self.net.backward(gradient)
        self.net.update(self.adam)


class NNFastDQNOwnLoss(NNFastDQN):
    """`train_step` with a compiled loss of one's own, whose targets are the action and its goal: one forward pass."""

    def __init__(self, parameters: Parameters, batch: list[np.ndarray], threads: int) -> None:
        import nnfast as nf

        super().__init__(parameters, batch, threads)
        hidden = [nf.Dense(units, TINY.activation) for units in TINY.sizes[1:-1]]
        self.net = nf.Sequential([*hidden, nf.Dense(TINY.sizes[-1])], input_shape=TINY.sizes[0], loss=huber_of_action())
        self.net.flat_params[:] = self.target.flat_params
        self.goals = np.empty((ROWS, TINY.sizes[-1]), np.float32)

    def update(self) -> None:
        """Train on the batch."""
        states, actions, rewards, following, going_on = self.batch
        self.goals[:, 0] = actions
        best = np.maximum(*self.target.predict(following).T)
        self.goals[:, 1] = rewards + DISCOUNT * going_on * best
        self.net.train_step(states, self.goals, self.adam)


def huber_of_action() -> Any:
    """Return the Huber loss of one of the outputs, compiled: the targets are its number and what it should be."""
    from numba import cfunc, types

    numbers = types.CPointer(types.double)

    @cfunc(types.double(types.intc, numbers, numbers, numbers, types.voidptr))  # type: ignore[untyped-decorator]
    def loss(n: int, outputs: Any, targets: Any, gradient: Any, user_data: Any) -> float:
        action = int(targets[0])
        error = outputs[action] - targets[1]
        gradient[0] = gradient[1] = 0.0
        gradient[action] = min(max(error, -1.0), 1.0)
        return 0.5 * error * error if abs(error) < 1.0 else abs(error) - 0.5

    return loss


class PyTorchDQN:
    """The update of PyTorch's tutorial, with the fused optimizer."""

    def __init__(self, parameters: Parameters, batch: list[np.ndarray], threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch, self.net = torch, with_torch.sequential(TINY, parameters)
        self.target = with_torch.sequential(TINY, parameters)
        self.loss = torch.nn.SmoothL1Loss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LEARNING_RATE, fused=True)
        self.batch = [torch.from_numpy(array) for array in batch]

    def update(self) -> None:
        """Train on the batch."""
        states, actions, rewards, following, going_on = self.batch
        with self.torch.no_grad():
            goal = rewards + DISCOUNT * going_on * self.target(following).max(1).values
        loss = self.loss(self.net(states).gather(1, actions[:, None])[:, 0], goal)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        layers = [layer for layer in self.net if hasattr(layer, "weight")]
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]


class JAXDQN:
    """One compiled function for the whole update, Adam included, which reuses the memory of its state."""

    def __init__(self, parameters: Parameters, batch: list[np.ndarray], threads: int) -> None:
        import jax
        import jax.numpy as jnp

        from bench.peers.with_jax import logits

        self.jax = jax
        start = jax.tree.map(jnp.asarray, [(weights.copy(), bias.copy()) for weights, bias in parameters])
        self.target = jax.tree.map(jnp.copy, start)
        zeros = jax.tree.map(jnp.zeros_like, start)
        self.state = (start, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), "int32"))
        self.batch = [jnp.asarray(array) for array in batch]

        def loss(own: Any, target: Any, states: Any, actions: Any, rewards: Any, following: Any, going_on: Any) -> Any:
            best = logits(target, following, TINY.activation).max(axis=1)
            values = jnp.take_along_axis(logits(own, states, TINY.activation), actions[:, None], axis=1)[:, 0]
            error = values - (rewards + DISCOUNT * going_on * best)
            return jnp.where(jnp.abs(error) < 1, error**2 / 2, jnp.abs(error) - 0.5).mean()

        def update(state: Any, target: Any, *batch: Any) -> Any:
            own, mean, square, step = state
            gradient = jax.grad(loss)(own, target, *batch)
            mean = jax.tree.map(lambda m, g: m + 0.1 * (g - m), mean, gradient)
            square = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), square, gradient)
            root, scale = jnp.sqrt(1 - 0.999 ** (step + 1)), LEARNING_RATE / (1 - 0.9 ** (step + 1))
            own = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) / root + 1e-8), own, mean, square)
            return own, mean, square, step + 1

        self.compiled = jax.jit(update, donate_argnums=0).lower(self.state, self.target, *self.batch).compile()

    def update(self) -> None:
        """Train on the batch."""
        self.state = self.compiled(self.state, self.target, *self.batch)
        self.jax.block_until_ready(self.state)

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        return [(np.asarray(weights), np.asarray(bias)) for weights, bias in self.state[0]]
