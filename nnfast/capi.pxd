# nnfast from Cython: a network that predicts one sample at a time without the GIL, from any number of threads.
#
#     from nnfast.capi cimport NNFAST_FLOAT32, expect, nnfast_predictor, predict_one, predictor_of
#
#     def outputs(predictor, const float[::1] x, float[::1] y):
#         cdef const nnfast_predictor* network = predictor_of(predictor)
#         expect(network, NNFAST_FLOAT32, x.shape[0], y.shape[0])
#         with nogil:
#             status = predict_one(network, &x[0], &y[0])
#
# Compile with `nnfast.get_include()` among the include_dirs. nnfast.h documents all of this; the functions have its
# names without `nnfast_`. The caller keeps a reference to the predictor as long as it uses the pointer.

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from "nnfast.h" nogil:
    const char* NNFAST_CAPSULE
    enum:
        NNFAST_ABI_VERSION
    enum:
        NNFAST_FLOAT32
        NNFAST_FLOAT64
    enum:
        NNFAST_OK
        NNFAST_NO_MEMORY
        NNFAST_BAD_POINTER
        NNFAST_OVERLAP

    ctypedef struct nnfast_predictor:
        uint32_t abi_version
        uint32_t struct_size
        int32_t dtype
        int64_t n_inputs
        int64_t n_outputs
        int (*predict_one)(const nnfast_predictor* self, const void* x, void* y) noexcept nogil

    int predict_one "nnfast_predict_one" (const nnfast_predictor* self, const void* x, void* y) noexcept
    const char* status_message "nnfast_status_message" (int status) noexcept

cdef extern from "nnfast.h":
    const nnfast_predictor* predictor_of "nnfast_predictor_of" (object predictor) except NULL
    int expect "nnfast_expect" (
        const nnfast_predictor* predictor, int dtype, int64_t n_inputs, int64_t n_outputs
    ) except -1
