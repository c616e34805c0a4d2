"""Finite differences of a compiled function of many variables: without the GIL, on several threads, each with its own
copy of the point."""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cnp.import_array()

cdef extern from "sync.h" nogil:
    ctypedef void (*team_work)(void* job, int id, int n) noexcept nogil
    void run_team(int, team_work, void*)
    int MAX_THREADS
    double seconds_now()
    int64_t fetch_add(int64_t*, int64_t)
    uint64_t subnormals_kept()
    void restore_subnormals(uint64_t)

ctypedef double (*Function)(int, double*, void*) noexcept nogil

cdef double SLICE = 0.1        # seconds between two checks for Ctrl-C
cdef double THREAD_COST = 2e-4  # seconds of work that justify one more thread
cdef Py_ssize_t LINE = 16      # numbers that keep the copies of two threads on different cache lines

cdef struct Job:
    Function f
    void* user_data
    int n
    const double* x
    const double* right
    const double* left
    double* slopes
    double* points        # a copy of x for each thread, `stride` apart
    Py_ssize_t stride
    bint forward
    double base           # f(x)
    int64_t next
    double deadline


cdef void run(void* argument, int id, int count) noexcept nogil:
    cdef Job* job = <Job*>argument
    cdef double* x = job.points + id*job.stride
    cdef uint64_t mode = subnormals_kept()  # the function is user code
    cdef double above, below
    cdef int64_t i
    memcpy(x, job.x, job.n*sizeof(double))
    while seconds_now() < job.deadline:
        i = fetch_add(&job.next, 1)
        if i >= job.n:
            break
        x[i] = job.right[i]
        above = job.f(job.n, x, job.user_data)
        if job.forward:
            below = job.base
        else:
            x[i] = job.left[i]
            below = job.f(job.n, x, job.user_data)
        x[i] = job.x[i]
        job.slopes[i] = (above - below)/(job.right[i] - job.left[i])
    restore_subnormals(mode)


def differences_of_compiled(
    size_t function, size_t user_data, x, right, left, slopes, bint forward, int threads
):
    """Write ``(f(right) - f(left)) / (right - left)`` for each element to `slopes`; float64 vectors of equal length.

    If `forward`, `left` is `x`, where the function is called only once.
    """
    cdef Job job
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef double start
    if not n:
        return
    points = np.array(x)
    job.f = <Function>function
    job.user_data = <void*>user_data
    job.n = <int>n
    job.x = <const double*>cnp.PyArray_DATA(x)
    job.right = <const double*>cnp.PyArray_DATA(right)
    job.left = <const double*>cnp.PyArray_DATA(left)
    job.slopes = <double*>cnp.PyArray_DATA(slopes)
    job.points = <double*>cnp.PyArray_DATA(points)
    job.forward = forward
    job.next = 0
    start = seconds_now()
    with nogil:
        job.base = job.f(job.n, job.points, job.user_data)
    threads = <int>max(1., min(<double>min(threads, MAX_THREADS), (seconds_now() - start)*2*n/THREAD_COST))
    job.stride = n + LINE
    points = np.empty(threads*job.stride)
    job.points = <double*>cnp.PyArray_DATA(points)
    while job.next < n:
        job.deadline = seconds_now() + SLICE
        with nogil:
            run_team(threads, run, &job)
        PyErr_CheckSignals()
