# Elementwise arithmetic of matrices.

cdef inline void store_columns(real* row, Py_ssize_t j, Py_ssize_t n, Py_ssize_t ld, vreal v) noexcept nogil:
    """Store columns from j on of an output row of n: a whole vector where it fits in the row's memory."""
    if j + VW <= ld:
        vstore(row + j, v)
    else:
        vstore_part(row + j, v, n - j)


cdef void kernel_rescale(
        double scale, double offset, Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx, void* y_,
        Py_ssize_t ldy
) noexcept nogil:
    cdef vreal factor = vset(<real>scale), shift = vset(<real>offset)
    cdef Py_ssize_t i, j
    cdef const real* x
    cdef real* y
    if n == ldx and n == ldy:
        n = ldx = ldy = m*n
        m = 1
    for i in range(m):
        x = <const real*>x_ + i*ldx
        y = <real*>y_ + i*ldy
        j = 0
        while j + VW <= n:
            vstore(y + j, vfma(vload(x + j), factor, shift))
            j += VW
        if j < n:
            store_columns(y, j, n, ldy, vfma(vload_before(x + j, x + n), factor, shift))


cdef void kernel_add(
        Py_ssize_t m, Py_ssize_t n, const void* a_, Py_ssize_t lda, const void* b_, Py_ssize_t ldb, void* out_,
        Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef const real* a
    cdef const real* b
    cdef real* out
    if n == lda and n == ldb and n == ldo:
        n = lda = ldb = ldo = m*n
        m = 1
    for i in range(m):
        a = <const real*>a_ + i*lda
        b = <const real*>b_ + i*ldb
        out = <real*>out_ + i*ldo
        j = 0
        while j + VW <= n:
            vstore(out + j, vload(a + j) + vload(b + j))
            j += VW
        if j < n:
            store_columns(out, j, n, ldo, vload_before(a + j, a + n) + vload_before(b + j, b + n))
