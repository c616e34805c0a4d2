# The kernel table: all that the engine and the array functions know about a level and a dtype.
#
# Each level module (say AVX2, float32) fills one table and exports it in a capsule; `nnfast.kernels.dispatch` picks the
# tables of the level in use. Pointers are untyped: the caller counts in elements of `itemsize` bytes. Rows of a matrix
# are a leading dimension apart (`ldx` for `x`, in elements).
#
# Two rules let tails run the same code as the rest:
# - a matrix B or a bias may be read up to one vector past the end of its last row;
# - columns n..ld of an output row are scratch: whole vectors are stored there where they fit. Nothing beyond the end of
#   an output is read or written.

from libc.math cimport pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t

# The enums are also visible to Python: a code's name in lower case is the name of the operation everywhere else. The
# position of a code determines its properties: see the functions after each enum.

cpdef enum Function:  # elementwise functions and, before EXP, activations
    IDENTITY
    STEP
    SIGMOID
    TANH
    RELU
    LEAKY_RELU
    ELU
    SELU
    HARD_SIGMOID
    GELU
    GELU_TANH
    SILU
    SOFTPLUS
    MISH
    SOFTMAX
    LOG_SOFTMAX
    EXP
    LOG


cdef inline bint keeps(int function) noexcept nogil:
    """Whether a derivative is computed from the input, not the output: training keeps it from the forward pass."""
    return GELU <= function < SOFTMAX


cdef inline bint mixes(int function) noexcept nogil:
    """Whether each output is computed from the whole row."""
    return SOFTMAX <= function < EXP


cpdef enum Loss:
    MEAN_SQUARED_ERROR
    MEAN_ABSOLUTE_ERROR
    HUBER
    LOG_COSH
    POISSON
    QUANTILE
    HINGE
    BINARY_CROSS_ENTROPY
    BINARY_FOCAL
    SIGMOID_BINARY_CROSS_ENTROPY
    SIGMOID_BINARY_FOCAL
    SOFTMAX_KL_DIVERGENCE
    SOFTMAX_CROSS_ENTROPY
    SOFTMAX_FOCAL
    CROSS_ENTROPY
    FOCAL
    KL_DIVERGENCE
    SUM_SQUARED_ERROR

cdef enum:
    SUM_BLOCK = 4096  # elements of a sum in the dtype's precision; sums of such blocks are added in double precision

cdef struct LossSpec:
    int kind
    # delta of huber; gamma of focal losses; label smoothing; of poisson nonzero if outputs are logarithms of rates
    double a
    double b                # alpha of focal losses
    const void* per_output  # of quantile: `period` numbers, for the outputs in turn, and SUM_BLOCK more; else NULL
    Py_ssize_t period

cdef inline bint over_elements(int loss) noexcept nogil:
    """Whether a loss averages over elements, not rows."""
    return loss < SOFTMAX_KL_DIVERGENCE


cdef inline bint from_logits(int loss) noexcept nogil:
    """Whether a loss is fused with the activation before it."""
    return SIGMOID_BINARY_CROSS_ENTROPY <= loss < CROSS_ENTROPY


cdef inline bint over_classes(int loss) noexcept nogil:
    """Whether the targets may be labels."""
    return SOFTMAX_CROSS_ENTROPY <= loss < KL_DIVERGENCE


cdef inline bint by_output(int loss) noexcept nogil:
    """Whether a loss has numbers for each output."""
    return loss == QUANTILE


cpdef enum Metric:
    CLASS_ACCURACY    # whether the largest output is the target's class
    TOP_K_ACCURACY    # whether the target's class is among the k largest outputs
    BINARY_ACCURACY   # outputs that are above the threshold exactly where the target is above 0.5
    SUBSET_ACCURACY   # whether that holds for all outputs of the row
    ABSOLUTE_ERROR    # the sum of |output - target|; a label means 1 at its class and 0 elsewhere

cdef struct MetricSpec:
    int kind
    double threshold
    Py_ssize_t k

cdef inline bint is_count(int metric) noexcept nogil:
    """Whether scores are whole numbers, which may be added in any order."""
    return metric != ABSOLUTE_ERROR


cdef inline bint takes_labels(int metric) noexcept nogil:
    """Whether the targets may be labels."""
    return metric != BINARY_ACCURACY and metric != SUBSET_ACCURACY


cdef inline uint64_t mix64(uint64_t x) noexcept nogil:
    """A bijection of 64 bits in which every bit depends on all: SplitMix64 (Steele, Lea and Flood 2014)."""
    x += 0x9e3779b97f4a7c15ULL
    x = (x ^ (x >> 30))*0xbf58476d1ce4e5b9ULL
    x = (x ^ (x >> 27))*0x94d049bb133111ebULL
    return x ^ (x >> 31)


cdef inline uint64_t noise_key(uint64_t seed, uint64_t step, uint64_t layer) noexcept nogil:
    """The key of one layer's noise in one step of training."""
    return mix64(mix64(mix64(seed) ^ step) ^ layer)


cpdef enum OptimizerKind:
    SGD
    ADAGRAD
    RMSPROP
    LION
    ADADELTA
    ADAM
    ADAMW
    NADAM

cpdef enum Number:  # a dtype of data that is converted when it is gathered
    BOOL
    INT8
    UINT8
    INT16
    UINT16
    INT32
    UINT32
    INT64
    UINT64
    FLOAT16
    FLOAT32
    FLOAT64


cdef inline Py_ssize_t number_size(int number) noexcept nogil:
    """Return the bytes of a number."""
    if number <= UINT8:
        return 1
    if number <= UINT16 or number == FLOAT16:
        return 2
    return 4 if number <= UINT32 or number == FLOAT32 else 8


cdef enum:
    MAX_MOMENTS = 3


cdef inline int moments_needed(int kind) noexcept nogil:
    """How many of the first moments an optimizer requires."""
    return 0 if kind == SGD else 1 if kind < ADADELTA else 2


cdef struct Targets:
    const int64_t* labels  # one class per row, or NULL
    const void* values     # else rows of n values
    Py_ssize_t ld
    const double* weights  # one per row, which multiplies its loss and gradient; or NULL

cdef struct SparseRows:
    # Rows of which some elements are stored: those of row i from starts[i] to ends[i], by ascending column.
    const void* values
    const int32_t* columns
    const int64_t* starts
    const int64_t* ends

cdef struct SparseColumns:
    # The same elements, fewer than 2**31, by column: those of columns[i] from ends[i - 1], or 0, to ends[i].
    void* elements         # an int32_t and a number each, both of the size of a number: the row and the value
    int32_t* columns       # those of which an element is stored, in any order
    int32_t* ends
    Py_ssize_t n           # so many
    int32_t* places        # of each column of the matrix: where it is in `columns`, counted from 1, or 0

cpdef enum ColumnKind:  # how a column of a table is encoded
    NUMBER                  # clipped smoothly, and by pieces
    FLAG                    # as it is
    ONE_HOT                 # a code 0..codes - 1; of two codes, -1 or 1 in one output
    EMBEDDING               # the row of a learned table with the number of the code

cdef struct Encoding:
    # Of a column. `numbers`: where a NUMBER has its n edges, and then one over each distance between two (nothing if n
    # is 1); where an EMBEDDING has its rows in the table
    Py_ssize_t kind
    Py_ssize_t at           # its first output
    Py_ssize_t n            # so many outputs
    Py_ssize_t codes
    Py_ssize_t numbers

cdef struct Encodings:
    # The encodings of columns, at the start of the memory that `packing.py` fills. Offsets are in bytes from here, and
    # vectors may be read up to one vector past their end.
    Py_ssize_t n
    Py_ssize_t n_out
    Py_ssize_t learned      # numbers in the table
    Py_ssize_t each         # an Encoding for each
    Py_ssize_t limits       # for each column, the number beyond which its clipped values are equal
    Py_ssize_t inverses     # one over what it is clipped to
    Py_ssize_t scales       # of a NUMBER's outputs by pieces
    Py_ssize_t numbers

cdef struct Planes:
    # What the perceptron learning rule corrects: plane k should have a positive score for the rows of label k alone.
    const int64_t* which    # the planes to visit
    Py_ssize_t n            # so many
    void* weights           # a row for each plane, of a number for each feature
    void* bias              # a number for each plane
    const double* rates     # two for each plane: the learning rates of rows of other labels, and of its own
    bint fit_bias
    int64_t* mistakes       # of each plane in `which`, added to

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
    bint corrected_epsilon  # divided by sqrt(correction2), as the root of the second mean is
    double momentum_decay
    double weight_decay
    bint decoupled_weight_decay
    double gradient_scale  # 1 leaves the gradient as it is
    double clip_value      # infinity clips nothing
    double average_decay   # of the average of the parameters
    # what `advance` computes for each step
    double correction1     # 1 - beta1**step
    double correction2
    double product         # of the momenta of all steps, this one included; 1 before the first
    double next_momentum


cdef inline void advance(Optimizer* o, int64_t step) noexcept nogil:
    """Update the fields that depend on the step; `step` counts from 1, and `product` is that of the steps before."""
    if o.kind == SGD:
        if o.product == 1:  # the first momentum is the first gradient, without dampening
            o.dampening = 0
        o.product *= o.momentum
    elif o.kind == ADAGRAD:
        o.learning_rate /= 1 + (step - 1)*o.learning_rate_decay
    elif o.kind == ADAM or o.kind == ADAMW:
        o.correction1 = 1 - pow(o.beta1, <double>step)
        o.correction2 = 1 - pow(o.beta2, <double>step)
        if o.corrected_epsilon:
            o.epsilon /= sqrt(o.correction2)
    elif o.kind == NADAM:
        o.correction2 = 1 - pow(o.beta2, <double>step)
        o.momentum = o.beta1*(1 - 0.5*pow(0.96, step*o.momentum_decay))
        o.next_momentum = o.beta1*(1 - 0.5*pow(0.96, (step + 1)*o.momentum_decay))
        o.product *= o.momentum


cdef enum Accumulate:  # what a product does with the numbers that are there already
    OVERWRITE
    CONTINUE                # goes on with their sums, in order
    ADD_SUM                 # adds its finished sums to them

cdef enum:
    MAX_ADDED_TERMS = 128   # of each sum, for ADD_SUM
    NARROW = 32  # columns up to which softmax and its loss have vectors across the rows


cdef struct Kernels:
    int itemsize
    int vector_width  # elements in a vector
    # y = f(x) for each row of n; y may be x. `alpha` is the parameter of a function: the slope of leaky_relu, the
    # alpha of elu, the beta of softplus
    void (*apply)(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # y = f(x) and derivative = f'(x), for a function that keeps its derivative; either may be x
    void (*apply_keep)(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy,
        void* derivative, Py_ssize_t ldd
    ) noexcept nogil
    # out = gradient * f'(x), computed from the output y = f(x), or from y = x for a function that keeps its derivative;
    # out may be gradient or y
    void (*apply_backward)(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* y,
        Py_ssize_t ldy, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # out = a*b, elementwise; out may be a or b
    void (*multiply)(
        Py_ssize_t m, Py_ssize_t n, const void* a, Py_ssize_t lda, const void* b, Py_ssize_t ldb, void* out,
        Py_ssize_t ldo
    ) noexcept nogil
    # the loss of each row and, unless NULL, scale times its gradient; row_loss may be NULL
    void (*loss)(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, void* gradient, Py_ssize_t ldg
    ) noexcept nogil
    # the score of each row, times its weight if there are weights; for counts without weights it returns the total, and
    # row_scores may be NULL
    Py_ssize_t (*score)(
        const MetricSpec* metric, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets,
        double* row_scores
    ) noexcept nogil
    # C[m, n] (+)= A[m, K] B[K, n], with any strides for A (row, k) and B (k, column); `accumulate`: see Accumulate
    void (*matmul)(
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const void* A, Py_ssize_t ar, Py_ssize_t ak, const void* B,
        Py_ssize_t bk, Py_ssize_t bc, void* C, Py_ssize_t ldc, int accumulate
    ) noexcept nogil
    # out = f(x W + b); b may be NULL
    void (*dense)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* x, Py_ssize_t ldx, const void* W, const void* b,
        int function, double alpha, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # Rows stored by columns, with vectors down the rows: element (row, column) is x[column*ldx + row]. The memory of a
    # column holds whole vectors, and what lies past its last row is undefined.
    # out by columns = x by rows; and back
    void (*turn)(
        Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* out, Py_ssize_t ldo
    ) noexcept nogil
    void (*turn_back)(
        Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # `dense` and `apply` for rows stored by columns, with the same bits; softmax and log_softmax of n <= NARROW
    # columns
    void (*dense_turned)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* x, Py_ssize_t ldx, const void* W, const void* b,
        int function, double alpha, void* out, Py_ssize_t ldo
    ) noexcept nogil
    void (*apply_turned)(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* out,
        Py_ssize_t ldo
    ) noexcept nogil
    void (*dense_backward_input)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, const void* W,
        void* out, Py_ssize_t ldo
    ) noexcept nogil
    # rows first..last of the gradient of W; out points at row 0
    void (*dense_backward_weights)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, Py_ssize_t n_out, const void* x, Py_ssize_t ldx,
        const void* gradient, Py_ssize_t ldg, void* out, int accumulate
    ) noexcept nogil
    void (*dense_backward_bias)(
        Py_ssize_t m, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, void* out, bint accumulate
    ) noexcept nogil
    # out[i] = z[rows[i]] + scale[i] direction: selected rows of a product z = x W after a change in one column of x or
    # row of W
    void (*rank_one)(
        Py_ssize_t m, Py_ssize_t n, const void* z, Py_ssize_t ldz, const int64_t* rows, const void* scale,
        const void* direction, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # `dense` for sparse rows, with the bits that these would have as a matrix
    void (*sparse_dense)(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const SparseRows* x, const void* W, const void* b,
        int function, double alpha, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # The elements of columns first..last by column. `out` has arrays for all elements, of which these take their part:
    # the pointers are moved to it, except for `places`, which are 0 before.
    void (*sparse_turn)(
        Py_ssize_t m, const SparseRows* x, Py_ssize_t first, Py_ssize_t last, SparseColumns* out
    ) noexcept nogil
    # rows first..last of the gradient of W; out points at row 0. A sum for each chunk of rows of the batch, which ends
    # before the row `chunk_ends[i]`, and these (1, 2, 4 or 8) are added in pairs
    void (*sparse_backward_weights)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t n_out, const SparseColumns* x, const void* gradient,
        Py_ssize_t ldg, const int64_t* chunk_ends, int chunks, void* out
    ) noexcept nogil
    # a step of SGD without momentum on the rows of W for the columns that have an element
    void (*sparse_descend)(
        Py_ssize_t n_out, const SparseColumns* x, const void* gradient, Py_ssize_t ldg, const int64_t* chunk_ends,
        int chunks, void* weights, const Optimizer* optimizer
    ) noexcept nogil
    # out[i, k] = x[i] weights[k] + bias[k], for contiguous arrays; the rows are those of `sparse` unless it is NULL
    void (*perceptron_scores)(
        Py_ssize_t m, Py_ssize_t n, const void* x, const SparseRows* sparse, Py_ssize_t planes, const void* weights,
        const void* bias, void* out
    ) noexcept nogil
    # visit rows order[first..last], or first..last if `order` is NULL, and correct each plane that a row is on the
    # wrong side of; targets: labels, and weights that multiply the rates. False if a number overflows
    bint (*perceptron_epoch)(
        Py_ssize_t first, Py_ssize_t last, const int64_t* order, Py_ssize_t n, const void* x, const SparseRows* sparse,
        const Targets* targets, const Planes* planes
    ) noexcept nogil
    # one step of an optimizer on n parameters. The moments that are not NULL, of MAX_MOMENTS, are those it keeps:
    # SGD the momentum; ADAGRAD the sum of squares; RMSPROP the mean of squares, the mean (if centered) and the
    # momentum; LION the mean; ADADELTA the mean squares of gradient and change; ADAM, ADAMW the mean, the mean of
    # squares and its largest (with amsgrad); NADAM the mean and the mean of squares
    void (*update)(
        Py_ssize_t n, void* parameters, const void* gradient, void* const* moments, const Optimizer* optimizer
    ) noexcept nogil
    # average += weight (values - average)
    void (*average)(Py_ssize_t n, double weight, void* average, const void* values) noexcept nogil
    double (*square_sum)(Py_ssize_t n, const void* x) noexcept nogil
    double (*dot)(Py_ssize_t n, const void* x, const void* y) noexcept nogil
    # l1 sum|p| + l2 sum p*p; and its gradient, which is added to `gradient`
    double (*penalty)(Py_ssize_t n, const void* parameters, double l1, double l2) noexcept nogil
    void (*add_penalty)(
        Py_ssize_t n, const void* parameters, void* gradient, double l1, double l2
    ) noexcept nogil
    bint (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil
    # y = x scale + offset; y may be x
    void (*rescale)(
        double scale, double offset, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # out = a + b; out may be a or b
    void (*add)(
        Py_ssize_t m, Py_ssize_t n, const void* a, Py_ssize_t lda, const void* b, Py_ssize_t ldb, void* out,
        Py_ssize_t ldo
    ) noexcept nogil
    # keep = 0 with probability `rate`, else 1/(1 - rate), determined by (key, row0 + row, column); y = x keep; y may be
    # x
    void (*dropout)(
        double rate, uint64_t key, Py_ssize_t row0, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx,
        void* keep, Py_ssize_t ldk, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # y = x + deviation z, z a standard normal determined by (key, row0 + row, column); y may be x
    void (*gaussian_noise)(
        double deviation, uint64_t key, Py_ssize_t row0, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx,
        void* y, Py_ssize_t ldy
    ) noexcept nogil
    # y = gamma xhat + beta, xhat = (x - mean)/sqrt(variance + epsilon) over the row; `stats`, 2 reals per row (mean,
    # 1/sqrt(variance + epsilon)), may be NULL, and so may gamma and beta; y may be x
    void (*layer_norm)(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const void* gamma, const void* beta,
        void* stats, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # out may be gradient or x
    void (*layer_norm_backward)(
        Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* x, Py_ssize_t ldx,
        const void* gamma, const void* stats, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # columns first..last of sum(gradient xhat) and of sum(gradient) over the rows; either may be NULL, and all arrays
    # point at column 0, as in the three below
    void (*layer_norm_backward_parameters)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg, const void* x,
        Py_ssize_t ldx, const void* stats, void* gamma_gradient, void* beta_gradient, bint accumulate
    ) noexcept nogil
    # mean and biased variance of columns first..last
    void (*batch_norm_moments)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* x, Py_ssize_t ldx, void* mean, void* variance
    ) noexcept nogil
    # y = gamma xhat + beta, xhat = (x - mean)/sqrt(variance + epsilon) by columns; gamma, beta may be NULL; y may be x.
    # mean and variance may be NULL, together, here and below: xhat = x
    void (*batch_norm)(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const void* mean,
        const void* variance, const void* gamma, const void* beta, void* y, Py_ssize_t ldy
    ) noexcept nogil
    # columns first..last of sum(gradient) and of sum(gradient xhat), also the gradients of beta and gamma; either may
    # be NULL
    void (*batch_norm_sums)(
        double epsilon, Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, const void* mean, const void* variance, void* sum_gradient, void* sum_product,
        bint accumulate
    ) noexcept nogil
    # count: the rows that were summed; with sum_gradient NULL the moments are constants; out may be gradient or x
    void (*batch_norm_backward)(
        double epsilon, Py_ssize_t count, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, const void* mean, const void* variance, const void* gamma,
        const void* sum_gradient, const void* sum_product, void* out, Py_ssize_t ldo
    ) noexcept nogil
    # out = the columns of x, encoded; `table` is NULL if nothing is learned
    void (*encode)(
        Py_ssize_t m, const Encodings* columns, const void* x, Py_ssize_t ldx, const void* table, void* out,
        Py_ssize_t ldo
    ) noexcept nogil
    # the gradient with respect to x: 0 for codes
    void (*encode_backward)(
        Py_ssize_t m, const Encodings* columns, const void* gradient, Py_ssize_t ldg, const void* x, Py_ssize_t ldx,
        void* out, Py_ssize_t ldo
    ) noexcept nogil
    # numbers first..last of the gradient with respect to the table; out points at number 0
    void (*encode_backward_table)(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const Encodings* columns, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, void* out
    ) noexcept nogil
    # out[i] = x[rows[i]], or x[i] if rows is NULL: numbers of any dtype, strides in bytes, converted with one rounding
    void (*convert)(
        int number, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t row_stride, Py_ssize_t column_stride,
        const int64_t* rows, void* out, Py_ssize_t ldo
    ) noexcept nogil
