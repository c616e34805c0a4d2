"""The kernels of the level in use, for NumPy arrays.

`apply`, `loss` (with their `_backward`) and `update` take the name of an elementwise function, a loss or an optimizer;
every other operation is a function with the name and signature of its twin in `nnfast.reference`.

Arrays must be C-contiguous, aligned, in native byte order and all of one float dtype (labels: int64); anything else
raises an error. `nnfast.functions` accepts any array. `out` may be an input of an elementwise function.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset
from nnfast.kernels.dispatch cimport table
from nnfast.kernels.table cimport (
    EXP, MAX_MOMENTS, Encodings, Kernels, LossSpec, MetricSpec, Optimizer, Planes,
    SparseColumns, SparseRows, Targets, advance, by_output, from_logits, is_count, keeps, mix64, mixes, moments_needed,
    noise_key as key_of_noise, over_classes, over_elements, takes_labels,
)

import numpy as np

from nnfast.kernels.packing import packed as _packed
from nnfast.kernels.table import Function, Loss, Metric, Number, OptimizerKind

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

cdef enum:
    EPOCH_SLICE = 1 << 25  # multiply-adds of a perceptron's epoch between two looks for signals: some 10 ms


def _codes(enum, holds=lambda code: True):
    """Return the codes of operations by name, of those for which `holds` is true."""
    return {code.name.lower(): int(code) for code in enum if holds(code)}


FUNCTIONS = _codes(Function)
ACTIVATIONS = _codes(Function, lambda code: code < EXP)
LOSSES = _codes(Loss)
METRICS = _codes(Metric)
OPTIMIZERS = _codes(OptimizerKind)
NUMBERS = _codes(Number)  # by the name of the dtype

# The descriptions of activations and losses state this too; tests compare the two.
FROM_INPUT = frozenset(_codes(Function, lambda code: keeps(code)))
MIXING = frozenset(_codes(Function, lambda code: mixes(code)))
FUSED = frozenset(_codes(Loss, lambda code: from_logits(code)))
OF_LABELS = frozenset(_codes(Loss, lambda code: over_classes(code)))


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
    """Return `out`, checked, or a new array."""
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
    """Return a copy that may be read up to a vector past its end."""
    cdef Py_ssize_t size = cnp.PyArray_SIZE(array)
    copy = np.zeros(size + 16, array.dtype)
    copy[:size] = (<object>array).ravel()
    return copy


cdef Py_ssize_t rows_of(cnp.ndarray x):
    """Return the number of rows along the last axis."""
    cdef Py_ssize_t n = columns_of(x)
    return cnp.PyArray_SIZE(x)//n if n else 0


cdef Py_ssize_t columns_of(cnp.ndarray x):
    return cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1) if cnp.PyArray_NDIM(x) else 1


# ---- elementwise functions and softmax

def apply(function, x, alpha=0.0, out=None):
    cdef cnp.ndarray X = x
    cdef const Kernels* K = kernels_for(X)
    cdef int code = FUNCTIONS[function]
    cdef double parameter = alpha
    check(X, X.dtype, None, False)
    cdef cnp.ndarray y = output(out, (<object>X).shape, X.dtype)
    cdef Py_ssize_t n = columns_of(X), m = rows_of(X)
    cdef const void* px = cnp.PyArray_DATA(X)
    cdef void* py = cnp.PyArray_DATA(y)
    with nogil:
        K.apply(code, parameter, m, n, px, n, py, n)
    return y


def apply_backward(activation, gradient, at, alpha=0.0, out=None):
    cdef cnp.ndarray G = gradient, Y = at
    cdef const Kernels* K = kernels_for(Y)
    cdef int code = ACTIVATIONS[activation]
    cdef double parameter = alpha
    check(Y, Y.dtype, None, False)
    check(G, Y.dtype, (<object>Y).shape, False)
    cdef cnp.ndarray result = output(out, (<object>Y).shape, Y.dtype)
    cdef Py_ssize_t n = columns_of(Y), m = rows_of(Y)
    cdef const void* pg = cnp.PyArray_DATA(G)
    cdef const void* py = cnp.PyArray_DATA(Y)
    cdef void* po = cnp.PyArray_DATA(result)
    with nogil:
        K.apply_backward(code, parameter, m, n, pg, n, py, n, po, n)
    return result


def apply_keep(x, activation, alpha=0.0, out=None, derivative=None):
    cdef cnp.ndarray X = x
    cdef const Kernels* K = kernels_for(X)
    cdef int function = ACTIVATIONS[activation]
    if not keeps(function):
        raise ValueError(f"the derivative of {activation} is computed from its output")
    check(X, X.dtype, None, False)
    cdef cnp.ndarray y = output(out, x.shape, X.dtype), d = output(derivative, x.shape, X.dtype)
    cdef Py_ssize_t n = columns_of(X), m = rows_of(X)
    K.apply_keep(function, alpha, m, n, cnp.PyArray_DATA(X), n, cnp.PyArray_DATA(y), n, cnp.PyArray_DATA(d), n)
    return y, d


def multiply(a, b, out=None):
    cdef cnp.ndarray A = a, B = b
    cdef const Kernels* K = kernels_for(A)
    check(A, A.dtype, None, False)
    check(B, A.dtype, a.shape, False)
    cdef cnp.ndarray result = output(out, a.shape, A.dtype)
    cdef Py_ssize_t n = columns_of(A), m = rows_of(A)
    K.multiply(m, n, cnp.PyArray_DATA(A), n, cnp.PyArray_DATA(B), n, cnp.PyArray_DATA(result), n)
    return result


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


cdef LossSpec spec_of(object kind, cnp.ndarray prediction, object per_output, object numbers) except *:
    """The caller must keep `per_output` alive: one number for each output."""
    cdef LossSpec loss
    loss.kind = LOSSES[kind]
    loss.a, loss.b = (*numbers, 0, 0)[:max(2, len(numbers))]
    loss.per_output = NULL
    loss.period = 0
    if (per_output is not None) != by_output(loss.kind):
        raise TypeError(f"per_output is for losses with numbers for each output, and required there, got {kind}")
    if per_output is not None:
        check(per_output, prediction.dtype, (columns_of(prediction),), False)
        loss.per_output = cnp.PyArray_DATA(<cnp.ndarray>per_output)
        loss.period = columns_of(prediction)
    return loss


cdef int prepare_loss(int loss, cnp.ndarray prediction, Targets* targets, cnp.ndarray target) except -1:
    check(prediction, prediction.dtype, None, False)
    fill_targets(targets, prediction, target)
    if targets.labels != NULL and not over_classes(loss):
        raise ValueError("labels need a loss over classes: expected a target of the prediction's shape")
    return 0


cdef double averaged_over(int loss, cnp.ndarray prediction, bint summed):
    return cnp.PyArray_SIZE(prediction) if over_elements(loss) and not summed else rows_of(prediction)


def loss(kind, prediction, target, per_output=None, numbers=(), summed=False, out=None):
    """`summed`: the losses of a row's outputs are added up, not averaged."""
    cdef cnp.ndarray x = prediction
    cdef const Kernels* K = kernels_for(x)
    cdef LossSpec spec = spec_of(kind, x, per_output, numbers)
    cdef Targets targets
    prepare_loss(spec.kind, x, &targets, target)
    cdef cnp.ndarray value = output(out, (), x.dtype)
    cdef Py_ssize_t m = rows_of(x), n = columns_of(x), i
    cdef cnp.ndarray rows = np.empty(m, np.float64)
    cdef const void* px = cnp.PyArray_DATA(x)
    cdef double* row_loss = <double*>cnp.PyArray_DATA(rows)
    cdef double total = 0
    with nogil:
        K.loss(&spec, m, n, px, n, &targets, 1, row_loss, NULL, 0)
        for i in range(m):
            total += row_loss[i]
    cdef double count = averaged_over(spec.kind, x, summed)
    (<object>value)[...] = total/count if count else float("nan")
    return value if out is not None else (<object>value)[()]


def loss_backward(kind, prediction, target, per_output=None, numbers=(), summed=False, out=None):
    cdef cnp.ndarray x = prediction
    cdef const Kernels* K = kernels_for(x)
    cdef LossSpec spec = spec_of(kind, x, per_output, numbers)
    cdef Targets targets
    prepare_loss(spec.kind, x, &targets, target)
    cdef cnp.ndarray gradient = output(out, (<object>x).shape, x.dtype)
    cdef Py_ssize_t m = rows_of(x), n = columns_of(x)
    cdef const void* px = cnp.PyArray_DATA(x)
    cdef void* pg = cnp.PyArray_DATA(gradient)
    cdef double count = averaged_over(spec.kind, x, summed)
    if count:
        with nogil:
            K.loss(&spec, m, n, px, n, &targets, 1/count, NULL, pg, n)
    return gradient


# ---- metrics

def score(prediction, target, metric, threshold=0.5, k=1, weights=None, total=False):
    cdef cnp.ndarray x = prediction
    cdef const Kernels* K = kernels_for(x)
    cdef MetricSpec spec = MetricSpec(METRICS[metric], threshold, k)
    cdef Targets targets
    check(x, x.dtype, None, False)
    fill_targets(&targets, x, target)
    if targets.labels != NULL and not takes_labels(spec.kind):
        raise ValueError(f"{metric} needs targets of the prediction's shape, got labels")
    shape = prediction.shape[: prediction.ndim - 1]
    if weights is not None:
        check(weights, np.float64, shape, False)
        targets.weights = <const double*>cnp.PyArray_DATA(<cnp.ndarray>weights)
    cdef Py_ssize_t m = rows_of(x), n = columns_of(x)
    if total:
        if not is_count(spec.kind) or weights is not None:
            raise ValueError(f"a total is the number of right answers: not of {metric} with weights={weights}")
        return K.score(&spec, m, n, cnp.PyArray_DATA(x), n, &targets, NULL)
    cdef cnp.ndarray scores = np.zeros(shape, np.float64)
    K.score(&spec, m, n, cnp.PyArray_DATA(x), n, &targets, <double*>cnp.PyArray_DATA(scores))
    return scores


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


def dense(x, weights, bias, activation="identity", out=None, *, alpha=0.0):
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
        m, n_in, n_out, cnp.PyArray_DATA(X), n_in, cnp.PyArray_DATA(W), pb, function, alpha,
        cnp.PyArray_DATA(result), n_out
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


# ---- sparse rows

cdef int fill_sparse(SparseRows* x, cnp.ndarray values, object columns, object starts, Py_ssize_t n_in) except -1:
    """Let `x` describe the rows; ValueError unless the columns of each row are in range and ascending."""
    cdef Py_ssize_t count, i, e, m
    cdef int32_t last, wrong = 0
    kernels_for(values)
    count, m = cnp.PyArray_SIZE(values), len(starts) - 1
    check(values, values.dtype, (count,), False)
    check(columns, np.int32, (count,), False)
    check(starts, np.int64, (m + 1,), False)
    x.values = cnp.PyArray_DATA(values)
    x.columns = <const int32_t*>cnp.PyArray_DATA(<cnp.ndarray>columns)
    x.starts = <const int64_t*>cnp.PyArray_DATA(<cnp.ndarray>starts)
    x.ends = x.starts + 1
    if m < 0 or x.starts[0] != 0 or x.starts[m] != count:
        raise ValueError(f"starts must begin with 0 and end with {count}")
    for i in range(m):
        if not x.starts[i] <= x.starts[i + 1] <= count:
            raise ValueError("starts must not descend")
        last = -1
        for e in range(x.starts[i], x.starts[i + 1]):
            wrong |= x.columns[e] <= last
            last = x.columns[e]
        wrong |= last >= n_in
    if wrong:
        raise ValueError(f"columns must be in 0..{n_in - 1} and ascend in each row")
    return 0


def sparse_dense(values, columns, starts, weights, bias, activation="identity", out=None, *, alpha=0.0):
    cdef SparseRows x
    cdef cnp.ndarray W = matrix(weights), b
    cdef const Kernels* K = kernels_for(W)
    cdef Py_ssize_t n_in = W.shape[0], n_out = W.shape[1], m
    cdef const void* pb = NULL
    cdef int function = ACTIVATIONS[activation]
    fill_sparse(&x, values, columns, starts, n_in)
    m = len(starts) - 1
    check(W, values.dtype, None, False)
    if bias is not None:
        check(bias, W.dtype, (n_out,), False)
        b = with_slack(bias)
        pb = cnp.PyArray_DATA(b)
    cdef cnp.ndarray result = output(out, (m, n_out), W.dtype)
    W = with_slack(W)
    K.sparse_dense(m, n_in, n_out, &x, cnp.PyArray_DATA(W), pb, function, alpha, cnp.PyArray_DATA(result), n_out)
    return result


cdef int turn_sparse(SparseColumns* x, list arrays, values, columns, starts, Py_ssize_t n_in) except -1:
    """Let `x` describe the same elements by column, in memory that `arrays` keeps."""
    cdef SparseRows rows
    fill_sparse(&rows, values, columns, starts, n_in)
    arrays += [np.empty((len(values), 2), values.dtype), np.empty((2, len(values)), np.int32), np.zeros(n_in, np.int32)]
    x.elements = cnp.PyArray_DATA(<cnp.ndarray>arrays[0])
    x.columns = <int32_t*>cnp.PyArray_DATA(<cnp.ndarray>arrays[1])
    x.ends = x.columns + len(values)
    x.places = <int32_t*>cnp.PyArray_DATA(<cnp.ndarray>arrays[2])
    kernels_for(values).sparse_turn(len(starts) - 1, &rows, 0, n_in, x)
    return 0


cdef cnp.ndarray ends_of_chunks(Py_ssize_t m, chunks):
    if chunks not in (1, 2, 4, 8):
        raise ValueError(f"chunks must be 1, 2, 4 or 8, got {chunks}")
    return np.arange(1, chunks + 1, dtype=np.int64)*m//chunks


def sparse_backward_weights(values, columns, starts, gradient, n_in, out=None, *, chunks=1):
    cdef SparseColumns x
    cdef cnp.ndarray G = matrix(gradient)
    cdef const Kernels* K = kernels_for(G)
    cdef Py_ssize_t m = G.shape[0], n_out = G.shape[1]
    arrays = []
    turn_sparse(&x, arrays, values, columns, starts, n_in)
    check(G, values.dtype, (len(starts) - 1, n_out), False)
    cdef cnp.ndarray result = output(out, (n_in, n_out), G.dtype), ends = ends_of_chunks(m, chunks)
    G = with_slack(G)
    K.sparse_backward_weights(
        0, n_in, n_out, &x, cnp.PyArray_DATA(G), n_out, <const int64_t*>cnp.PyArray_DATA(ends), chunks,
        cnp.PyArray_DATA(result)
    )
    return result


def sparse_descend(values, columns, starts, gradient, weights, learning_rate, *, chunks=1):
    cdef SparseColumns x
    cdef Optimizer o
    cdef cnp.ndarray G = matrix(gradient), P = matrix(weights)
    cdef const Kernels* K = kernels_for(G)
    cdef Py_ssize_t m = G.shape[0], n_out = G.shape[1], n_in = P.shape[0]
    arrays = []
    turn_sparse(&x, arrays, values, columns, starts, n_in)
    check(G, values.dtype, (len(starts) - 1, n_out), False)
    check(P, values.dtype, (n_in, n_out), True)
    fill_fields(&o, "sgd", {"learning_rate": learning_rate})
    cdef cnp.ndarray ends = ends_of_chunks(m, chunks)
    G = with_slack(G)
    K.sparse_descend(
        n_out, &x, cnp.PyArray_DATA(G), n_out, <const int64_t*>cnp.PyArray_DATA(ends), chunks, cnp.PyArray_DATA(P), &o
    )


# ---- the perceptron

@cython.auto_pickle(False)  # Python refuses by itself, in less code
cdef class CompressedRows:
    """The rows of a CSR matrix, checked once, for operations that visit them again and again.

    Parameters
    ----------
    values, columns, starts : ndarray
        The stored elements of row i are ``values[starts[i]:starts[i + 1]]``, and `columns` has the column of each.
    n_in : int
        The number of columns.
    """

    cdef SparseRows rows
    cdef Py_ssize_t m, n
    cdef cnp.ndarray values
    cdef tuple places

    def __cinit__(self, values, columns, starts, n_in):
        # copies of what determines where memory is read: no other thread can change them
        self.places = columns, starts = np.array(columns), np.array(starts)
        self.values, self.m, self.n = values, len(starts) - 1, n_in
        fill_sparse(&self.rows, values, columns, starts, n_in)


cdef struct Rows:  # of a matrix, dense or sparse
    Py_ssize_t m
    Py_ssize_t n
    Py_ssize_t stored         # elements
    const void* x             # or NULL
    const SparseRows* sparse  # or NULL


cdef Rows rows_for(object x, cnp.ndarray weights) except *:
    """Return the rows of a matrix or of CompressedRows; `weights` must have their dtype and number of columns."""
    cdef cnp.ndarray values
    cdef CompressedRows compressed
    kernels_for(weights)
    if isinstance(x, CompressedRows):
        compressed = x
        values = compressed.values
        rows = Rows(compressed.m, compressed.n, cnp.PyArray_SIZE(values), NULL, &compressed.rows)
    else:
        values = matrix(x)
        rows = Rows(
            cnp.PyArray_DIM(values, 0), cnp.PyArray_DIM(values, 1), cnp.PyArray_SIZE(values), cnp.PyArray_DATA(values),
            NULL
        )
    check(values, weights.dtype, None, False)
    if cnp.PyArray_DIM(matrix(weights), 1) != rows.n:
        raise ValueError(f"expected weights for {rows.n} features, got {cnp.PyArray_DIM(weights, 1)}")
    return rows


def perceptron_scores(x, weights, bias, out=None):
    cdef cnp.ndarray W = weights, b = bias
    cdef const Kernels* K = kernels_for(W)
    cdef Rows rows = rows_for(x, W)
    cdef Py_ssize_t planes = cnp.PyArray_DIM(W, 0)
    check(W, W.dtype, None, False)
    check(b, W.dtype, (planes,), False)
    cdef cnp.ndarray result = output(out, (rows.m, planes), W.dtype)
    cdef const void* pw = cnp.PyArray_DATA(W)
    cdef const void* pb = cnp.PyArray_DATA(b)
    cdef void* scores = cnp.PyArray_DATA(result)
    with nogil:
        K.perceptron_scores(rows.m, rows.n, rows.x, rows.sparse, planes, pw, pb, scores)
    return result


cdef const int64_t* indices(cnp.ndarray array, Py_ssize_t end) except NULL:
    """Return the numbers of a vector; ValueError unless they are in 0..end - 1."""
    cdef Py_ssize_t i
    check(array, np.int64, None, False)
    cdef const int64_t* index = <const int64_t*>cnp.PyArray_DATA(array)
    for i in range(cnp.PyArray_SIZE(array)):
        if not 0 <= index[i] < end:
            raise ValueError(f"expected indices in 0..{end - 1}, got {index[i]}")
    return index


def perceptron_epoch(x, labels, weights, bias, rates, planes, order=None, row_weights=None, *, fit_bias=True):
    cdef cnp.ndarray W = weights, mistakes
    cdef const Kernels* K = kernels_for(W)
    cdef Rows rows = rows_for(x, W)
    cdef Py_ssize_t count = cnp.PyArray_DIM(W, 0), visits = rows.m, done = 0, some, at_once
    cdef Targets targets = Targets(NULL, NULL, 0, NULL)
    cdef Planes p
    cdef const int64_t* visited = NULL
    cdef bint finite
    check(W, W.dtype, None, True)
    check(bias, W.dtype, (count,), True)
    check(labels, np.int64, (rows.m,), False)
    check(rates, np.float64, (count, 2), False)
    targets.labels = <const int64_t*>cnp.PyArray_DATA(<cnp.ndarray>labels)
    if row_weights is not None:
        check(row_weights, np.float64, (rows.m,), False)
        targets.weights = <const double*>cnp.PyArray_DATA(<cnp.ndarray>row_weights)
    if order is not None:
        visited, visits = indices(order, rows.m), cnp.PyArray_SIZE(<cnp.ndarray>order)
    p.which, p.n = indices(planes, count), cnp.PyArray_SIZE(<cnp.ndarray>planes)
    mistakes = np.zeros(p.n, np.int64)
    p.weights, p.bias = cnp.PyArray_DATA(W), cnp.PyArray_DATA(<cnp.ndarray>bias)
    p.rates = <const double*>cnp.PyArray_DATA(<cnp.ndarray>rates)
    p.fit_bias = fit_bias
    p.mistakes = <int64_t*>cnp.PyArray_DATA(mistakes)
    at_once = 1 + <Py_ssize_t>(EPOCH_SLICE/((1. + rows.stored/max(rows.m, <Py_ssize_t>1))*(1 + p.n)))
    while done < visits:
        some = min(at_once, visits - done)
        with nogil:
            finite = K.perceptron_epoch(done, done + some, visited, rows.n, rows.x, rows.sparse, &targets, &p)
        if not finite:
            raise FloatingPointError(f"the numbers overflow {W.dtype}")
        done += some
        PyErr_CheckSignals()
    return mistakes


# ---- columns of a table

cdef const Encodings* encodings_in(cnp.ndarray block, cnp.ndarray x, cnp.ndarray gradient) except NULL:
    """Return the encodings; ValueError unless the matrix has a column for each, and the gradient, if there is one, that
    of their outputs."""
    cdef const Encodings* head = <const Encodings*>cnp.PyArray_DATA(block)
    check(x, x.dtype, ((<object>x).shape[0], head.n), False)
    if gradient is not None:
        check(gradient, x.dtype, ((<object>x).shape[0], head.n_out), False)
    return head


def encode(x, columns, embeddings=None, out=None):
    cdef cnp.ndarray X = matrix(x), block = _packed(columns, X.dtype), E
    cdef const Encodings* head = encodings_in(block, X, None)
    cdef const Kernels* K = kernels_for(X)
    E = np.empty(0, X.dtype) if embeddings is None else embeddings
    check(E, X.dtype, (head.learned,), False)
    E = with_slack(E)
    cdef cnp.ndarray result = output(out, ((<object>X).shape[0], head.n_out), X.dtype)
    K.encode(
        X.shape[0], head, cnp.PyArray_DATA(X), head.n, cnp.PyArray_DATA(E), cnp.PyArray_DATA(result), head.n_out
    )
    return result


def encode_backward(gradient, x, columns, out=None):
    cdef cnp.ndarray X = matrix(x), G = matrix(gradient), block = _packed(columns, X.dtype)
    cdef const Encodings* head = encodings_in(block, X, G)
    cdef const Kernels* K = kernels_for(X)
    cdef cnp.ndarray result = output(out, (<object>X).shape, X.dtype)
    K.encode_backward(
        X.shape[0], head, cnp.PyArray_DATA(G), head.n_out, cnp.PyArray_DATA(X), head.n, cnp.PyArray_DATA(result),
        head.n
    )
    return result


def encode_backward_table(gradient, x, columns, out=None):
    cdef cnp.ndarray X = matrix(x), G = matrix(gradient), block = _packed(columns, X.dtype)
    cdef const Encodings* head = encodings_in(block, X, G)
    cdef const Kernels* K = kernels_for(X)
    cdef cnp.ndarray result = output(out, (head.learned,), X.dtype)
    K.encode_backward_table(
        0, head.learned, X.shape[0], head, cnp.PyArray_DATA(G), head.n_out, cnp.PyArray_DATA(X), head.n,
        cnp.PyArray_DATA(result)
    )
    return result


# ---- plain arithmetic and noise

def rescale(x, scale, offset, out=None):
    cdef cnp.ndarray X = x
    cdef const Kernels* K = kernels_for(X)
    check(X, X.dtype, None, False)
    cdef cnp.ndarray y = output(out, (<object>X).shape, X.dtype)
    cdef Py_ssize_t n = columns_of(X)
    K.rescale(scale, offset, rows_of(X), n, cnp.PyArray_DATA(X), n, cnp.PyArray_DATA(y), n)
    return y


def add(a, b, out=None):
    cdef cnp.ndarray A = a, B = b
    cdef const Kernels* K = kernels_for(A)
    check(A, A.dtype, None, False)
    check(B, A.dtype, (<object>A).shape, False)
    cdef cnp.ndarray result = output(out, (<object>A).shape, A.dtype)
    cdef Py_ssize_t n = columns_of(A)
    K.add(rows_of(A), n, cnp.PyArray_DATA(A), n, cnp.PyArray_DATA(B), n, cnp.PyArray_DATA(result), n)
    return result


def convert(x, dtype, rows=None, out=None):
    cdef cnp.ndarray X = matrix(x), picked
    cdef const int64_t* order = NULL
    cdef Py_ssize_t m = cnp.PyArray_DIM(X, 0), n = cnp.PyArray_DIM(X, 1)
    if X.dtype.name not in NUMBERS or not X.dtype.isnative:
        raise TypeError(f"expected one of {', '.join(NUMBERS)}, got {X.dtype}")
    if rows is not None:
        picked = rows
        check(picked, np.dtype(np.int64), None, False)
        if cnp.PyArray_SIZE(picked) and not 0 <= rows.min() <= rows.max() < m:
            raise ValueError(f"expected rows from 0 to {m - 1}, got {rows.min()} to {rows.max()}")
        order, m = <const int64_t*>cnp.PyArray_DATA(picked), cnp.PyArray_SIZE(picked)
    cdef cnp.ndarray result = output(out, (m, n), np.dtype(dtype))
    kernels_for(result).convert(
        NUMBERS[X.dtype.name], m, n, cnp.PyArray_DATA(X), cnp.PyArray_STRIDE(X, 0), cnp.PyArray_STRIDE(X, 1), order,
        cnp.PyArray_DATA(result), n
    )
    return result


def noise_key(seed, step, layer):
    return key_of_noise(seed, step, layer)


def dropout(x, rate, key, row0=0, keep=None, out=None):
    cdef cnp.ndarray X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be at least 0 and below 1, got {rate}")
    cdef cnp.ndarray factors = output(keep, (m, n), X.dtype), y = output(out, (m, n), X.dtype)
    K.dropout(
        rate, key, row0, m, n, cnp.PyArray_DATA(X), n, cnp.PyArray_DATA(factors), n, cnp.PyArray_DATA(y), n
    )
    return y


def gaussian_noise(x, deviation, key, row0=0, out=None):
    cdef cnp.ndarray X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    cdef cnp.ndarray y = output(out, (m, n), X.dtype)
    K.gaussian_noise(deviation, key, row0, m, n, cnp.PyArray_DATA(X), n, cnp.PyArray_DATA(y), n)
    return y


# ---- normalization

cdef cnp.ndarray column_values(object array, object dtype, Py_ssize_t n):
    """Return a copy of one value per column, with slack after its end."""
    check(array, dtype, (n,), False)
    return with_slack(array)


cdef cnp.ndarray optional_values(object array, object dtype, Py_ssize_t n):
    return None if array is None else column_values(array, dtype, n)


cdef tuple moments_values(object mean, object variance, object dtype, Py_ssize_t n):
    """Return copies of both, with slack; or None twice, if both are None."""
    if mean is None and variance is None:
        return None, None
    return column_values(mean, dtype, n), column_values(variance, dtype, n)


cdef void* data_of(cnp.ndarray array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef object range_of(object columns, Py_ssize_t n):
    """Return the first and last of `columns`, or of all columns."""
    first, last = (0, n) if columns is None else columns
    if not 0 <= first <= last <= n:
        raise ValueError(f"columns must be a range within 0..{n}, got {columns}")
    return first, last


def layer_norm(x, gamma, beta, epsilon, stats=None, out=None):
    cdef cnp.ndarray X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    cdef cnp.ndarray scale = optional_values(gamma, X.dtype, n), shift = optional_values(beta, X.dtype, n)
    if stats is not None:
        check(stats, X.dtype, (m, 2), True)
    cdef cnp.ndarray y = output(out, (m, n), X.dtype)
    K.layer_norm(
        epsilon, m, n, cnp.PyArray_DATA(X), n, data_of(scale), data_of(shift), data_of(stats), cnp.PyArray_DATA(y), n
    )
    return y


def layer_norm_backward(gradient, x, gamma, stats, out=None):
    cdef cnp.ndarray G = matrix(gradient), X = matrix(x), S = stats
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    check(G, X.dtype, (m, n), False)
    check(S, X.dtype, (m, 2), False)
    cdef cnp.ndarray scale = optional_values(gamma, X.dtype, n), result = output(out, (m, n), X.dtype)
    K.layer_norm_backward(
        m, n, cnp.PyArray_DATA(G), n, cnp.PyArray_DATA(X), n, data_of(scale), cnp.PyArray_DATA(S),
        cnp.PyArray_DATA(result), n
    )
    return result


def layer_norm_backward_parameters(
    gradient, x, stats, gamma_gradient, beta_gradient, *, columns=None, accumulate=False
):
    cdef cnp.ndarray G = matrix(gradient), X = matrix(x), S = stats
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    check(G, X.dtype, (m, n), False)
    check(S, X.dtype, (m, 2), False)
    for out in (gamma_gradient, beta_gradient):
        if out is not None:
            check(out, X.dtype, (n,), True)
    first, last = range_of(columns, n)
    K.layer_norm_backward_parameters(
        first, last, m, cnp.PyArray_DATA(G), n, cnp.PyArray_DATA(X), n, cnp.PyArray_DATA(S), data_of(gamma_gradient),
        data_of(beta_gradient), accumulate
    )


def batch_norm_moments(x, out=None, *, columns=None):
    cdef cnp.ndarray X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    cdef cnp.ndarray result = output(np.zeros((2, n), X.dtype) if out is None else out, (2, n), X.dtype)
    first, last = range_of(columns, n)
    cdef char* mean = <char*>cnp.PyArray_DATA(result)
    K.batch_norm_moments(first, last, m, cnp.PyArray_DATA(X), n, mean, mean + n*K.itemsize)
    return result


def batch_norm(x, mean, variance, gamma, beta, epsilon, out=None):
    cdef cnp.ndarray X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    cdef cnp.ndarray center, square
    center, square = moments_values(mean, variance, X.dtype, n)
    cdef cnp.ndarray scale = optional_values(gamma, X.dtype, n), shift = optional_values(beta, X.dtype, n)
    cdef cnp.ndarray y = output(out, (m, n), X.dtype)
    K.batch_norm(
        epsilon, m, n, cnp.PyArray_DATA(X), n, data_of(center), data_of(square), data_of(scale), data_of(shift),
        cnp.PyArray_DATA(y), n
    )
    return y


def batch_norm_sums(gradient, x, mean, variance, epsilon, out=None, *, columns=None, accumulate=False):
    cdef cnp.ndarray G = matrix(gradient), X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    check(G, X.dtype, (m, n), False)
    cdef cnp.ndarray center, square
    center, square = moments_values(mean, variance, X.dtype, n)
    cdef cnp.ndarray result = output(np.zeros((2, n), X.dtype) if out is None else out, (2, n), X.dtype)
    first, last = range_of(columns, n)
    cdef char* sums = <char*>cnp.PyArray_DATA(result)
    K.batch_norm_sums(
        epsilon, first, last, m, cnp.PyArray_DATA(G), n, cnp.PyArray_DATA(X), n, data_of(center), data_of(square), sums,
        sums + n*K.itemsize, accumulate
    )
    return result


def batch_norm_backward(gradient, x, mean, variance, gamma, sums, count, epsilon, out=None):
    cdef cnp.ndarray G = matrix(gradient), X = matrix(x)
    cdef const Kernels* K = kernels_for(X)
    cdef Py_ssize_t m = X.shape[0], n = X.shape[1]
    check(X, X.dtype, None, False)
    check(G, X.dtype, (m, n), False)
    cdef cnp.ndarray center, square
    center, square = moments_values(mean, variance, X.dtype, n)
    cdef cnp.ndarray scale = optional_values(gamma, X.dtype, n), result = output(out, (m, n), X.dtype)
    cdef cnp.ndarray sum_gradient = None, sum_product = None
    if sums is not None:
        check(sums, X.dtype, (2, n), False)
        sum_gradient, sum_product = with_slack(sums[0]), with_slack(sums[1])
    K.batch_norm_backward(
        epsilon, count, m, n, cnp.PyArray_DATA(G), n, cnp.PyArray_DATA(X), n, data_of(center), data_of(square),
        data_of(scale), data_of(sum_gradient), data_of(sum_product), cnp.PyArray_DATA(result), n
    )
    return result


# ---- optimizers

cdef dict neutral():
    """Return the fields of an optimizer with neutral hyperparameters."""
    cdef Optimizer optimizer
    memset(&optimizer, 0, sizeof(optimizer))
    optimizer.clip_value = INFINITY
    optimizer.gradient_scale = optimizer.product = 1
    return optimizer


cdef dict NEUTRAL = neutral()


cdef int fill_fields(Optimizer* optimizer, object kind, dict values) except -1:
    given = {name: value for name, value in values.items() if value is not None}
    optimizer[0] = {**NEUTRAL, **given, "kind": OPTIMIZERS[kind]}
    return 0


cdef int fill_hyperparameters(Optimizer* optimizer, object values) except -1:
    return fill_fields(optimizer, values.kind, {name: getattr(values, name, None) for name in NEUTRAL})


def update(kind, parameters, gradient, moments=(), step=1, product=None, **hyperparameters):
    cdef cnp.ndarray p = parameters, g = gradient
    cdef const Kernels* K = kernels_for(p)
    cdef object shape = (<object>p).shape
    cdef void* data[MAX_MOMENTS]
    cdef Optimizer o
    cdef int k
    unknown = hyperparameters.keys() - NEUTRAL.keys()
    if unknown:
        raise TypeError(f"no optimizer has the hyperparameter {min(unknown)}")
    fill_fields(&o, kind, hyperparameters)
    o.product = step == 1 if product is None else product
    check(p, p.dtype, None, True)
    check(g, p.dtype, shape, False)
    needed = moments_needed(o.kind)
    if not needed <= len(moments) <= MAX_MOMENTS:
        raise ValueError(f"{kind} needs {needed} to {MAX_MOMENTS} moments, got {len(moments)}")
    memset(data, 0, sizeof(data))
    for k, moment in enumerate(moments):
        if k < needed or moment is not None:
            check(moment, p.dtype, shape, True)
            data[k] = cnp.PyArray_DATA(<cnp.ndarray>moment)
    advance(&o, step)
    K.update(cnp.PyArray_SIZE(p), cnp.PyArray_DATA(p), cnp.PyArray_DATA(g), data, &o)
    return o.product


def average(average, values, weight):
    cdef cnp.ndarray A = average, V = values
    cdef const Kernels* K = kernels_for(A)
    check(A, A.dtype, None, True)
    check(V, A.dtype, (<object>A).shape, False)
    K.average(cnp.PyArray_SIZE(A), weight, cnp.PyArray_DATA(A), cnp.PyArray_DATA(V))


def square_sum(x):
    cdef cnp.ndarray X = x
    cdef const Kernels* K = kernels_for(X)
    check(X, X.dtype, None, False)
    return K.square_sum(cnp.PyArray_SIZE(X), cnp.PyArray_DATA(X))


def dot(x, y):
    cdef cnp.ndarray X = x, Y = y
    cdef const Kernels* K = kernels_for(X)
    check(X, X.dtype, None, False)
    check(Y, X.dtype, (<object>X).shape, False)
    return K.dot(cnp.PyArray_SIZE(X), cnp.PyArray_DATA(X), cnp.PyArray_DATA(Y))


def penalty(parameters, l1, l2):
    cdef cnp.ndarray P = parameters
    cdef const Kernels* K = kernels_for(P)
    check(P, P.dtype, None, False)
    return K.penalty(cnp.PyArray_SIZE(P), cnp.PyArray_DATA(P), l1, l2)


def add_penalty(parameters, gradient, l1, l2):
    cdef cnp.ndarray P = parameters, G = gradient
    cdef const Kernels* K = kernels_for(P)
    check(P, P.dtype, None, False)
    check(G, P.dtype, (<object>P).shape, True)
    K.add_penalty(cnp.PyArray_SIZE(P), cnp.PyArray_DATA(P), cnp.PyArray_DATA(G), l1, l2)


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


cdef void shuffle_order(Py_ssize_t n, int64_t* order, uint64_t seed) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef uint64_t base = mix64(seed)
    cdef int64_t other
    for i in range(n - 1, 0, -1):
        j = below(mix64(base + <uint64_t>i), i + 1)
        other = order[i]
        order[i] = order[j]
        order[j] = other


cdef void draw_order(Py_ssize_t n, Py_ssize_t rows, int64_t* order, uint64_t seed) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint64_t base = mix64(seed)
    for i in range(n):
        order[i] = below(mix64(base + <uint64_t>i), rows)


cdef int64_t* order_of(cnp.ndarray order) except NULL:
    check(order, np.int64, None, True)
    return <int64_t*>cnp.PyArray_DATA(order)


def shuffle(order, uint64_t seed):
    cdef int64_t* data = order_of(order)
    cdef Py_ssize_t n = len(order)
    with nogil:
        shuffle_order(n, data, seed)


def draw(order, Py_ssize_t rows, uint64_t seed):
    cdef int64_t* data = order_of(order)
    cdef Py_ssize_t n = len(order)
    with nogil:
        draw_order(n, rows, data, seed)
