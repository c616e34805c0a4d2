"""How many bytes cross between cores in a training step, by design: for more cores than the machine has.

A thread reads what another one has written: gradients summed by others, parameters updated by others and, where threads
share a layer by its parameters, the rows of activations and gradients that others have run. The data count as rows of
activations, since a shuffled mini-batch is gathered by the threads that run it. Metrics and losses are left out: they
are 8 bytes a row.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import nnfast as nf
from bench.workloads import Network, Workload

THREADS = (2, 8, 32)
ITEM_BYTES = 4  # float32


def traffic(workload: Workload) -> dict[str, Any]:
    """Return the kilobytes that each thread reads from others in a step, for each number of threads.

    "without chunks" is what it would be if threads shared each layer by its parameters.
    """
    chunks = [count for count in built(workload.network).chunks(workload.batch) if count]
    layers = list(pairwise(workload.sizes))
    return {
        "workload": workload.name, "description": str(workload), "chunks": chunks,
        "kilobytes": {
            name: {str(threads): bytes_read(layers, counts, workload.batch, threads) / 1000 for threads in THREADS}
            for name, counts in (("as it is", chunks), ("without chunks", [1] * len(layers)))
        },
    }  # fmt: skip


def built(network: Network) -> Any:
    """Return the program of a network, which knows its chunks."""
    layers = [nf.Dense(units, network.activation) for units in network.sizes[1:-1]]
    net = nf.Sequential([*layers, nf.Dense(network.sizes[-1], "softmax")], input_shape=network.sizes[0], seed=0)
    return net._network.built


def bytes_read(layers: list[tuple[int, int]], chunks: list[int], batch: int, threads: int) -> float:
    """Return how many bytes each of the threads reads that another one has written."""
    others = (threads - 1) / threads
    total = 0.0
    for (n_in, n_out), count in zip(layers, chunks, strict=True):
        parameters = (n_in + 1) * n_out
        total += others * parameters  # those that others have updated
        if count > 1 and count % threads == 0:
            total += others * parameters  # its share of the sums of each of the others
        else:
            total += others * batch * (n_in / threads + n_out)  # its columns, and all gradients
    return total * ITEM_BYTES
