"""Hold 2,000 pendulums up in two threads, with the control loop in Cython: build it first with setup.py."""

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from network import fallen, trained
from pendulum import simulate

THREADS, STEPS = 2, 500
predictor = trained().predictor()
states = fallen(2000)
start = perf_counter()
with ThreadPoolExecutor(THREADS) as pool:  # parts of `states`, which each thread changes in place
    list(pool.map(lambda part: simulate(predictor, part, STEPS), np.array_split(states, THREADS)))
seconds = perf_counter() - start
upright = np.mean(np.abs(states[:, 0]) < 0.05)
print(f"{upright:.0%} are upright after {STEPS} steps, {STEPS * len(states) / seconds / 1e6:.1f} million a second")
