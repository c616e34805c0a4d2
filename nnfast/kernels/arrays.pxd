cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from nnfast.kernels.table cimport Optimizer

cdef extern from "numpy/random/bitgen.h" nogil:
    ctypedef struct bitgen_t:
        void* state
        uint64_t (*next_uint64)(void* state) noexcept nogil

cdef bitgen_t* generator_of(object bit_generator) except NULL
cdef void shuffle_order(Py_ssize_t n, int64_t* order, bitgen_t* generator) noexcept nogil
# Fields are read from the attributes of `values` with the same names; one that is missing or None is neutral.
cdef int fill_hyperparameters(Optimizer* optimizer, object values) except -1
