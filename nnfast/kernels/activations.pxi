# Elementwise functions, softmax, and their derivatives told from the output.

cdef inline vreal vfunction(int function, vreal x) noexcept nogil:
    """The function of one vector; `function` is a constant wherever this is inlined."""
    if function == STEP:
        return vselect(vle(x, vzero()), vzero(), vselect(veq(x, x), vset(<real>1), x))
    if function == SIGMOID:
        return vsigmoid(x)
    if function == TANH:
        return vtanh(x)
    if function == RELU:
        return vselect(vle(x, vzero()), vzero(), x)
    if function == EXP:
        return vexp(x)
    if function == LOG:
        return vlog(x)
    return x


cdef inline vreal vfunction_backward(int function, vreal gradient, vreal y) noexcept nogil:
    """gradient * f'(x), with f'(x) written in y = f(x)."""
    if function == STEP:  # zero wherever it exists; NaN stays NaN
        return vselect(veq(y, y), vzero(), y)
    if function == SIGMOID:
        return gradient*y*(vset(<real>1) - y)
    if function == TANH:
        return gradient*(vset(<real>1) - y)*(vset(<real>1) + y)
    if function == RELU:
        return vselect(vlt(vzero(), y), gradient, y - y)  # y - y is zero, or NaN where y is
    return gradient


cdef inline void each(int function, Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(y + i, vfunction(function, vload(x + i)))
        i += VW
    if i < n:
        vstore_part(y + i, vfunction(function, vload_part(x + i, n - i, <real>0)), n - i)


cdef inline void each_backward(
        int function, Py_ssize_t n, const real* gradient, const real* y, real* out
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(out + i, vfunction_backward(function, vload(gradient + i), vload(y + i)))
        i += VW
    if i < n:
        vstore_part(
            out + i,
            vfunction_backward(function, vload_part(gradient + i, n - i, <real>0), vload_part(y + i, n - i, <real>0)),
            n - i
        )


# Out of line, one copy of the loop for each function.
cdef void apply_row(int function, Py_ssize_t n, const real* x, real* y) noexcept nogil:
    if function == STEP:
        each(STEP, n, x, y)
    elif function == SIGMOID:
        each(SIGMOID, n, x, y)
    elif function == TANH:
        each(TANH, n, x, y)
    elif function == RELU:
        each(RELU, n, x, y)
    elif function == EXP:
        each(EXP, n, x, y)
    elif function == LOG:
        each(LOG, n, x, y)
    elif x != y:
        each(IDENTITY, n, x, y)


cdef void apply_row_backward(int function, Py_ssize_t n, const real* gradient, const real* y, real* out) noexcept nogil:
    if function == STEP:
        each_backward(STEP, n, gradient, y, out)
    elif function == SIGMOID:
        each_backward(SIGMOID, n, gradient, y, out)
    elif function == TANH:
        each_backward(TANH, n, gradient, y, out)
    elif function == RELU:
        each_backward(RELU, n, gradient, y, out)
    elif function == SOFTMAX:
        softmax_row_backward(n, gradient, y, out)
    elif gradient != out:
        each_backward(IDENTITY, n, gradient, y, out)


cdef inline real row_max(Py_ssize_t n, const real* x) noexcept nogil:
    cdef vreal top = vset(<real>-INFINITY)
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        top = vmax(vload(x + i), top)
        i += VW
    if i < n:
        top = vmax(vload_part(x + i, n - i, <real>-INFINITY), top)
    return vtop(top)


cdef enum:
    SUM_BLOCK = 4096  # elements of a sum in one precision; of more, the blocks' sums are added in double precision


cdef inline real exp_row(Py_ssize_t n, const real* x, real shift, real* y) noexcept nogil:
    """y = exp(x - shift); returns the sum. With y NULL only the sum is made."""
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += exp_block(min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, shift, NULL if y == NULL else y + i)
        i += SUM_BLOCK
    return <real>total


cdef inline real exp_block(Py_ssize_t n, const real* x, real shift, real* y) noexcept nogil:
    cdef vreal total = vzero(), e
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        e = vexp(vload(x + i) - vset(shift))
        if y != NULL:
            vstore(y + i, e)
        total = total + e
        i += VW
    if i < n:
        e = vexp(vload_part(x + i, n - i, <real>-INFINITY) - vset(shift))
        if y != NULL:
            vstore_part(y + i, e, n - i)
        total = total + e
    return vsum(total)


cdef inline void scale_row(Py_ssize_t n, real factor, real* y) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(y + i, vload(y + i)*vset(factor))
        i += VW
    if i < n:
        vstore_part(y + i, vload_part(y + i, n - i, <real>0)*vset(factor), n - i)


# Few columns leave a vector along a row mostly idle. There, VW rows are turned so that vectors run across them and each
# lane is a row of its own: the order of a row's sums is told by n alone, and its bits are the same in any batch.

cdef enum:
    NARROW = 32  # columns at most


cdef void turn_rows(
        Py_ssize_t rows, Py_ssize_t n, const real* x, Py_ssize_t ldx, bint behind, vreal* columns
) noexcept nogil:
    """The columns of up to VW rows, each row a lane; others are zero. `behind`: there are whole rows after these."""
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t j = 0, q
    cdef Py_ssize_t free = 0 if ldx < VW else rows if behind else rows - 1  # a vector may be read past the end of these
    while j < n:
        for q in range(VW):
            if q >= rows:
                v[q] = vzero()
            elif q < free or j + VW <= n:
                v[q] = vload(x + q*ldx + j)
            else:
                v[q] = vload_part(x + q*ldx + j, min(n - j, <Py_ssize_t>VW), <real>0)
        vtranspose(v)
        for q in range(VW):
            columns[j + q] = v[q]
        j += VW


cdef void turn_columns(Py_ssize_t rows, Py_ssize_t n, vreal* columns, real* y, Py_ssize_t ldy) noexcept nogil:
    """Back to rows."""
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t j = 0, q
    while j < n:
        for q in range(VW):
            v[q] = columns[j + q]
        vtranspose(v)
        for q in range(rows):
            if j + VW <= ldy:
                vstore(y + q*ldy + j, v[q])
            else:
                vstore_part(y + q*ldy + j, v[q], n - j)
        j += VW


cdef inline vreal exp_columns(Py_ssize_t n, vreal* columns, vreal* top) noexcept nogil:
    """exp(x - top) in place, with the largest of each lane as top; returns the sums."""
    cdef vreal largest = columns[0], total = vzero()
    cdef Py_ssize_t j
    for j in range(1, n):
        largest = vmax(columns[j], largest)
    for j in range(n):
        columns[j] = vexp(columns[j] - largest)
        total = total + columns[j]
    top[0] = largest
    return total


cdef void softmax_narrow(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, real* y, Py_ssize_t ldy
) noexcept nogil:
    cdef vreal columns[NARROW + MAX_VW]
    cdef vreal top, factor
    cdef Py_ssize_t i = 0, j, rows
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        factor = vset(<real>1)/exp_columns(n, columns, &top)
        for j in range(n):
            columns[j] = columns[j]*factor
        turn_columns(rows, n, columns, y + i*ldy, ldy)
        i += rows


cdef void softmax(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, real* y, Py_ssize_t ldy
) noexcept nogil:
    cdef Py_ssize_t i
    if n <= NARROW:
        softmax_narrow(m, n, x, ldx, y, ldy)
        return
    for i in range(m):
        softmax_row(n, x + i*ldx, y + i*ldy)


cdef inline void softmax_row(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef real total = exp_row(n, x, row_max(n, x), y)
    scale_row(n, <real>1/total, y)


cdef inline void softmax_row_backward(Py_ssize_t n, const real* gradient, const real* y, real* out) noexcept nogil:
    """out = y * (gradient - sum(gradient * y))."""
    cdef vreal total
    cdef double sums = 0
    cdef real mean
    cdef Py_ssize_t i = 0, end
    while i < n:
        total = vzero()
        end = min(n, i + SUM_BLOCK)
        while i + VW <= end:
            total = vfma(vload(gradient + i), vload(y + i), total)
            i += VW
        if i < end:
            total = vfma(vload_part(gradient + i, n - i, <real>0), vload_part(y + i, n - i, <real>0), total)
            i = n
        sums += vsum(total)
    mean = <real>sums
    i = 0
    while i + VW <= n:
        vstore(out + i, vload(y + i)*(vload(gradient + i) - vset(mean)))
        i += VW
    if i < n:
        vstore_part(
            out + i, vload_part(y + i, n - i, <real>0)*(vload_part(gradient + i, n - i, <real>0) - vset(mean)), n - i
        )


cdef void kernel_apply(
        int function, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy
) noexcept nogil:
    cdef Py_ssize_t i
    if function == SOFTMAX:
        softmax(m, n, <const real*>x, ldx, <real*>y, ldy)
        return
    if ldx == n and ldy == n:  # no gaps between rows: one long row
        n = m*n
        m = 1
    for i in range(m):
        apply_row(function, n, <const real*>x + i*ldx, <real*>y + i*ldy)


cdef void kernel_apply_backward(
        int function, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* y, Py_ssize_t ldy,
        void* out, Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t i
    if function != SOFTMAX and ldg == n and ldy == n and ldo == n:
        n = m*n
        m = 1
    for i in range(m):
        apply_row_backward(function, n, <const real*>gradient + i*ldg, <const real*>y + i*ldy, <real*>out + i*ldo)


cdef bint kernel_all_finite(Py_ssize_t n, const void* x) noexcept nogil:
    """x - x is zero for finite x and NaN for others."""
    cdef vint bad = veq(vzero(), vset(<real>1))
    cdef vreal v
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        v = vload(<const real*>x + i)
        bad = bad | ~veq(v - v, vzero())
        i += VW
    if i < n:
        v = vload_part(<const real*>x + i, n - i, <real>0)
        bad = bad | ~veq(v - v, vzero())
    return not vany(bad)
