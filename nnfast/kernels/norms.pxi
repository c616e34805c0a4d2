# Layer normalization (Ba, Kiros and Hinton 2016) along rows and batch normalization (Ioffe and Szegedy 2015) down
# columns. Moments take two passes: the mean, then the squares about it.

# ---- along rows: four chains of additions, so that none waits for the last; blocks as in softmax

cdef enum RowSum:
    VALUES
    SQUARES

cdef inline vreal row_term(int kind, const real* x, const real* end, vreal mean) noexcept nogil:
    cdef vreal v
    if kind == VALUES:
        return vload_before(x, end)
    v = vload_before(x, end) - mean
    if end - x < VW:  # nothing from behind the end
        v = vselect(vbefore(end - x), v, vzero())
    return v*v


cdef inline real row_block(int kind, Py_ssize_t n, const real* x, vreal mean) noexcept nogil:
    cdef vreal a = vzero(), b = vzero(), c = vzero(), d = vzero()
    cdef const real* end = x + n
    while x + 4*VW <= end:
        a = a + row_term(kind, x, end, mean)
        b = b + row_term(kind, x + VW, end, mean)
        c = c + row_term(kind, x + 2*VW, end, mean)
        d = d + row_term(kind, x + 3*VW, end, mean)
        x += 4*VW
    while x < end:
        a = a + row_term(kind, x, end, mean)
        x += VW
    return vsum((a + b) + (c + d))


cdef inline double row_sum(int kind, Py_ssize_t n, const real* x, real mean) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += row_block(kind, min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, vset(mean))
        i += SUM_BLOCK
    return total


cdef void kernel_layer_norm(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx, const void* gamma_,
        const void* beta_, void* stats_, void* y_, Py_ssize_t ldy
) noexcept nogil:
    cdef const real* gamma = <const real*>gamma_
    cdef const real* beta = <const real*>beta_
    cdef real* stats = <real*>stats_
    cdef const real* x
    cdef real* y
    cdef real mean, inverse
    cdef vreal v
    cdef Py_ssize_t i, j
    for i in range(m):
        x = <const real*>x_ + i*ldx
        y = <real*>y_ + i*ldy
        mean = <real>(row_sum(VALUES, n, x, <real>0)/n)
        inverse = <real>(1/sqrt(row_sum(SQUARES, n, x, mean)/n + epsilon))
        if stats != NULL:
            stats[2*i] = mean
            stats[2*i + 1] = inverse
        j = 0
        while j < n:
            v = (vload_before(x + j, x + n) - vset(mean))*vset(inverse)
            if gamma != NULL:
                v = v*vload(gamma + j)
            if beta != NULL:
                v = v + vload(beta + j)
            store_columns(y, j, n, ldy, v)
            j += VW


cdef void kernel_layer_norm_backward(
        Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* x_, Py_ssize_t ldx,
        const void* gamma_, const void* stats_, void* out_, Py_ssize_t ldo
) noexcept nogil:
    """With h = gradient gamma: out = (h - mean(h) - xhat mean(h xhat))/sqrt(variance + epsilon)."""
    cdef const real* gamma = <const real*>gamma_
    cdef const real* stats = <const real*>stats_
    cdef const real* g
    cdef const real* x
    cdef real* out
    cdef double sums[2]
    cdef vreal mean, inverse, h, a, b
    cdef Py_ssize_t i, j
    for i in range(m):
        g = <const real*>gradient + i*ldg
        x = <const real*>x_ + i*ldx
        out = <real*>out_ + i*ldo
        mean = vset(stats[2*i])
        inverse = vset(stats[2*i + 1])
        sums[0] = sums[1] = 0
        j = 0
        while j < n:
            backward_block(j, min(n, j + SUM_BLOCK), g, x, gamma, mean, sums)
            j += SUM_BLOCK
        a = vset(<real>(sums[0]/n))
        b = vset(<real>(sums[1]/n*stats[2*i + 1]*stats[2*i + 1]))
        j = 0
        while j < n:
            h = vload_before(g + j, g + n)
            if gamma != NULL:
                h = h*vload(gamma + j)
            h = vfma(-b, vload_before(x + j, x + n) - mean, h - a)*inverse
            store_columns(out, j, n, ldo, h)
            j += VW


cdef inline void backward_block(
        Py_ssize_t j, Py_ssize_t last, const real* g, const real* x, const real* gamma, vreal mean, double* sums
) noexcept nogil:
    """Adds the sums of h and of h (x - mean) over columns j..last."""
    cdef vreal a[2]
    cdef vreal b[2]
    a[0] = a[1] = b[0] = b[1] = vzero()
    while j + 2*VW <= last:
        add_backward(j, last, g, x, gamma, mean, &a[0], &b[0])
        add_backward(j + VW, last, g, x, gamma, mean, &a[1], &b[1])
        j += 2*VW
    while j < last:
        add_backward(j, last, g, x, gamma, mean, &a[0], &b[0])
        j += VW
    sums[0] += vsum(a[0] + a[1])
    sums[1] += vsum(b[0] + b[1])


cdef inline void add_backward(
        Py_ssize_t j, Py_ssize_t last, const real* g, const real* x, const real* gamma, vreal mean, vreal* a, vreal* b
) noexcept nogil:
    cdef vreal h = vload_before(g + j, g + last)
    if gamma != NULL:
        h = h*vload_before(gamma + j, gamma + last)  # zero times what lies behind might be NaN
    a[0] = a[0] + h
    b[0] = vfma(h, vload_before(x + j, x + last) - mean, b[0])


# ---- down columns: vectors across columns, rows in order; a lane knows nothing of its neighbours, so it does not
# matter how columns are shared. The sums of blocks of rows are added with their rounding errors kept, so that sums of
# many rows are as good as those of one block.

cdef enum ColumnSum:
    MEAN  # x
    VARIANCE  # (x - mean)**2
    BATCH_NORM  # gradient and gradient (x - mean)
    LAYER_NORM  # gradient and gradient xhat, with mean and 1/sqrt(variance + epsilon) of each row

cdef enum:
    ROW_BLOCK = 64
    STRIP = 4  # vectors across


cdef struct Columns:  # where the sums read; of columns first..last, to which `end` is the way in the last row
    const real* x
    Py_ssize_t ldx
    const real* x_end
    const real* g
    Py_ssize_t ldg
    const real* g_end
    const real* stats


cdef inline void add_rows(
        int kind, int NV, Py_ssize_t first, Py_ssize_t rows, const Columns* c, Py_ssize_t j, const vreal* mean,
        vreal* a, vreal* b
) noexcept nogil:
    """a, and b of the kinds that have two, are the sums over rows first..first + rows; `kind` and NV are constants."""
    cdef vreal v, g
    cdef vreal s[STRIP]
    cdef vreal t[STRIP]
    cdef Py_ssize_t i
    cdef int q
    for q in range(NV):
        s[q] = t[q] = vzero()
    for i in range(first, first + rows):
        for q in range(NV):
            v = vload_before(c.x + i*c.ldx + j + q*VW, c.x_end)
            if kind == MEAN:
                s[q] = s[q] + v
            elif kind == VARIANCE:
                s[q] = vfma(v - mean[q], v - mean[q], s[q])
            else:
                g = vload_before(c.g + i*c.ldg + j + q*VW, c.g_end)
                s[q] = s[q] + g
                if kind == BATCH_NORM:
                    t[q] = vfma(g, v - mean[q], t[q])
                else:
                    t[q] = vfma(g, (v - vset(c.stats[2*i]))*vset(c.stats[2*i + 1]), t[q])
    for q in range(NV):
        a[q] = s[q]
        b[q] = t[q]


cdef inline void add_kept(vreal* total, vreal* error, vreal value) noexcept nogil:
    """total + error += value, almost exactly (Knuth's two-sum)."""
    cdef vreal sum = total[0] + value
    cdef vreal part = sum - total[0]
    error[0] = error[0] + ((total[0] - (sum - part)) + (value - part))
    total[0] = sum


cdef inline void strip_sums(
        int kind, int NV, Py_ssize_t m, const Columns* c, Py_ssize_t j, const vreal* mean, vreal* a, vreal* b
) noexcept nogil:
    """The same over all m rows."""
    cdef vreal s[STRIP]
    cdef vreal t[STRIP]
    cdef vreal s_error[STRIP]
    cdef vreal t_error[STRIP]
    cdef Py_ssize_t i = 0
    cdef int q
    for q in range(NV):
        a[q] = b[q] = s_error[q] = t_error[q] = vzero()
    while i < m:
        add_rows(kind, NV, i, min(m - i, <Py_ssize_t>ROW_BLOCK), c, j, mean, s, t)
        for q in range(NV):
            add_kept(&a[q], &s_error[q], s[q])
            if kind == BATCH_NORM or kind == LAYER_NORM:
                add_kept(&b[q], &t_error[q], t[q])
        i += ROW_BLOCK
    for q in range(NV):
        a[q] = a[q] + s_error[q]
        b[q] = b[q] + t_error[q]


cdef inline void moments_strip(
        int NV, Py_ssize_t m, const Columns* c, Py_ssize_t j, Py_ssize_t last, real* mean, real* variance
) noexcept nogil:
    cdef vreal average[STRIP]
    cdef vreal squares[STRIP]
    cdef vreal unused[STRIP]
    cdef vreal count = vset(<real>m)
    cdef int q
    strip_sums(MEAN, NV, m, c, j, NULL, average, unused)
    for q in range(NV):
        average[q] = average[q]/count
    strip_sums(VARIANCE, NV, m, c, j, average, squares, unused)
    for q in range(NV):
        store_columns(mean, j + q*VW, last, last, average[q])
        store_columns(variance, j + q*VW, last, last, squares[q]/count)


cdef void kernel_batch_norm_moments(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* x, Py_ssize_t ldx, void* mean, void* variance
) noexcept nogil:
    cdef Columns c
    cdef Py_ssize_t j = first
    c.x = <const real*>x
    c.ldx = ldx
    c.x_end = c.x + (m - 1)*ldx + last
    while j + STRIP*VW <= last:
        moments_strip(STRIP, m, &c, j, last, <real*>mean, <real*>variance)
        j += STRIP*VW
    while j < last:
        moments_strip(1, m, &c, j, last, <real*>mean, <real*>variance)
        j += VW


cdef inline vreal inverse_deviation(const real* variance, vreal epsilon) noexcept nogil:
    return vset(<real>1)/vsqrt(vload(variance) + epsilon)


cdef void kernel_batch_norm(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const void* mean_,
        const void* variance_, const void* gamma_, const void* beta_, void* y, Py_ssize_t ldy
) noexcept nogil:
    cdef const real* mean = <const real*>mean_
    cdef const real* variance = <const real*>variance_
    cdef const real* gamma = <const real*>gamma_
    cdef const real* beta = <const real*>beta_
    cdef const real* row
    cdef vreal factor, shift, center
    cdef Py_ssize_t i, j, start = 0, rows
    while start < m:
        rows = min(m - start, <Py_ssize_t>ROW_BLOCK)
        j = 0
        while j < n:
            factor = inverse_deviation(variance + j, vset(<real>epsilon))
            if gamma != NULL:
                factor = factor*vload(gamma + j)
            shift = vzero() if beta == NULL else vload(beta + j)
            center = vload(mean + j)
            for i in range(start, start + rows):
                row = <const real*>x + i*ldx
                store_columns(
                    <real*>y + i*ldy, j, n, ldy, vfma(vload_before(row + j, row + n) - center, factor, shift)
                )
            j += VW
        start += ROW_BLOCK


cdef inline void batch_norm_sums_strip(
        int NV, double epsilon, Py_ssize_t m, const Columns* c, Py_ssize_t j, Py_ssize_t last, const real* mean,
        const real* variance, real* sum_gradient, real* sum_product
) noexcept nogil:
    cdef vreal center[STRIP]
    cdef vreal a[STRIP]
    cdef vreal b[STRIP]
    cdef int q
    for q in range(NV):
        center[q] = vload(mean + j + q*VW)
    strip_sums(BATCH_NORM, NV, m, c, j, center, a, b)
    for q in range(NV):
        store_columns(sum_gradient, j + q*VW, last, last, a[q])
        store_columns(
            sum_product, j + q*VW, last, last,
            b[q]*inverse_deviation(variance + j + q*VW, vset(<real>epsilon))
        )


cdef inline Columns columns_of(
        Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg, const void* x, Py_ssize_t ldx,
        const void* stats
) noexcept nogil:
    cdef Columns c
    c.x = <const real*>x
    c.ldx = ldx
    c.x_end = c.x + (m - 1)*ldx + last
    c.g = <const real*>gradient
    c.ldg = ldg
    c.g_end = c.g + (m - 1)*ldg + last
    c.stats = <const real*>stats
    return c


cdef void kernel_batch_norm_sums(
        double epsilon, Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, const void* mean, const void* variance, void* sum_gradient, void* sum_product
) noexcept nogil:
    cdef Columns c = columns_of(last, m, gradient, ldg, x, ldx, NULL)
    cdef Py_ssize_t j = first
    while j + STRIP*VW <= last:
        batch_norm_sums_strip(
            STRIP, epsilon, m, &c, j, last, <const real*>mean, <const real*>variance, <real*>sum_gradient,
            <real*>sum_product
        )
        j += STRIP*VW
    while j < last:
        batch_norm_sums_strip(
            1, epsilon, m, &c, j, last, <const real*>mean, <const real*>variance, <real*>sum_gradient,
            <real*>sum_product
        )
        j += VW


cdef inline void layer_norm_parameters_strip(
        int NV, Py_ssize_t m, const Columns* c, Py_ssize_t j, Py_ssize_t last, real* gamma_gradient,
        real* beta_gradient, bint accumulate
) noexcept nogil:
    cdef vreal a[STRIP]
    cdef vreal b[STRIP]
    cdef int q
    strip_sums(LAYER_NORM, NV, m, c, j, NULL, a, b)
    for q in range(NV):
        put_sum(beta_gradient, j + q*VW, last, a[q], accumulate)
        put_sum(gamma_gradient, j + q*VW, last, b[q], accumulate)


cdef inline void put_sum(real* out, Py_ssize_t j, Py_ssize_t last, vreal value, bint accumulate) noexcept nogil:
    if out == NULL:
        return
    if accumulate:
        value = value + vload_before(out + j, out + last)
    store_columns(out, j, last, last, value)


cdef void kernel_layer_norm_backward_parameters(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg, const void* x,
        Py_ssize_t ldx, const void* stats, void* gamma_gradient, void* beta_gradient, bint accumulate
) noexcept nogil:
    cdef Columns c = columns_of(last, m, gradient, ldg, x, ldx, stats)
    cdef Py_ssize_t j = first
    while j + STRIP*VW <= last:
        layer_norm_parameters_strip(
            STRIP, m, &c, j, last, <real*>gamma_gradient, <real*>beta_gradient, accumulate
        )
        j += STRIP*VW
    while j < last:
        layer_norm_parameters_strip(1, m, &c, j, last, <real*>gamma_gradient, <real*>beta_gradient, accumulate)
        j += VW


cdef void kernel_batch_norm_backward(
        double epsilon, Py_ssize_t count, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg,
        const void* x_, Py_ssize_t ldx, const void* mean_, const void* variance_, const void* gamma_,
        const void* sum_gradient, const void* sum_product, void* out, Py_ssize_t ldo
) noexcept nogil:
    """out = gamma (gradient - mean(gradient) - xhat mean(gradient xhat))/sqrt(variance + epsilon)."""
    cdef const real* mean = <const real*>mean_
    cdef const real* variance = <const real*>variance_
    cdef const real* gamma = <const real*>gamma_
    cdef const real* x
    cdef const real* g
    cdef vreal factor, center, a = vzero(), b = vzero(), v
    cdef Py_ssize_t i, j, start = 0, rows
    while start < m:
        rows = min(m - start, <Py_ssize_t>ROW_BLOCK)
        j = 0
        while j < n:
            factor = inverse_deviation(variance + j, vset(<real>epsilon))
            center = vload(mean + j)
            if sum_gradient != NULL:
                a = vload(<const real*>sum_gradient + j)/vset(<real>count)
                b = factor*(vload(<const real*>sum_product + j)/vset(<real>count))
            if gamma != NULL:
                factor = factor*vload(gamma + j)
            for i in range(start, start + rows):
                x = <const real*>x_ + i*ldx
                g = <const real*>gradient + i*ldg
                v = vload_before(g + j, g + n)
                if sum_gradient != NULL:
                    v = vfma(center - vload_before(x + j, x + n), b, v - a)
                store_columns(<real*>out + i*ldo, j, n, ldo, v*factor)
            j += VW
        start += ROW_BLOCK
