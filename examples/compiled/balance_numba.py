"""The same with numba, which calls a C function by its address."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from math import cos, sin
from time import perf_counter

import numpy as np
from network import fallen, trained
from numba import njit

THREADS, STEPS = 2, 500
predictor = trained().predictor()  # referenced as long as its addresses are used
signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)
predict_one = signature(predictor.function_address)


@njit(nogil=True)
def simulate(predictor, states, steps):
    """Move pendulums, given by angle and speed, by so many steps; in each, the network determines the torque."""
    seen, torque = np.empty(3, np.float32), np.empty(1, np.float32)
    for state in states:
        for _ in range(steps):
            seen[:] = sin(state[0]), cos(state[0]), state[1]
            if predict_one(predictor, seen.ctypes, torque.ctypes) != 0:
                raise RuntimeError("the prediction failed")
            state[1] += 0.01 * (9.81 * sin(state[0]) + torque[0])
            state[0] += 0.01 * state[1]


states = fallen(2000)
simulate(predictor.address, states[:1].copy(), 1)  # compile
start = perf_counter()
with ThreadPoolExecutor(THREADS) as pool:  # parts of `states`, which each thread changes in place
    list(pool.map(lambda part: simulate(predictor.address, part, STEPS), np.array_split(states, THREADS)))
seconds = perf_counter() - start
upright = np.mean(np.abs(states[:, 0]) < 0.05)
print(f"{upright:.0%} are upright after {STEPS} steps, {STEPS * len(states) / seconds / 1e6:.1f} million a second")
