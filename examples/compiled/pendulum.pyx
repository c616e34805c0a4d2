# cython: language_level=3, boundscheck=False, wraparound=False
"""Pendulums that a network holds up: the control loop is compiled, and calls the network without the GIL."""

from libc.math cimport cos, sin
from nnfast.capi cimport NNFAST_FLOAT32, NNFAST_OK, expect, nnfast_predictor, predict_one, predictor_of, status_message

cdef double SECONDS = 0.01  # of a step
cdef double GRAVITY = 9.81


def simulate(predictor, double[:, ::1] states, int steps):
    """Move pendulums, given by angle and speed, by so many steps; in each, the network determines the torque."""
    cdef const nnfast_predictor* network = predictor_of(predictor)  # valid as long as our argument is
    cdef float seen[3]
    cdef float torque = 0
    cdef double* state
    cdef int status = NNFAST_OK
    cdef Py_ssize_t i
    expect(network, NNFAST_FLOAT32, 3, 1)
    with nogil:
        for i in range(states.shape[0]):
            state = &states[i, 0]
            for _ in range(steps):
                seen[0], seen[1], seen[2] = <float>sin(state[0]), <float>cos(state[0]), <float>state[1]
                status = predict_one(network, seen, &torque)
                if status != NNFAST_OK:
                    break
                state[1] += SECONDS*(GRAVITY*sin(state[0]) + torque)
                state[0] += SECONDS*state[1]
            if status != NNFAST_OK:
                break
    if status != NNFAST_OK:
        raise RuntimeError(status_message(status).decode())
