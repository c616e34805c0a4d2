# The perceptron: scores of rows against planes, and the learning rule, which visits rows and corrects planes.
#
# A score has one order, so that a row has the same bits alone, in a batch and while learning: `score_of` computes all.

cdef extern from *:
    """
    /* a*b + c, rounded as in vfma */
    static inline real nnfast_fma(real a, real b, real c) {
    #if defined(__FMA__) || defined(__aarch64__)
        return sizeof(real) == 4 ? (real)__builtin_fmaf((float)a, (float)b, (float)c) : (real)__builtin_fma(a, b, c);
    #else
        return a * b + c;
    #endif
    }
    """
    real fma1 "nnfast_fma" (real, real, real) nogil

cdef enum:
    DOT_CHAINS = 4  # so that a multiply-add need not wait for the one before
    ROWS_AHEAD = 4


cdef inline real sparse_dot(
        Py_ssize_t count, const real* values, const int32_t* columns, const real* w
) noexcept nogil:
    cdef real c[DOT_CHAINS]
    cdef Py_ssize_t e = 0
    cdef int q
    for q in range(DOT_CHAINS):
        c[q] = 0
    while e + DOT_CHAINS <= count:
        for q in range(DOT_CHAINS):
            c[q] = fma1(values[e + q], w[columns[e + q]], c[q])
        e += DOT_CHAINS
    while e < count:
        c[0] = fma1(values[e], w[columns[e]], c[0])
        e += 1
    return (c[0] + c[1]) + (c[2] + c[3])


cdef real score_of(
        Py_ssize_t i, Py_ssize_t n, const real* x, const SparseRows* sparse, const real* w, real bias
) noexcept nogil:
    if sparse == NULL:
        return dot_block(n, x + i*n, w) + bias
    return bias + sparse_dot(
        sparse.ends[i] - sparse.starts[i], <const real*>sparse.values + sparse.starts[i],
        sparse.columns + sparse.starts[i], w
    )


cdef inline void ask_for_elements(Py_ssize_t i, Py_ssize_t n, const real* x, const SparseRows* sparse) noexcept nogil:
    """Ask for row i, which the processor cannot foresee."""
    if sparse == NULL:
        ask_for_row(x + i*n, n)
    else:
        ask_for_row(<const real*>sparse.values + sparse.starts[i], sparse.ends[i] - sparse.starts[i])
        ask_for(sparse.columns + sparse.starts[i])
        ask_for(<const char*>(sparse.columns + sparse.starts[i]) + CACHE_LINE)


cdef inline vreal add_row(Py_ssize_t n, real change, const real* x, real* w) noexcept nogil:
    """w += change x; return zeros, or NaN where a number overflows."""
    cdef vreal a = vset(change), v, overflow = vzero()
    cdef Py_ssize_t j = 0
    while j + VW <= n:
        v = vload(w + j) + a*vload(x + j)
        overflow = overflow + (v - v)
        vstore(w + j, v)
        j += VW
    if j < n:
        v = vload_part(w + j, n - j, <real>0) + a*vload_part(x + j, n - j, <real>0)
        overflow = overflow + (v - v)
        vstore_part(w + j, v, n - j)
    return overflow


cdef inline vreal add_sparse_row(
        Py_ssize_t count, real change, const real* values, const int32_t* columns, real* w
) noexcept nogil:
    cdef real v, overflow = 0
    cdef Py_ssize_t e
    for e in range(count):
        v = w[columns[e]] + change*values[e]
        overflow += v - v
        w[columns[e]] = v
    return vset(overflow)


cdef void kernel_perceptron_scores(
        Py_ssize_t m, Py_ssize_t n, const void* x, const SparseRows* sparse, Py_ssize_t planes, const void* weights,
        const void* bias, void* out
) noexcept nogil:
    cdef Py_ssize_t i, k
    for i in range(m):
        for k in range(planes):
            (<real*>out)[i*planes + k] = score_of(
                i, n, <const real*>x, sparse, <const real*>weights + k*n, (<const real*>bias)[k]
            )


cdef bint kernel_perceptron_epoch(
        Py_ssize_t first, Py_ssize_t last, const int64_t* order, Py_ssize_t n, const void* x_, const SparseRows* sparse,
        const Targets* targets, const Planes* planes
) noexcept nogil:
    cdef const real* x = <const real*>x_
    cdef const real* values
    cdef vreal overflow = vzero()
    cdef real score, change
    cdef real* w
    cdef real* b
    cdef Py_ssize_t r, i, p, k
    cdef bint fires
    for r in range(first, last):
        i = r if order == NULL else order[r]
        if order != NULL and r + ROWS_AHEAD < last:
            ask_for_elements(order[r + ROWS_AHEAD], n, x, sparse)
        for p in range(planes.n):
            k = planes.which[p]
            w = <real*>planes.weights + k*n
            b = <real*>planes.bias + k
            score = score_of(i, n, x, sparse, w, b[0])
            if score - score != 0:
                return False
            fires = targets.labels[i] == k
            if (score > 0) == fires:
                continue
            change = <real>(planes.rates[2*k + fires]*(1 if targets.weights == NULL else targets.weights[i]))
            change = change if fires else -change
            if sparse == NULL:
                overflow = overflow + add_row(n, change, x + i*n, w)
            else:
                values = <const real*>sparse.values + sparse.starts[i]
                overflow = overflow + add_sparse_row(
                    sparse.ends[i] - sparse.starts[i], change, values, sparse.columns + sparse.starts[i], w
                )
            if planes.fit_bias:
                b[0] += change
                overflow = overflow + vset(b[0] - b[0])
            planes.mistakes[p] += 1
    return vsum(overflow) == 0
