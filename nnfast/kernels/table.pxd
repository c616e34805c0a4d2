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

from libc.math cimport pow
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

cdef enum Loss:
    SUM_SQUARED_ERROR
    MEAN_SQUARED_ERROR
    CROSS_ENTROPY
    BINARY_CROSS_ENTROPY
    SOFTMAX_CROSS_ENTROPY
    SIGMOID_BINARY_CROSS_ENTROPY

cdef inline bint from_logits(int loss) noexcept nogil:
    """Whether a loss is fused with the activation before it."""
    return loss == SOFTMAX_CROSS_ENTROPY or loss == SIGMOID_BINARY_CROSS_ENTROPY


cdef inline bint over_elements(int loss) noexcept nogil:
    """Whether a loss averages over elements, not rows."""
    return loss == MEAN_SQUARED_ERROR or loss == BINARY_CROSS_ENTROPY or loss == SIGMOID_BINARY_CROSS_ENTROPY


cdef enum OptimizerKind:
    SGD
    ADAGRAD
    RMSPROP
    ADADELTA
    ADAM
    ADAMW
    NADAM

cdef enum:
    MAX_MOMENTS = 3

cdef struct Targets:
    const int64_t* labels  # one class a row, or NULL
    const void* values     # else rows of n values
    Py_ssize_t ld

cdef struct Optimizer:
    int kind
    double learning_rate
    double learning_rate_decay
    double momentum
    double dampening
    bint nesterov
    double alpha
    double rho
    double beta1
    double beta2
    double epsilon
    double momentum_decay
    double weight_decay
    bint decoupled_weight_decay
    double gradient_scale  # 1 leaves the gradient as it is
    double clip_value      # infinity clips nothing
    # what `advance` tells for each step
    double correction1     # 1 - beta1**step
    double correction2
    double product         # of the momenta of all steps, this one included; 1 before the first
    double next_momentum


cdef inline void advance(Optimizer* o, int64_t step) noexcept nogil:
    """From the hyperparameters to what the optimizer is in step number `step`, which counts from 1; `product` is that
    of the steps before."""
    if o.kind == SGD:
        if o.product == 1:  # the first gradient is the first momentum, whole
            o.dampening = 0
        o.product *= o.momentum
    elif o.kind == ADAGRAD:
        o.learning_rate /= 1 + (step - 1)*o.learning_rate_decay
    elif o.kind == ADAM or o.kind == ADAMW:
        o.correction1 = 1 - pow(o.beta1, <double>step)
        o.correction2 = 1 - pow(o.beta2, <double>step)
    elif o.kind == NADAM:
        o.correction2 = 1 - pow(o.beta2, <double>step)
        o.momentum = o.beta1*(1 - 0.5*pow(0.96, step*o.momentum_decay))
        o.next_momentum = o.beta1*(1 - 0.5*pow(0.96, (step + 1)*o.momentum_decay))
        o.product *= o.momentum


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
        int loss, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets, double scale,
        double* row_loss, void* gradient, Py_ssize_t ldg
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
    # one step of an optimizer on n parameters. Which of the MAX_MOMENTS moments are not NULL says what it keeps:
    # SGD the momentum; ADAGRAD the sum of squares; RMSPROP the mean of squares, the mean (if centered) and the
    # momentum; ADADELTA the mean squares of gradient and change; ADAM, ADAMW the mean, the mean of squares and its
    # largest (with amsgrad); NADAM the mean and the mean of squares
    void (*update)(
        Py_ssize_t n, void* parameters, const void* gradient, void* const* moments, const Optimizer* optimizer
    ) noexcept nogil
    # average += (1 - decay) (parameters - average)
    void (*average)(Py_ssize_t n, double decay, void* average, const void* parameters) noexcept nogil
    double (*square_sum)(Py_ssize_t n, const void* x) noexcept nogil
    # l1 sum|p| + l2 sum p*p, and its gradient, which is added to one
    double (*penalty)(Py_ssize_t n, const void* parameters, double l1, double l2) noexcept nogil
    void (*add_penalty)(
        Py_ssize_t n, const void* parameters, void* gradient, double l1, double l2
    ) noexcept nogil
    bint (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil
