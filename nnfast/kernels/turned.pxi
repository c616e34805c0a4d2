# Dense layers with vectors down the rows: a block of rows is stored by columns, each column a run of whole vectors.
#
# Where layers are narrow, a vector along a row is partly empty: two classes fill an eighth of one. Down the rows all
# vectors are full. The chains of multiply-adds are those of `matmul`, and the sums of softmax those of
# `softmax_narrow`, so a row gives the same bits both ways. What the lanes past the last row compute is not used.

cdef enum:
    FEW = 4  # columns up to which elements are moved one by one


cdef void kernel_turn(
        Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx, void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t i = 0, j, q, rows, lanes
    cdef const real* x
    cdef real* out
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        x = <const real*>x_ + i*ldx
        j = 0
        while j < n:
            out = <real*>out_ + j*ldo + i
            lanes = min(n - j, <Py_ssize_t>VW)
            if lanes <= FEW and rows == VW:
                for q in range(lanes):
                    turn_column(x + j + q, ldx, out + q*ldo)
            else:
                for q in range(VW):
                    if q >= rows:
                        v[q] = vzero()
                    elif lanes == VW:
                        v[q] = vload(x + q*ldx + j)
                    else:
                        v[q] = vload_part(x + q*ldx + j, lanes, <real>0)
                vtranspose(v)
                for q in range(lanes):
                    vstore(out + q*ldo, v[q])
            j += VW
        i += VW


cdef inline void turn_column(const real* x, Py_ssize_t ldx, real* out) noexcept nogil:
    cdef int r
    for r in range(VW):
        out[r] = x[r*ldx]


cdef void kernel_turn_back(
        Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx, void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t i = 0, j, q, r, rows, lanes
    cdef const real* x
    cdef real* out
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        out = <real*>out_ + i*ldo
        j = 0
        while j < n:
            x = <const real*>x_ + j*ldx + i
            lanes = min(n - j, <Py_ssize_t>VW)
            if lanes <= FEW:
                for r in range(rows):
                    for q in range(lanes):
                        out[r*ldo + j + q] = x[q*ldx + r]
            else:
                for q in range(VW):
                    v[q] = vload(x + q*ldx) if q < lanes else vzero()
                vtranspose(v)
                for q in range(rows):
                    if lanes == VW:
                        vstore(out + q*ldo + j, v[q])
                    else:
                        vstore_part(out + q*ldo + j, v[q], lanes)
            j += VW
        i += VW


cdef void product_down(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const real* x, Py_ssize_t ldx, const real* W, Py_ssize_t ldw,
        real* out, Py_ssize_t ldo
) noexcept nogil:
    """out = x W for whole vectors of rows; `m` is a multiple of their length."""
    cdef Py_ssize_t i = 0, j
    cdef int vectors, rows
    while i < m:
        vectors = panel_vectors((m - i)//VW)
        j = 0
        while j < n_out:
            rows = tile_rows(vectors, n_out - j)
            run_tiles(
                rows, vectors, (n_out - j)//rows, vectors*VW, n_in, W + j, 1, ldw, x + i, ldx, out + j*ldo + i, ldo,
                False
            )
            j += (n_out - j)//rows*rows
        i += vectors*VW


cdef inline void dots_down(
        Py_ssize_t m, Py_ssize_t n_in, const real* x, Py_ssize_t ldx, const real* W, Py_ssize_t ldw, real* out
) noexcept nogil:
    """One column of x W in the order of `dots`: a chain for each lane of a vector along k, and the tree of `vsum`."""
    cdef vreal c[MAX_VW]
    cdef Py_ssize_t i = 0, k, q, half, few
    while i < m:
        for q in range(VW):
            c[q] = vzero()
        k = 0
        while k + VW <= n_in:
            for q in range(VW):
                c[q] = vfma(vload(x + (k + q)*ldx + i), vset(W[(k + q)*ldw]), c[q])
            k += VW
        for q in range(VW):
            if k + q < n_in:
                c[q] = vfma(vload(x + (k + q)*ldx + i), vset(W[(k + q)*ldw]), c[q])
        half = VW//2
        while half:
            for q in range(half):
                c[q] = c[q] + c[q + half]
            half //= 2
        vstore(out + i, c[0])
        i += VW


cdef inline void function_down(
        int function, real alpha, Py_ssize_t m, Py_ssize_t n, const real* b, real* out, Py_ssize_t ldo
) noexcept nogil:
    """out = f(out + b); `function` is a constant wherever this is inlined."""
    cdef vreal shift
    cdef Py_ssize_t i, j
    for j in range(n):
        shift = vzero() if b == NULL else vset(b[j])
        i = 0
        while i < m:
            vstore(out + j*ldo + i, vfunction(function, alpha, biased(b != NULL, vload(out + j*ldo + i), shift)))
            i += VW


cdef inline vreal biased(bint is_biased, vreal x, vreal shift) noexcept nogil:
    return x + shift if is_biased else x


cdef void softmax_down(
        Py_ssize_t m, Py_ssize_t n, bint logarithm, const real* x, Py_ssize_t ldx, real* out, Py_ssize_t ldo
) noexcept nogil:
    cdef vreal columns[NARROW]
    cdef Py_ssize_t i = 0, j
    while i < m:
        for j in range(n):
            columns[j] = vload(x + j*ldx + i)
        if logarithm:
            log_softmax_columns(n, columns)
        else:
            softmax_columns(n, columns)
        for j in range(n):
            vstore(out + j*ldo + i, columns[j])
        i += VW


cdef void kernel_dense_turned(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* x, Py_ssize_t ldx, const void* W, const void* b_,
        int function, double alpha_, void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef const real* b = <const real*>b_
    cdef real* out = <real*>out_
    cdef real alpha = <real>alpha_
    cdef Py_ssize_t dotted = dotted_columns(n_in, n_out), j
    m = (m + VW - 1)//VW*VW
    product_down(m, n_in, n_out - dotted, <const real*>x, ldx, <const real*>W, n_out, out, ldo)
    for j in range(n_out - dotted, n_out):
        dots_down(m, n_in, <const real*>x, ldx, <const real*>W + j, n_out, out + j*ldo)
    if function == SIGMOID:
        function_down(SIGMOID, alpha, m, n_out, b, out, ldo)
    elif function == TANH:
        function_down(TANH, alpha, m, n_out, b, out, ldo)
    elif function == RELU:
        function_down(RELU, alpha, m, n_out, b, out, ldo)
    else:
        if b != NULL:
            function_down(IDENTITY, alpha, m, n_out, b, out, ldo)
        kernel_apply_turned(function, alpha_, m, n_out, out, ldo, out, ldo)


cdef void kernel_apply_turned(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* out,
        Py_ssize_t ldo
) noexcept nogil:
    m = (m + VW - 1)//VW*VW
    if mixes(function):
        softmax_down(m, n, function == LOG_SOFTMAX, <const real*>x, ldx, <real*>out, ldo)
    else:
        kernel_apply(function, alpha, n, m, x, ldx, out, ldo)
