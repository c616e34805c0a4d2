# The kernel table: all that the engine and the array functions know of a level and a dtype.
#
# One level module (say AVX2, float32) fills one table and hands it over in a capsule; `nnfast.kernels.dispatch` picks
# the tables of the level in use. Pointers are untyped: the caller counts in elements of `itemsize` bytes. Rows of a
# matrix lie a leading dimension apart (`ldx` for `x`, in elements).
#
# Two rules that let tails run the same code as the rest:
# - a matrix B or a bias may be read up to one vector past the end of its last row;
# - columns n..ld of an output row are scratch: whole vectors are stored there where they fit. Nothing behind the end of
#   an output is read or written.

from libc.stdint cimport int64_t

cdef enum Function:  # elementwise functions and, up to SOFTMAX, activations
    IDENTITY
    STEP
    SIGMOID
    TANH
    RELU
    SOFTMAX
    EXP
    LOG

cdef enum Loss:  # from SOFTMAX_CROSS_ENTROPY on, fused with the activation before it
    SUM_SQUARED_ERROR
    MEAN_SQUARED_ERROR
    MEAN_ABSOLUTE_ERROR
    HUBER
    LOG_COSH
    POISSON
    QUANTILE
    HINGE
    CROSS_ENTROPY
    BINARY_CROSS_ENTROPY
    KL_DIVERGENCE
    SOFTMAX_CROSS_ENTROPY
    SIGMOID_BINARY_CROSS_ENTROPY
    SOFTMAX_KL_DIVERGENCE

cdef struct LossSpec:
    int kind
    double a                # delta of huber; label smoothing of the cross entropies
    bint log_input          # of poisson: the outputs are logarithms of rates
    const void* per_output  # of quantile: one for each output; else NULL

cdef inline bint from_logits(int loss) noexcept nogil:
    """Whether a loss is fused with the activation before it."""
    return loss >= SOFTMAX_CROSS_ENTROPY


cdef inline bint over_classes(int loss) noexcept nogil:
    """Whether the targets may be labels."""
    return loss == CROSS_ENTROPY or loss == SOFTMAX_CROSS_ENTROPY


cdef inline bint over_elements(int loss) noexcept nogil:
    """Whether a loss averages over elements, not rows."""
    return not (
        loss == SUM_SQUARED_ERROR or over_classes(loss) or loss == KL_DIVERGENCE or loss == SOFTMAX_KL_DIVERGENCE
    )


cdef enum OptimizerKind:
    SGD
    ADAM

cdef struct Targets:
    const int64_t* labels  # one class a row, or NULL
    const void* values     # else rows of n values
    Py_ssize_t ld
    const double* weights  # one a row, which its loss and gradient are multiplied by; or NULL

cdef struct Optimizer:
    int kind
    double learning_rate
    double beta1
    double beta2
    double epsilon
    double correction1  # 1 - beta1**step
    double correction2

cdef struct Kernels:
    int itemsize
    int vector_width  # elements in a vector
    # y = f(x) for each row of n; y may be x
    void (*apply)(
        int function, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # out = gradient * f'(x), told from the output y = f(x); out may be gradient
    void (*apply_backward)(
        int function, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* y, Py_ssize_t ldy,
        void* out, Py_ssize_t ldo
    ) noexcept nogil
    # the loss of each row and, unless NULL, scale times its gradient; row_loss may be NULL
    void (*loss)(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, void* gradient, Py_ssize_t ldg
    ) noexcept nogil
    # rows whose largest output is the target's class (classes), or values on the target's side of the threshold
    Py_ssize_t (*count_correct)(
        bint classes, double threshold, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx,
        const Targets* targets
    ) noexcept nogil
    # C[m, n] (+)= A[m, K] B[K, n], with any strides for A (row, k) and B (k, column)
    void (*matmul)(
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const void* A, Py_ssize_t ar, Py_ssize_t ak, const void* B,
        Py_ssize_t bk, Py_ssize_t bc, void* C, Py_ssize_t ldc, bint accumulate
    ) noexcept nogil
    # out = f(x W + b); b may be NULL
    void (*dense)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* x, Py_ssize_t ldx, const void* W, const void* b,
        int function, void* out, Py_ssize_t ldo
    ) noexcept nogil
    void (*dense_backward_input)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, const void* W,
        void* out, Py_ssize_t ldo
    ) noexcept nogil
    # rows first..last of the gradient of W; out points at row 0
    void (*dense_backward_weights)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, Py_ssize_t n_out, const void* x, Py_ssize_t ldx,
        const void* gradient, Py_ssize_t ldg, void* out, bint accumulate
    ) noexcept nogil
    void (*dense_backward_bias)(
        Py_ssize_t m, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, void* out, bint accumulate
    ) noexcept nogil
    # out[i] = z[rows[i]] + scale[i] direction: chosen rows of a product z = x W after a change in one column of x or
    # row of W
    void (*rank_one)(
        Py_ssize_t m, Py_ssize_t n, const void* z, Py_ssize_t ldz, const int64_t* rows, const void* scale,
        const void* direction, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # one step of an optimizer on n parameters; moments that the kind does not keep are NULL
    void (*update)(
        Py_ssize_t n, void* parameters, const void* gradient, void* moment1, void* moment2, const Optimizer* optimizer
    ) noexcept nogil
    bint (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil
