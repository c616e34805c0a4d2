# A dense layer, forward and backward: out = f(x W + b), W of shape (n_in, n_out).

cdef inline void bias_activation(
        int function, real alpha, Py_ssize_t m, Py_ssize_t n, const real* b, real* out, Py_ssize_t ldo
) noexcept nogil:
    """out = f(out + b), one pass; `function` is a constant wherever this is inlined."""
    cdef Py_ssize_t i, j
    cdef vreal v
    cdef real* row
    for i in range(m):
        row = out + i*ldo
        j = 0
        while j + VW <= n or (j < n and j + VW <= ldo):
            v = vload(row + j)
            if b != NULL:
                v = v + vload(b + j)
            vstore(row + j, vfunction(function, alpha, v))
            j += VW
        if j < n:
            v = vload_part(row + j, n - j, <real>0)
            if b != NULL:
                v = v + vload_part(b + j, n - j, <real>0)
            vstore_part(row + j, vfunction(function, alpha, v), n - j)


cdef void finish_dense(
        Py_ssize_t m, Py_ssize_t n_out, const real* b, int function, double alpha_, real* out, Py_ssize_t ldo
) noexcept nogil:
    """out = f(out + b); b may be NULL."""
    cdef real alpha = <real>alpha_
    cdef Py_ssize_t whole
    if function == SIGMOID:
        bias_activation(SIGMOID, alpha, m, n_out, b, out, ldo)
    elif function == TANH:
        bias_activation(TANH, alpha, m, n_out, b, out, ldo)
    elif function == RELU:
        bias_activation(RELU, alpha, m, n_out, b, out, ldo)
    elif function == LEAKY_RELU:
        bias_activation(LEAKY_RELU, alpha, m, n_out, b, out, ldo)
    elif function == STEP:
        bias_activation(STEP, alpha, m, n_out, b, out, ldo)
    else:  # in two passes: inlining the longer functions here would save little time
        if b != NULL:
            bias_activation(IDENTITY, alpha, m, n_out, b, out, ldo)
        if not mixes(function):  # whole vectors, where they fit
            whole = (n_out + VW - 1)//VW*VW
            n_out = whole if whole <= ldo else n_out
        kernel_apply(function, alpha_, m, n_out, out, ldo, out, ldo)


cdef void kernel_dense(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* x, Py_ssize_t ldx, const void* W, const void* b,
        int function, double alpha, void* out, Py_ssize_t ldo
) noexcept nogil:
    matmul(m, n_out, n_in, <const real*>x, ldx, 1, <const real*>W, n_out, 1, <real*>out, ldo, False)
    finish_dense(m, n_out, <const real*>b, function, alpha, <real*>out, ldo)


cdef void kernel_dense_backward_input(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, const void* W,
        void* out, Py_ssize_t ldo
) noexcept nogil:
    matmul(m, n_in, n_out, <const real*>gradient, ldg, 1, <const real*>W, 1, n_out, <real*>out, ldo, False)


cdef void kernel_dense_backward_weights(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, Py_ssize_t n_out, const void* x, Py_ssize_t ldx,
        const void* gradient, Py_ssize_t ldg, void* out, int accumulate
) noexcept nogil:
    matmul(
        last - first, n_out, m, <const real*>x + first, 1, ldx, <const real*>gradient, ldg, 1,
        <real*>out + first*n_out, n_out, accumulate
    )


cdef void kernel_dense_backward_bias(
        Py_ssize_t m, Py_ssize_t n_out, const void* gradient, Py_ssize_t ldg, void* out, bint accumulate
) noexcept nogil:
    cdef Columns c = columns_of(n_out, m, gradient, ldg, NULL, 0)
    c.sum_gradient = <real*>out
    c.accumulate = accumulate
    strips(SUM, 0, &c)


cdef void kernel_rank_one(
        Py_ssize_t m, Py_ssize_t n, const void* z_, Py_ssize_t ldz, const int64_t* rows, const void* scale_,
        const void* direction_, void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef const real* direction = <const real*>direction_
    cdef const real* z
    cdef real* out
    cdef vreal scale
    cdef Py_ssize_t i, j
    for i in range(m):
        z = <const real*>z_ + rows[i]*ldz
        out = <real*>out_ + i*ldo
        scale = vset((<const real*>scale_)[i])
        j = 0
        while j + VW <= n or (j < n and j + VW <= ldo and j + VW <= ldz):
            vstore(out + j, vfma(scale, vload(direction + j), vload(z + j)))
            j += VW
        if j < n:
            vstore_part(
                out + j,
                vfma(scale, vload_part(direction + j, n - j, <real>0), vload_part(z + j, n - j, <real>0)), n - j
            )
