"""The kernels of the level in use, on NumPy arrays, under the names and signatures of `nnfast.reference`.

Arrays must be C-contiguous, aligned, in native byte order and all of one float dtype (labels: int64); anything else is
refused. `nnfast.functions` is the door that takes any array. `out` may be an input of an elementwise function.
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t
from nnfast.kernels.dispatch cimport table
from nnfast.kernels.table cimport (
    ADAM, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, EXP, HINGE, HUBER, IDENTITY, KL_DIVERGENCE, LOG, LOG_COSH,
    MEAN_ABSOLUTE_ERROR, MEAN_SQUARED_ERROR, POISSON, QUANTILE, RELU, SGD, SIGMOID, SIGMOID_BINARY_CROSS_ENTROPY,
    SOFTMAX, SOFTMAX_CROSS_ENTROPY, SOFTMAX_KL_DIVERGENCE, STEP, SUM_SQUARED_ERROR, TANH,
    Kernels, LossSpec, Optimizer, Targets, over_classes, over_elements,
)

import numpy as np

cnp.import_array()

cdef extern from *:
    """
    #if defined(__clang__)
    #define NNFAST_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define NNFAST_COMPILER "GCC " __VERSION__
    #else
    #define NNFAST_COMPILER "unknown"
    #endif
    #ifndef NNFAST_CHECKED
    #define NNFAST_CHECKED 0
    #endif
    /* The high half of a product: a number below `bound` from 64 random bits. */
    static inline int64_t nnfast_below(uint64_t bits, uint64_t bound) {
        return (int64_t)(((unsigned __int128)bits * bound) >> 64);
    }
    """
    int64_t below "nnfast_below" (uint64_t bits, uint64_t bound) nogil
    const char* NNFAST_COMPILER
    const bint NNFAST_CHECKED

COMPILER = NNFAST_COMPILER.decode("ascii")
CHECKED = bool(NNFAST_CHECKED)

# The codes by which the engine knows activations, losses and optimizers.
ACTIVATIONS = {"identity": IDENTITY, "step": STEP, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "softmax": SOFTMAX}
LOSSES = {
    "sum_squared_error": SUM_SQUARED_ERROR,
    "mean_squared_error": MEAN_SQUARED_ERROR,
    "mean_absolute_error": MEAN_ABSOLUTE_ERROR,
    "huber": HUBER,
    "log_cosh": LOG_COSH,
    "poisson": POISSON,
    "quantile": QUANTILE,
    "hinge": HINGE,
    "cross_entropy": CROSS_ENTROPY,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "kl_divergence": KL_DIVERGENCE,
    "softmax_cross_entropy": SOFTMAX_CROSS_ENTROPY,
    "sigmoid_binary_cross_entropy": SIGMOID_BINARY_CROSS_ENTROPY,
    "softmax_kl_divergence": SOFTMAX_KL_DIVERGENCE,
}
OPTIMIZERS = {"sgd": SGD, "adam": ADAM}


cdef const Kernels* kernels_for(cnp.ndarray x) except NULL:
    if x is None:
        raise TypeError("expected an array, got None")
    cdef int dtype = cnp.PyArray_TYPE(x)
    if dtype != cnp.NPY_FLOAT32 and dtype != cnp.NPY_FLOAT64:
        raise TypeError(f"kernels compute in float32 or float64, got {x.dtype}")
    return table(dtype == cnp.NPY_FLOAT64)


cdef int check(cnp.ndarray array, object dtype, object shape, bint writes) except -1:
    if array is None:
        raise TypeError("expected an array, got None")
    if array.dtype != dtype:
        raise TypeError(f"expected dtype {dtype}, got {array.dtype}")
    if not (cnp.PyArray_ISCARRAY(array) if writes else cnp.PyArray_ISCARRAY_RO(array)):
        raise ValueError("kernels need C-contiguous, aligned arrays in native byte order; outputs writable")
    if shape is not None and (<object>array).shape != shape:
        raise ValueError(f"expected shape {shape}, got {(<object>array).shape}")
    return 0


cdef cnp.ndarray output(object out, object shape, object dtype):
    """`out`, checked, or a new array."""
    if out is None:
        return np.empty(shape, dtype)
    check(out, dtype, shape, True)
    return out


cdef cnp.ndarray matrix(object array):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected a matrix, got {type(array).__name__}")
    if array.ndim != 2:
        raise ValueError(f"expected a matrix, got shape {array.shape}")
    return array


cdef cnp.ndarray with_slack(cnp.ndarray array):
    """A copy that may be read up to a vector past its end."""
    cdef Py_ssize_t size = cnp.PyArray_SIZE(array)
    copy = np.zeros(size + 16, array.dtype)
    copy[:size] = (<object>array).ravel()
    return copy


cdef Py_ssize_t rows_of(cnp.ndarray x):
    """Rows along the last axis."""
    cdef Py_ssize_t n = columns_of(x)
    return cnp.PyArray_SIZE(x)//n if n else 0


cdef Py_ssize_t columns_of(cnp.ndarray x):
    return cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1) if cnp.PyArray_NDIM(x) else 1


# ---- elementwise functions and softmax

cdef object apply(int function, cnp.ndarray x, object out):
    cdef const Kernels* K = kernels_for(x)
    check(x, x.dtype, None, False)
    cdef cnp.ndarray y = output(out, (<object>x).shape, x.dtype)
    cdef Py_ssize_t n = columns_of(x), m = rows_of(x)
    cdef const void* px = cnp.PyArray_DATA(x)
    cdef void* py = cnp.PyArray_DATA(y)
    with nogil:
        K.apply(function, m, n, px, n, py, n)
    return y


cdef object apply_backward(int function, cnp.ndarray gradient, cnp.ndarray y, object out):
    cdef const Kernels* K = kernels_for(y)
    check(y, y.dtype, None, False)
    check(gradient, y.dtype, (<object>y).shape, False)
    cdef cnp.ndarray result = output(out, (<object>y).shape, y.dtype)
    cdef Py_ssize_t n = columns_of(y), m = rows_of(y)
    cdef const void* pg = cnp.PyArray_DATA(gradient)
    cdef const void* py = cnp.PyArray_DATA(y)
    cdef void* po = cnp.PyArray_DATA(result)
    with nogil:
        K.apply_backward(function, m, n, pg, n, py, n, po, n)
    return result


def exp(x, out=None):
    return apply(EXP, x, out)


def log(x, out=None):
    return apply(LOG, x, out)


def step(x, out=None):
    return apply(STEP, x, out)


def step_backward(gradient, output, out=None):
    return apply_backward(STEP, gradient, output, out)


def identity(x, out=None):
    return apply(IDENTITY, x, out)


def identity_backward(gradient, output, out=None):
    return apply_backward(IDENTITY, gradient, output, out)


def sigmoid(x, out=None):
    return apply(SIGMOID, x, out)


def sigmoid_backward(gradient, output, out=None):
    return apply_backward(SIGMOID, gradient, output, out)


def tanh(x, out=None):
    return apply(TANH, x, out)


def tanh_backward(gradient, output, out=None):
    return apply_backward(TANH, gradient, output, out)


def relu(x, out=None):
    return apply(RELU, x, out)


def relu_backward(gradient, output, out=None):
    return apply_backward(RELU, gradient, output, out)


def softmax(x, out=None):
    return apply(SOFTMAX, x, out)


def softmax_backward(gradient, output, out=None):
    return apply_backward(SOFTMAX, gradient, output, out)


# ---- losses

cdef int fill_targets(Targets* targets, cnp.ndarray prediction, cnp.ndarray target) except -1:
    cdef Py_ssize_t n = columns_of(prediction), i
    cdef object shape = (<object>prediction).shape
    if target is None:
        raise TypeError("expected an array, got None")
    targets.labels = NULL
    targets.values = NULL
    targets.ld = 0
    targets.weights = NULL
    if cnp.PyArray_NDIM(target) == cnp.PyArray_NDIM(prediction):
        check(target, prediction.dtype, shape, False)
        targets.values = cnp.PyArray_DATA(target)
        targets.ld = n
        return 0
    check(target, np.int64, shape[: len(shape) - 1], False)
    targets.labels = <const int64_t*>cnp.PyArray_DATA(target)
    for i in range(cnp.PyArray_SIZE(target)):
        if not 0 <= targets.labels[i] < n:
            raise ValueError(f"labels must be in 0..{n - 1}, got {targets.labels[i]}")
    return 0


cdef LossSpec spec(int kind, double a=0, bint log_input=False):
    cdef LossSpec loss
    loss.kind = kind
    loss.a = a
    loss.log_input = log_input
    loss.per_output = NULL
    return loss


cdef int prepare_loss(int loss, cnp.ndarray prediction, Targets* targets, cnp.ndarray target) except -1:
    check(prediction, prediction.dtype, None, False)
    fill_targets(targets, prediction, target)
    if targets.labels != NULL and not over_classes(loss):
        raise ValueError("labels are for losses over classes: expected a target of the prediction's shape")
    return 0


cdef double averaged_over(int loss, cnp.ndarray prediction):
    return cnp.PyArray_SIZE(prediction) if over_elements(loss) else rows_of(prediction)


cdef object loss_value(LossSpec loss, cnp.ndarray prediction, cnp.ndarray target, object out):
    cdef const Kernels* K = kernels_for(prediction)
    cdef Targets targets
    prepare_loss(loss.kind, prediction, &targets, target)
    cdef cnp.ndarray value = output(out, (), prediction.dtype)
    cdef Py_ssize_t m = rows_of(prediction), n = columns_of(prediction), i
    cdef cnp.ndarray rows = np.empty(m, np.float64)
    cdef const void* px = cnp.PyArray_DATA(prediction)
    cdef double* row_loss = <double*>cnp.PyArray_DATA(rows)
    cdef double total = 0
    with nogil:
        K.loss(&loss, m, n, px, n, &targets, 1, row_loss, NULL, 0)
        for i in range(m):
            total += row_loss[i]
    cdef double count = averaged_over(loss.kind, prediction)
    (<object>value)[...] = total/count if count else float("nan")
    return value if out is not None else (<object>value)[()]


cdef object loss_backward(LossSpec loss, cnp.ndarray prediction, cnp.ndarray target, object out):
    cdef const Kernels* K = kernels_for(prediction)
    cdef Targets targets
    prepare_loss(loss.kind, prediction, &targets, target)
    cdef cnp.ndarray gradient = output(out, (<object>prediction).shape, prediction.dtype)
    cdef Py_ssize_t m = rows_of(prediction), n = columns_of(prediction)
    cdef const void* px = cnp.PyArray_DATA(prediction)
    cdef void* pg = cnp.PyArray_DATA(gradient)
    cdef double count = averaged_over(loss.kind, prediction)
    if count:
        with nogil:
            K.loss(&loss, m, n, px, n, &targets, 1/count, NULL, pg, n)
    return gradient


cdef cnp.ndarray of_outputs(object quantiles, cnp.ndarray prediction):
    check(quantiles, prediction.dtype, (columns_of(prediction),), False)
    return quantiles


def sum_squared_error(prediction, target, out=None):
    return loss_value(spec(SUM_SQUARED_ERROR), prediction, target, out)


def sum_squared_error_backward(prediction, target, out=None):
    return loss_backward(spec(SUM_SQUARED_ERROR), prediction, target, out)


def mean_squared_error(prediction, target, out=None):
    return loss_value(spec(MEAN_SQUARED_ERROR), prediction, target, out)


def mean_squared_error_backward(prediction, target, out=None):
    return loss_backward(spec(MEAN_SQUARED_ERROR), prediction, target, out)


def mean_absolute_error(prediction, target, out=None):
    return loss_value(spec(MEAN_ABSOLUTE_ERROR), prediction, target, out)


def mean_absolute_error_backward(prediction, target, out=None):
    return loss_backward(spec(MEAN_ABSOLUTE_ERROR), prediction, target, out)


def huber(prediction, target, delta=1.0, out=None):
    return loss_value(spec(HUBER, delta), prediction, target, out)


def huber_backward(prediction, target, delta=1.0, out=None):
    return loss_backward(spec(HUBER, delta), prediction, target, out)


def log_cosh(prediction, target, out=None):
    return loss_value(spec(LOG_COSH), prediction, target, out)


def log_cosh_backward(prediction, target, out=None):
    return loss_backward(spec(LOG_COSH), prediction, target, out)


def poisson(prediction, target, log_input=True, out=None):
    return loss_value(spec(POISSON, 0, log_input), prediction, target, out)


def poisson_backward(prediction, target, log_input=True, out=None):
    return loss_backward(spec(POISSON, 0, log_input), prediction, target, out)


def quantile(prediction, target, quantiles, out=None):
    cdef LossSpec loss = spec(QUANTILE)
    cdef cnp.ndarray each = of_outputs(quantiles, prediction)
    loss.per_output = cnp.PyArray_DATA(each)
    return loss_value(loss, prediction, target, out)


def quantile_backward(prediction, target, quantiles, out=None):
    cdef LossSpec loss = spec(QUANTILE)
    cdef cnp.ndarray each = of_outputs(quantiles, prediction)
    loss.per_output = cnp.PyArray_DATA(each)
    return loss_backward(loss, prediction, target, out)


def hinge(prediction, target, out=None):
    return loss_value(spec(HINGE), prediction, target, out)


def hinge_backward(prediction, target, out=None):
    return loss_backward(spec(HINGE), prediction, target, out)


def cross_entropy(prediction, target, label_smoothing=0.0, out=None):
    return loss_value(spec(CROSS_ENTROPY, label_smoothing), prediction, target, out)


def cross_entropy_backward(prediction, target, label_smoothing=0.0, out=None):
    return loss_backward(spec(CROSS_ENTROPY, label_smoothing), prediction, target, out)


def binary_cross_entropy(prediction, target, label_smoothing=0.0, out=None):
    return loss_value(spec(BINARY_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def binary_cross_entropy_backward(prediction, target, label_smoothing=0.0, out=None):
    return loss_backward(spec(BINARY_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def kl_divergence(prediction, target, out=None):
    return loss_value(spec(KL_DIVERGENCE), prediction, target, out)


def kl_divergence_backward(prediction, target, out=None):
    return loss_backward(spec(KL_DIVERGENCE), prediction, target, out)


def softmax_cross_entropy(prediction, target, label_smoothing=0.0, out=None):
    return loss_value(spec(SOFTMAX_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def softmax_cross_entropy_backward(prediction, target, label_smoothing=0.0, out=None):
    return loss_backward(spec(SOFTMAX_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def sigmoid_binary_cross_entropy(prediction, target, label_smoothing=0.0, out=None):
    return loss_value(spec(SIGMOID_BINARY_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def sigmoid_binary_cross_entropy_backward(prediction, target, label_smoothing=0.0, out=None):
    return loss_backward(spec(SIGMOID_BINARY_CROSS_ENTROPY, label_smoothing), prediction, target, out)


def softmax_kl_divergence(prediction, target, out=None):
    return loss_value(spec(SOFTMAX_KL_DIVERGENCE), prediction, target, out)


def softmax_kl_divergence_backward(prediction, target, out=None):
    return loss_backward(spec(SOFTMAX_KL_DIVERGENCE), prediction, target, out)


def count_correct(prediction, target, threshold=None):
    cdef cnp.ndarray x = prediction
    cdef const Kernels* K = kernels_for(x)
    cdef Targets targets
    check(x, x.dtype, None, False)
    fill_targets(&targets, x, target)
    if threshold is not None and targets.labels != NULL:
        raise ValueError("a threshold needs targets of the prediction's shape, got labels")
    return K.count_correct(
        threshold is None, threshold or 0, rows_of(x), columns_of(x), cnp.PyArray_DATA(x), columns_of(x), &targets
    )


# ---- matrix products and the dense layer

def matmul(a, b, out=None, *, transpose_a=False, transpose_b=False):
    cdef cnp.ndarray A = matrix(a), B = matrix(b)
    cdef const Kernels* K = kernels_for(A)
    check(A, A.dtype, None, False)
    check(B, A.dtype, None, False)
    cdef Py_ssize_t ca = cnp.PyArray_DIM(A, 1), cb = cnp.PyArray_DIM(B, 1)
    cdef Py_ssize_t m = ca if transpose_a else cnp.PyArray_DIM(A, 0), k = cnp.PyArray_DIM(A, 0) if transpose_a else ca
    cdef Py_ssize_t n = cnp.PyArray_DIM(B, 0) if transpose_b else cb, k_b = cb if transpose_b else cnp.PyArray_DIM(B, 0)
    if k != k_b:
        raise ValueError(f"cannot multiply ({m}, {k}) by ({k_b}, {n})")
    cdef cnp.ndarray C = output(out, (m, n), A.dtype)
    B = with_slack(B)
    K.matmul(
        m, n, k, cnp.PyArray_DATA(A), 1 if transpose_a else ca, ca if transpose_a else 1, cnp.PyArray_DATA(B),
        1 if transpose_b else cb, cb if transpose_b else 1, cnp.PyArray_DATA(C), n, False
    )
    return C


def dense(x, weights, bias, activation="identity", out=None):
    cdef cnp.ndarray X = matrix(x), W = matrix(weights), b
    cdef const Kernels* K = kernels_for(X)
    cdef int function = ACTIVATIONS[activation]
    cdef const void* pb = NULL
    cdef Py_ssize_t m = X.shape[0], n_in = X.shape[1], n_out = W.shape[1]
    check(X, X.dtype, (m, n_in), False)
    check(W, X.dtype, (n_in, n_out), False)
    if bias is not None:
        check(bias, X.dtype, (n_out,), False)
        b = with_slack(bias)
        pb = cnp.PyArray_DATA(b)
    cdef cnp.ndarray result = output(out, (m, n_out), X.dtype)
    W = with_slack(W)
    K.dense(
        m, n_in, n_out, cnp.PyArray_DATA(X), n_in, cnp.PyArray_DATA(W), pb, function, cnp.PyArray_DATA(result), n_out
    )
    return result


def dense_backward_input(gradient, weights, out=None):
    cdef cnp.ndarray G = matrix(gradient), W = matrix(weights)
    cdef const Kernels* K = kernels_for(G)
    cdef Py_ssize_t m = G.shape[0], n_in = W.shape[0], n_out = W.shape[1]
    check(G, G.dtype, (m, n_out), False)
    check(W, G.dtype, (n_in, n_out), False)
    cdef cnp.ndarray result = output(out, (m, n_in), G.dtype)
    W = with_slack(W)
    K.dense_backward_input(
        m, n_in, n_out, cnp.PyArray_DATA(G), n_out, cnp.PyArray_DATA(W), cnp.PyArray_DATA(result), n_in
    )
    return result


def dense_backward_weights(x, gradient, out=None):
    cdef cnp.ndarray X = matrix(x), G = matrix(gradient)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n_in = X.shape[1], n_out = G.shape[1]
    check(X, X.dtype, (m, n_in), False)
    check(G, X.dtype, (m, n_out), False)
    cdef cnp.ndarray result = output(out, (n_in, n_out), X.dtype)
    G = with_slack(G)
    K.dense_backward_weights(
        0, n_in, m, n_out, cnp.PyArray_DATA(X), n_in, cnp.PyArray_DATA(G), n_out, cnp.PyArray_DATA(result), False
    )
    return result


def dense_backward_bias(gradient, out=None):
    cdef cnp.ndarray G = matrix(gradient)
    cdef const Kernels* K = kernels_for(G)
    cdef Py_ssize_t m = G.shape[0], n_out = G.shape[1]
    check(G, G.dtype, (m, n_out), False)
    cdef cnp.ndarray result = output(out, (n_out,), G.dtype)
    G = with_slack(G)
    K.dense_backward_bias(m, n_out, cnp.PyArray_DATA(G), n_out, cnp.PyArray_DATA(result), False)
    return result


def rank_one(z, rows, scale, direction, out=None):
    cdef cnp.ndarray Z = matrix(z), R = rows, s = scale, d = direction
    cdef const Kernels* K = kernels_for(Z)
    check(Z, Z.dtype, None, False)
    check(R, np.int64, None, False)
    cdef Py_ssize_t m = cnp.PyArray_SIZE(R), n = Z.shape[1], i
    check(R, np.int64, (m,), False)
    check(s, Z.dtype, (m,), False)
    check(d, Z.dtype, (n,), False)
    cdef const int64_t* index = <const int64_t*>cnp.PyArray_DATA(R)
    for i in range(m):
        if not 0 <= index[i] < Z.shape[0]:
            raise ValueError(f"rows must be in 0..{Z.shape[0] - 1}, got {index[i]}")
    cdef cnp.ndarray result = output(out, (m, n), Z.dtype)
    d = with_slack(d)
    K.rank_one(
        m, n, cnp.PyArray_DATA(Z), n, index, cnp.PyArray_DATA(s), cnp.PyArray_DATA(d), cnp.PyArray_DATA(result), n
    )
    return result


# ---- optimizers

cdef int update(cnp.ndarray p, cnp.ndarray g, cnp.ndarray m, cnp.ndarray v, const Optimizer* optimizer) except -1:
    cdef const Kernels* K = kernels_for(p)
    cdef object shape = (<object>p).shape
    check(p, p.dtype, None, True)
    check(g, p.dtype, shape, False)
    for moment in (m, v):
        if moment is not None:
            check(moment, p.dtype, shape, True)
    K.update(
        cnp.PyArray_SIZE(p), cnp.PyArray_DATA(p), cnp.PyArray_DATA(g), NULL if m is None else cnp.PyArray_DATA(m),
        NULL if v is None else cnp.PyArray_DATA(v), optimizer
    )
    return 0


def sgd(parameters, gradient, learning_rate):
    cdef Optimizer o
    o.kind = SGD
    o.learning_rate = learning_rate
    update(parameters, gradient, None, None, &o)


def adam(parameters, gradient, first_moment, second_moment, learning_rate, beta1, beta2, epsilon, step):
    cdef Optimizer o
    o.kind = ADAM
    o.learning_rate = learning_rate
    o.beta1 = beta1
    o.beta2 = beta2
    o.epsilon = epsilon
    o.correction1 = 1 - beta1**step
    o.correction2 = 1 - beta2**step
    if first_moment is None or second_moment is None:
        raise TypeError("adam keeps two moments")
    update(parameters, gradient, first_moment, second_moment, &o)


# ---- what `fit` does to its data

def all_finite(x):
    cdef cnp.ndarray X = x
    cdef const Kernels* K = kernels_for(X)
    check(X, X.dtype, None, False)
    cdef const void* data = cnp.PyArray_DATA(X)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(X)
    cdef bint finite
    with nogil:
        finite = K.all_finite(n, data)
    return finite


cdef bitgen_t* generator_of(object bit_generator) except NULL:
    return <bitgen_t*>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")


cdef void shuffle_order(Py_ssize_t n, int64_t* order, bitgen_t* generator) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef int64_t other
    for i in range(n - 1, 0, -1):
        j = below(generator.next_uint64(generator.state), i + 1)
        other = order[i]
        order[i] = order[j]
        order[j] = other


def shuffle(order, bit_generator):
    cdef cnp.ndarray array = order
    check(array, np.int64, None, True)
    cdef bitgen_t* generator = generator_of(bit_generator)
    cdef int64_t* data = <int64_t*>cnp.PyArray_DATA(array)
    with bit_generator.lock, nogil:
        shuffle_order(cnp.PyArray_SIZE(array), data, generator)
