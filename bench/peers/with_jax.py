"""JAX: the whole run is one compiled function."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Predictor, Trainer
from bench.workloads import Network, Workload


def logits(parameters: Any, x: Any, activation: str) -> Any:
    """Return the outputs before softmax."""
    import jax

    function = {"sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh, "relu": jax.nn.relu}[activation]
    for weights, bias in parameters[:-1]:
        x = function(x @ weights + bias)
    weights, bias = parameters[-1]
    return x @ weights + bias


class JAX(Trainer):
    """`jit` of a `lax.scan` over mini-batches."""

    name = "JAX"
    module = package = "jax"

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.workload = jax, workload
        self.x = jnp.asarray(data.x.reshape(-1, workload.batch, data.x.shape[1]))
        self.y = jnp.asarray(data.y.reshape(-1, workload.batch).astype(np.int32))
        parameters = jax.tree.map(jnp.asarray, [(weights.copy(), bias.copy()) for weights, bias in initial])
        self.state = (parameters, self.initial_moments(parameters))
        self.compiled: dict[int, Any] = {}

    def initial_moments(self, parameters: Any) -> Any:
        """Return the initial state of the optimizer."""
        if self.workload.optimizer == "sgd":
            return ()
        zeros = self.jax.tree.map(self.jax.numpy.zeros_like, parameters)
        return (zeros, self.jax.tree.map(self.jax.numpy.zeros_like, parameters), self.jax.numpy.zeros((), "int32"))

    def loss(self, parameters: Any, x: Any, y: Any) -> Any:
        """Return the mean cross entropy, from the logits."""
        z = logits(parameters, x, self.workload.activation)
        picked = self.jax.numpy.take_along_axis(z, y[:, None], axis=1)[:, 0]
        return (self.jax.nn.logsumexp(z, axis=1) - picked).mean()

    def update(self, state: Any, gradient: Any) -> Any:
        """Return the state after a step of the optimizer."""
        jnp, tree, rate = self.jax.numpy, self.jax.tree, self.workload.learning_rate
        parameters, moments = state
        if self.workload.optimizer == "sgd":
            return tree.map(lambda p, g: p - rate * g, parameters, gradient), ()
        mean, square, step = moments
        step = step + 1
        mean = tree.map(lambda m, g: m + 0.1 * (g - m), mean, gradient)
        square = tree.map(lambda v, g: v + 0.001 * (g * g - v), square, gradient)
        root, scale = jnp.sqrt(1 - 0.999**step), rate / (1 - 0.9**step)
        parameters = tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) / root + 1e-8), parameters, mean, square)
        return parameters, (mean, square, step)

    def prepare(self, steps: int) -> None:
        """Compile a run of `steps` steps."""
        if steps in self.compiled:
            return
        jax, jnp = self.jax, self.jax.numpy

        def step(state: Any, batch: Any) -> Any:
            loss, gradient = jax.value_and_grad(self.loss)(state[0], *batch)
            return self.update(state, gradient), loss

        def run(state: Any, x: Any, y: Any) -> Any:
            whole, rest = divmod(steps, len(x))
            state, losses = jax.lax.scan(lambda s, _: jax.lax.scan(step, s, (x, y)), state, None, length=whole)
            state, last = jax.lax.scan(step, state, (x[:rest], y[:rest]))
            return state, jnp.concatenate([losses.reshape(-1), last])

        self.compiled[steps] = jax.jit(run, donate_argnums=0).lower(self.state, self.x, self.y).compile()

    def run(self, steps: int) -> None:
        """Train."""
        self.prepare(steps)
        self.state, self.step_loss = self.compiled[steps](self.state, self.x, self.y)
        self.jax.block_until_ready(self.state)

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        return [(np.asarray(weights), np.asarray(bias)) for weights, bias in self.state[0]]


class JAXPredictor(Predictor):
    """A `jit` of the network."""

    name = "JAX"
    module = package = "jax"

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        import jax

        arrays = jax.tree.map(jax.numpy.asarray, [(weights.copy(), bias.copy()) for weights, bias in parameters])
        self.run = jax.jit(lambda x: jax.nn.softmax(logits(arrays, x, network.activation)))

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict a batch of one."""
        return self.many(row[None])[0]

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        return np.asarray(self.run(x))
