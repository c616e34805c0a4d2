cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from nnfast.kernels.table cimport Optimizer

cdef void shuffle_order(Py_ssize_t n, int64_t* order, uint64_t seed) noexcept nogil
cdef void draw_order(Py_ssize_t n, Py_ssize_t rows, int64_t* order, uint64_t seed) noexcept nogil
# Fields are read from the attributes of `values` with the same names; one that is missing or None is neutral.
cdef int fill_hyperparameters(Optimizer* optimizer, object values) except -1
