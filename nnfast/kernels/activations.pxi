# Elementwise functions, softmax and log_softmax, and their derivatives: computed from the output, or from the input for
# functions that keep their derivative. `alpha` is the parameter of a function.
#
# Error bounds, measured in tests/test_activations.py in units in the last place: elu 2, selu 3, gelu 6, silu 4,
# softplus 3 and mish 5, also where they underflow; gelu_tanh 6 + 4 v, v = sqrt(8/pi)*abs(x + 0.044715*x**3), because
# the argument of its exponential is rounded. Kept derivatives: 2 epsilon, of mish 3.

cdef double SELU_ALPHA = 1.6732632423543772848170429916717
cdef double SELU_SCALE = 1.0507009873554804934193349852946


cdef inline vreal vgate(int function, vreal x, vreal* derivative) noexcept nogil:
    """x*F(x) and its derivative for a distribution function F that is symmetric about zero.

    Both are computed from the tail T(a) = F(-a) at a = |x|: the value is max(x, 0) - a T(a), and the derivative is
    D(a) = T(a) + a T'(a) to the left of zero, 1 - D(a) to the right. T is lifted while it is small.
    """
    cdef vreal a = vabs(x), one = vset(<real>1), n, r, e, tail, slope, limit
    # both are zero beyond it
    if function == GELU:
        limit = vset(<real>14.6 if sizeof(real) == 4 else <real>38.75)
    elif function == GELU_TANH:
        limit = vset(<real>10.95 if sizeof(real) == 4 else <real>21.6)
    else:
        limit = vset(<real>110 if sizeof(real) == 4 else <real>752)
    a = vselect(vlt(limit, a), limit, a)  # NaN passes
    if function == GELU:  # F is the normal distribution
        e = vexp_half_square(a)
        tail = vtail_ratio(a)
        slope = e*vfma(a, vset(<real>-0.39894228040143267794), tail)
        tail = e*tail
    else:  # F(x) = 1/(1 + exp(-v(x)))
        r = -a
        slope = a
        if function == GELU_TANH:
            e = a*a
            r = r*vfma(e, vset(<real>0.071354816272600244904), vset(<real>1.5957691216057307117))
            slope = a*vfma(e, vset(<real>0.21406444881780073471), vset(<real>1.5957691216057307117))
        r = vreduce(r, &n)
        e = vexp_lifted(n, r)
        r = one/vfma(e, vunlift(), one)
        tail = e*r
        slope = tail*(one - slope*r)
    slope = slope*vunlift()
    derivative[0] = vselect(vlt(x, vzero()), slope, one - slope)
    return vselect(vlt(x, vzero()), vzero(), x) - a*tail*vunlift()


cdef inline vreal vsoftplus(vreal x, real beta, vreal* derivative) noexcept nogil:
    """log(1 + exp(beta x))/beta = max(x, 0) + log(1 + exp(-|beta x|))/beta, and its derivative sigmoid(beta x)."""
    cdef vreal e = vexp(-vabs(vset(beta)*x))
    derivative[0] = vselect(vlt(x, vzero()), e, vset(<real>1))/(vset(<real>1) + e)
    return vselect(vlt(x, vzero()), vzero(), x) + vlog1p(e)/vset(beta)


cdef inline vreal vmish(vreal x, vreal* derivative) noexcept nogil:
    """x tanh(log(1 + exp(x))) and its derivative, from u = exp(-|x|): tanh(log(1 + 1/u)) = (1 + 2 u)/(1 + 2 u + 2 u^2),
    and tanh(log(1 + u)) = u (2 + u)/(2 + 2 u + u^2). To the left of zero, u is lifted while the factor is small."""
    cdef vint left = vlt(x, vzero())
    cdef vreal a = vabs(x), limit = vset(<real>110 if sizeof(real) == 4 else <real>752)  # u is zero beyond it
    cdef vreal one = vset(<real>1), n, r, lifted, u, v, value, slope
    a = vselect(vlt(limit, a), limit, a)  # NaN passes
    r = vreduce(-a, &n)
    lifted = vexp_lifted(n, r)
    u = lifted*vunlift()
    v = one + u
    r = one/vselect(left, vfma(v, v, one), vfma(u + u, v, one))
    slope = vset(<real>4)*a*v*r
    value = vselect(left, lifted*(one + v), v + u)*r
    slope = vselect(left, lifted*(one + v - slope)*r*vunlift(), vfma(u*u*r, slope, value))
    derivative[0] = slope
    return vselect(left, -a*value*vunlift(), x*value)


cdef inline vreal vkept(int function, real alpha, vreal x, vreal* derivative) noexcept nogil:
    """Return the value of a function that keeps its derivative; write the derivative."""
    if function == SOFTPLUS:
        return vsoftplus(x, alpha, derivative)
    if function == MISH:
        return vmish(x, derivative)
    return vgate(function, x, derivative)


cdef inline vreal vfunction(int function, real alpha, vreal x) noexcept nogil:
    """The function of one vector; `function` is a constant wherever this is inlined."""
    cdef vreal y
    if function == STEP:
        return vselect(vle(x, vzero()), vzero(), vselect(veq(x, x), vset(<real>1), x))
    if function == SIGMOID:
        return vsigmoid(x)
    if function == TANH:
        return vtanh(x)
    if function == RELU:
        return vselect(vle(x, vzero()), vzero(), x)
    if function == LEAKY_RELU:
        return vselect(vle(x, vzero()), vset(alpha)*x, x)
    if function == ELU:
        return vselect(vle(x, vzero()), vset(alpha)*vexpm1_below(x), x)
    if function == SELU:
        y = vset(<real>SELU_ALPHA)*vexpm1_below(x)
        return vset(<real>SELU_SCALE)*vselect(vle(x, vzero()), y, x)
    if function == HARD_SIGMOID:
        y = x + vset(<real>3)
        y = vselect(vlt(y, vzero()), vzero(), vselect(vlt(vset(<real>6), y), vset(<real>6), y))
        return y/vset(<real>6)
    if function == EXP:
        return vexp(x)
    if function == LOG:
        return vlog(x)
    if keeps(function):
        return vkept(function, alpha, x, &y)
    return x


cdef inline vreal vfunction_backward(int function, real alpha, vreal gradient, vreal y) noexcept nogil:
    """gradient * f'(x), with f'(x) computed from y = f(x), or from y = x for a function that keeps its derivative."""
    cdef vreal slope
    if function == STEP:  # zero wherever it exists; NaN stays NaN
        return vselect(veq(y, y), vzero(), y)
    if function == SIGMOID:
        return gradient*y*(vset(<real>1) - y)
    if function == TANH:
        return gradient*(vset(<real>1) - y)*(vset(<real>1) + y)
    if function == RELU:
        return vselect(vlt(vzero(), y), gradient, y - y)  # y - y is zero, or NaN where y is
    if function == LEAKY_RELU:
        return gradient*vselect(vlt(vzero(), y), vset(<real>1), vselect(veq(y, y), vset(alpha), y))
    if function == ELU:
        return gradient*vselect(vlt(vzero(), y), vset(<real>1), y + vset(alpha))
    if function == SELU:
        return gradient*vselect(vlt(vzero(), y), vset(<real>SELU_SCALE), y + vset(<real>(SELU_SCALE*SELU_ALPHA)))
    if function == HARD_SIGMOID:  # zero at the corners
        slope = vselect(vlt(y, vset(<real>1)), gradient*vset(<real>(1.0/6)), y - y)
        return vselect(vlt(vzero(), y), slope, y - y)
    if keeps(function):
        vkept(function, alpha, y, &slope)
        return gradient*slope
    return gradient


# The last, partial vector has its own copy of the code: a loop for both takes a third longer.

cdef inline void each(int function, real alpha, Py_ssize_t n, const real* x, real* y) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(y + i, vfunction(function, alpha, vload(x + i)))
        i += VW
    if i < n:
        vstore_part(y + i, vfunction(function, alpha, vload_part(x + i, n - i, <real>0)), n - i)


cdef inline void each_keep(
        int function, real alpha, Py_ssize_t n, const real* x, real* y, real* derivative
) noexcept nogil:
    cdef vreal v, slope
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        v = vkept(function, alpha, vload(x + i), &slope)
        vstore(y + i, v)
        vstore(derivative + i, slope)
        i += VW
    if i < n:
        v = vkept(function, alpha, vload_part(x + i, n - i, <real>0), &slope)
        vstore_part(y + i, v, n - i)
        vstore_part(derivative + i, slope, n - i)


cdef inline void each_backward(
        int function, real alpha, Py_ssize_t n, const real* gradient, const real* y, real* out
) noexcept nogil:
    cdef vreal g, v
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(out + i, vfunction_backward(function, alpha, vload(gradient + i), vload(y + i)))
        i += VW
    if i < n:
        g = vload_part(gradient + i, n - i, <real>0)
        v = vload_part(y + i, n - i, <real>0)
        vstore_part(out + i, vfunction_backward(function, alpha, g, v), n - i)


# Out of line, one copy of the loop for each function.
cdef void apply_row(int function, real alpha, Py_ssize_t n, const real* x, real* y) noexcept nogil:
    if function == STEP:
        each(STEP, alpha, n, x, y)
    elif function == SIGMOID:
        each(SIGMOID, alpha, n, x, y)
    elif function == TANH:
        each(TANH, alpha, n, x, y)
    elif function == RELU:
        each(RELU, alpha, n, x, y)
    elif function == LEAKY_RELU:
        each(LEAKY_RELU, alpha, n, x, y)
    elif function == ELU:
        each(ELU, alpha, n, x, y)
    elif function == SELU:
        each(SELU, alpha, n, x, y)
    elif function == GELU:
        each(GELU, alpha, n, x, y)
    elif function == GELU_TANH:
        each(GELU_TANH, alpha, n, x, y)
    elif function == SILU:
        each(SILU, alpha, n, x, y)
    elif function == SOFTPLUS:
        each(SOFTPLUS, alpha, n, x, y)
    elif function == MISH:
        each(MISH, alpha, n, x, y)
    elif function == HARD_SIGMOID:
        each(HARD_SIGMOID, alpha, n, x, y)
    elif function == EXP:
        each(EXP, alpha, n, x, y)
    elif function == LOG:
        each(LOG, alpha, n, x, y)
    elif x != y:
        each(IDENTITY, alpha, n, x, y)


cdef void apply_row_keep(
        int function, real alpha, Py_ssize_t n, const real* x, real* y, real* derivative
) noexcept nogil:
    if function == GELU:
        each_keep(GELU, alpha, n, x, y, derivative)
    elif function == GELU_TANH:
        each_keep(GELU_TANH, alpha, n, x, y, derivative)
    elif function == SILU:
        each_keep(SILU, alpha, n, x, y, derivative)
    elif function == SOFTPLUS:
        each_keep(SOFTPLUS, alpha, n, x, y, derivative)
    elif function == MISH:
        each_keep(MISH, alpha, n, x, y, derivative)


cdef void apply_row_backward(
        int function, real alpha, Py_ssize_t n, const real* gradient, const real* y, real* out
) noexcept nogil:
    if function == STEP:
        each_backward(STEP, alpha, n, gradient, y, out)
    elif function == SIGMOID:
        each_backward(SIGMOID, alpha, n, gradient, y, out)
    elif function == TANH:
        each_backward(TANH, alpha, n, gradient, y, out)
    elif function == RELU:
        each_backward(RELU, alpha, n, gradient, y, out)
    elif function == LEAKY_RELU:
        each_backward(LEAKY_RELU, alpha, n, gradient, y, out)
    elif function == ELU:
        each_backward(ELU, alpha, n, gradient, y, out)
    elif function == SELU:
        each_backward(SELU, alpha, n, gradient, y, out)
    elif function == GELU:
        each_backward(GELU, alpha, n, gradient, y, out)
    elif function == GELU_TANH:
        each_backward(GELU_TANH, alpha, n, gradient, y, out)
    elif function == SILU:
        each_backward(SILU, alpha, n, gradient, y, out)
    elif function == SOFTPLUS:
        each_backward(SOFTPLUS, alpha, n, gradient, y, out)
    elif function == MISH:
        each_backward(MISH, alpha, n, gradient, y, out)
    elif function == HARD_SIGMOID:
        each_backward(HARD_SIGMOID, alpha, n, gradient, y, out)
    elif function == SOFTMAX:
        softmax_row_backward(n, gradient, y, out)
    elif function == LOG_SOFTMAX:
        log_softmax_row_backward(n, gradient, y, out)
    elif gradient != out:
        each_backward(IDENTITY, alpha, n, gradient, y, out)


cdef inline real row_max(Py_ssize_t n, const real* x) noexcept nogil:
    cdef vreal top = vset(<real>-INFINITY)
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        top = vmax(vload(x + i), top)
        i += VW
    if i < n:
        top = vmax(vload_part(x + i, n - i, <real>-INFINITY), top)
    return vtop(top)


cdef inline real exp_row(Py_ssize_t n, const real* x, real shift, real* y) noexcept nogil:
    """y = exp(x - shift); return the sum. If y is NULL, only the sum is computed."""
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


# With few columns a vector along a row would be mostly idle. There, VW rows are transposed so that vectors run across
# them and each lane holds one row: the order of a row's sums depends only on n, and its bits are the same in any batch.

cdef enum:
    COUPLE = 2  # columns up to which it is quicker to move elements one by one


cdef void turn_rows(
        Py_ssize_t rows, Py_ssize_t n, const real* x, Py_ssize_t ldx, bint behind, vreal* columns
) noexcept nogil:
    """Load the columns of up to VW rows, one lane per row; other lanes are zero. `behind`: whole rows follow these."""
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t j = 0, q
    cdef Py_ssize_t free = 0 if ldx < VW else rows if behind else rows - 1  # rows that may be read past their end
    if n <= COUPLE and rows == VW:
        for j in range(n):
            for q in range(VW):
                (<real*>columns)[j*VW + q] = x[q*ldx + j]
        return
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


cdef void turn_columns(Py_ssize_t rows, Py_ssize_t n, const vreal* columns, real* y, Py_ssize_t ldy) noexcept nogil:
    """Store the columns as rows."""
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t j = 0, q
    if n <= COUPLE:
        for j in range(n):
            for q in range(rows):
                y[q*ldy + j] = (<const real*>columns)[j*VW + q]
        return
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
    """Compute exp(x - top) in place, where top is the largest value of each lane; return the sums."""
    cdef vreal largest = columns[0], total = vzero()
    cdef Py_ssize_t j
    for j in range(1, n):
        largest = vmax(columns[j], largest)
    for j in range(n):
        columns[j] = vexp(columns[j] - largest)
        total = total + columns[j]
    top[0] = largest
    return total


cdef inline void softmax_columns(Py_ssize_t n, vreal* columns) noexcept nogil:
    cdef vreal top, factor
    cdef Py_ssize_t j
    factor = vset(<real>1)/exp_columns(n, columns, &top)
    for j in range(n):
        columns[j] = columns[j]*factor


cdef inline void log_softmax_columns(Py_ssize_t n, vreal* columns) noexcept nogil:
    cdef vreal top = columns[0], total = vzero(), log_sum
    cdef Py_ssize_t j
    for j in range(1, n):
        top = vmax(columns[j], top)
    for j in range(n):
        total = total + vexp(columns[j] - top)
    log_sum = vlog(total)
    for j in range(n):
        columns[j] = (columns[j] - top) - log_sum


cdef void softmax_narrow(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, real* y, Py_ssize_t ldy
) noexcept nogil:
    cdef vreal columns[NARROW + MAX_VW]
    cdef Py_ssize_t i = 0, rows
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        softmax_columns(n, columns)
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


cdef void log_softmax(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, real* y, Py_ssize_t ldy
) noexcept nogil:
    cdef Py_ssize_t i
    if n <= NARROW:
        log_softmax_narrow(m, n, x, ldx, y, ldy)
        return
    for i in range(m):
        log_softmax_row(n, x + i*ldx, y + i*ldy)


cdef inline void log_softmax_row(Py_ssize_t n, const real* x, real* y) noexcept nogil:
    """x - top - log(sum(exp(x - top))), subtracting the large part first."""
    cdef real top = row_max(n, x)
    cdef vreal log_sum = vlog(vset(exp_row(n, x, top, NULL)))
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(y + i, (vload(x + i) - vset(top)) - log_sum)
        i += VW
    if i < n:
        vstore_part(y + i, (vload_part(x + i, n - i, <real>0) - vset(top)) - log_sum, n - i)


cdef void log_softmax_narrow(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, real* y, Py_ssize_t ldy
) noexcept nogil:
    cdef vreal columns[NARROW + MAX_VW]
    cdef Py_ssize_t i = 0, rows
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        log_softmax_columns(n, columns)
        turn_columns(rows, n, columns, y + i*ldy, ldy)
        i += rows


cdef inline void log_softmax_row_backward(Py_ssize_t n, const real* gradient, const real* y, real* out) noexcept nogil:
    """out = gradient - exp(y) * sum(gradient)."""
    cdef vreal total, g
    cdef double sums = 0
    cdef Py_ssize_t i = 0, end
    while i < n:
        total = vzero()
        end = min(n, i + SUM_BLOCK)
        while i + VW <= end:
            total = total + vload(gradient + i)
            i += VW
        if i < end:
            total = total + vload_part(gradient + i, n - i, <real>0)
            i = n
        sums += vsum(total)
    total = vset(<real>-sums)
    i = 0
    while i + VW <= n:
        vstore(out + i, vfma(total, vexp(vload(y + i)), vload(gradient + i)))
        i += VW
    if i < n:
        g = vload_part(gradient + i, n - i, <real>0)
        vstore_part(out + i, vfma(total, vexp(vload_part(y + i, n - i, <real>0)), g), n - i)


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
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy
) noexcept nogil:
    cdef Py_ssize_t i
    if function == SOFTMAX:
        softmax(m, n, <const real*>x, ldx, <real*>y, ldy)
        return
    if function == LOG_SOFTMAX:
        log_softmax(m, n, <const real*>x, ldx, <real*>y, ldy)
        return
    if ldx == n and ldy == n:  # no gaps between rows: one long row
        n = m*n
        m = 1
    for i in range(m):
        apply_row(function, <real>alpha, n, <const real*>x + i*ldx, <real*>y + i*ldy)


cdef void kernel_apply_keep(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, void* y, Py_ssize_t ldy,
        void* derivative, Py_ssize_t ldd
) noexcept nogil:
    cdef Py_ssize_t i
    if ldx == n and ldy == n and ldd == n:
        n = m*n
        m = 1
    for i in range(m):
        apply_row_keep(
            function, <real>alpha, n, <const real*>x + i*ldx, <real*>y + i*ldy, <real*>derivative + i*ldd
        )


cdef void kernel_apply_backward(
        int function, double alpha, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* y,
        Py_ssize_t ldy, void* out, Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t i
    if not mixes(function) and ldg == n and ldy == n and ldo == n:
        n = m*n
        m = 1
    for i in range(m):
        apply_row_backward(
            function, <real>alpha, n, <const real*>gradient + i*ldg, <const real*>y + i*ldy, <real*>out + i*ldo
        )


cdef inline void multiply_row(Py_ssize_t n, const real* a, const real* b, real* out) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(out + i, vload(a + i)*vload(b + i))
        i += VW
    if i < n:
        vstore_part(out + i, vload_part(a + i, n - i, <real>0)*vload_part(b + i, n - i, <real>0), n - i)


cdef void kernel_multiply(
        Py_ssize_t m, Py_ssize_t n, const void* a, Py_ssize_t lda, const void* b, Py_ssize_t ldb, void* out,
        Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t i
    if lda == n and ldb == n and ldo == n:
        n = m*n
        m = 1
    for i in range(m):
        multiply_row(n, <const real*>a + i*lda, <const real*>b + i*ldb, <real*>out + i*ldo)


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
