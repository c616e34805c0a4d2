# Layer normalization (Ba, Kiros and Hinton 2016) along rows and batch normalization (Ioffe and Szegedy 2015) down
# columns. Moments take two passes: the mean, then the deviations from it and their squares. In exact arithmetic the
# deviations sum to zero; their actual sum corrects both moments (Chan, Golub and LeVeque 1983).

cdef inline vreal vget(bint whole, const real* p, const real* end) noexcept nogil:
    """Load a vector; elements at or after `end` are zero. `whole`, a constant: the vector ends before `end`."""
    return vload(p) if whole else vload_before(p, end)


cdef inline void add_kept(vreal* total, vreal* error, vreal value) noexcept nogil:
    """total + error += value, almost exactly (Knuth's two-sum)."""
    cdef vreal sum = total[0] + value
    cdef vreal part = sum - total[0]
    error[0] = error[0] + ((total[0] - (sum - part)) + (value - part))
    total[0] = sum


cdef inline vreal finite(vreal x) noexcept nogil:
    """Replace infinities and NaN by zero."""
    return vselect(vlt(vabs(x), vset(<real>INFINITY)), x, vzero())


cdef inline vreal with_error(vreal total, vreal error) noexcept nogil:
    """Return the sum made by `add_kept`. The error of an infinite total is NaN."""
    return total + finite(error)


cdef inline void correct_moments(
        vreal deviations, vreal squares, vreal count, vreal* mean, vreal* variance
) noexcept nogil:
    """Compute both moments from a rounded mean and the sums of deviations from it and of their squares. If deviations
    overflow, the mean is not corrected."""
    cdef vreal correction = finite(deviations/count)
    mean[0] = mean[0] + correction
    variance[0] = vmax(vzero(), squares/count - correction*correction)


# ---- along rows: VW rows at a time, so that their sums form one vector, and means and deviations are computed for all
# of them at once. The order of a row's sums depends only on n.

cdef enum RowSum:
    VALUES  # x
    SQUARES  # (x - mean)**2 and x - mean
    GRADIENTS  # h and h (x - mean), with h = gradient gamma

cdef enum:
    CHAINS = 4  # independent chains of additions, so that none waits for the one before

cdef struct Rows:  # what the sums read; `end`: the end of the last row
    Py_ssize_t n
    const real* x
    Py_ssize_t ldx
    const real* x_end
    const real* g
    Py_ssize_t ldg
    const real* g_end
    const real* gamma


cdef inline void add_vector(
        int kind, bint whole, const Rows* r, Py_ssize_t i, Py_ssize_t j, vreal mean, vreal* a, vreal* b
) noexcept nogil:
    """Add a vector of row i to the chains a and b; `kind` and `whole` are constants."""
    cdef vreal x = vget(whole, r.x + i*r.ldx + j, r.x_end), h
    if kind == VALUES:
        h = x
    elif kind == SQUARES:
        x = x - mean
        if not whole:
            x = vselect(vbefore(r.n - j), x, vzero())
        b[0] = b[0] + x
        h = x*x
    else:
        h = vget(whole, r.g + i*r.ldg + j, r.g_end)
        if r.gamma != NULL:
            h = h*vload(r.gamma + j)
        x = h*(x - mean)
        if not whole:
            x = vselect(vbefore(r.n - j), x, vzero())
        b[0] = b[0] + x
    if not whole and kind != SQUARES:
        h = vselect(vbefore(r.n - j), h, vzero())
    a[0] = a[0] + h


cdef inline void add_block(
        int kind, const Rows* r, Py_ssize_t i, Py_ssize_t j, Py_ssize_t last, vreal mean, vreal* a, vreal* b
) noexcept nogil:
    """Set a and b to the sums over columns j..last of row i, each in VW parts."""
    cdef vreal s[CHAINS]
    cdef vreal t[CHAINS]
    cdef int q
    for q in range(CHAINS):
        s[q] = t[q] = vzero()
    while j + CHAINS*VW <= last:
        for q in range(CHAINS):
            add_vector(kind, True, r, i, j + q*VW, mean, &s[q], &t[q])
        j += CHAINS*VW
    while j + VW <= last:
        add_vector(kind, True, r, i, j, mean, &s[0], &t[0])
        j += VW
    if j < last:
        add_vector(kind, False, r, i, j, mean, &s[1], &t[1])
    a[0] = (s[0] + s[1]) + (s[2] + s[3])
    b[0] = (t[0] + t[1]) + (t[2] + t[3])


cdef inline vreal lanes_added(vreal* v) noexcept nogil:
    """Return the sums of the lanes of VW vectors, in the order of vsum."""
    cdef Py_ssize_t half = VW//2, i
    vtranspose(v)
    while half:
        for i in range(half):
            v[i] = v[i] + v[i + half]
        half //= 2
    return v[0]


cdef inline void row_sums(
        int kind, const Rows* r, Py_ssize_t first, Py_ssize_t rows, const real* mean, vreal* a, vreal* b
) noexcept nogil:
    """Compute the sums of up to VW rows from `first` on, one lane per row; `mean` holds one number per row."""
    cdef vreal s[MAX_VW]
    cdef vreal t[MAX_VW]
    cdef vreal s_error = vzero(), t_error = vzero()
    cdef Py_ssize_t i, j = 0
    a[0] = b[0] = vzero()
    while j < r.n:
        for i in range(rows):
            add_block(kind, r, first + i, j, min(r.n, j + SUM_BLOCK), vset(mean[i]), &s[i], &t[i])
        for i in range(rows, VW):
            s[i] = t[i] = vzero()
        add_kept(a, &s_error, lanes_added(s))
        if kind != VALUES:
            add_kept(b, &t_error, lanes_added(t))
        j += SUM_BLOCK
    a[0] = with_error(a[0], s_error)
    b[0] = with_error(b[0], t_error)


cdef inline vreal normalized(
        bint whole, const real* x, const real* end, vreal mean, vreal inverse, const real* gamma, const real* beta,
        Py_ssize_t j
) noexcept nogil:
    cdef vreal v = (vget(whole, x + j, end) - mean)*inverse
    if gamma != NULL:
        v = v*vload(gamma + j)
    return v if beta == NULL else v + vload(beta + j)


cdef void kernel_layer_norm(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx, const void* gamma_,
        const void* beta_, void* stats_, void* y_, Py_ssize_t ldy
) noexcept nogil:
    cdef const real* gamma = <const real*>gamma_
    cdef const real* beta = <const real*>beta_
    cdef real* stats = <real*>stats_
    cdef const real* x
    cdef real* y
    cdef real mean[MAX_VW]
    cdef real inverse[MAX_VW]
    cdef vreal total, deviations, center, variance, count = vset(<real>n)
    cdef Py_ssize_t first = 0, rows, i, j
    cdef Rows r = rows_of(m, n, x_, ldx, NULL, 0, NULL)
    memset(mean, 0, sizeof(mean))
    while first < m:
        rows = min(m - first, <Py_ssize_t>VW)
        row_sums(VALUES, &r, first, rows, mean, &total, &deviations)
        center = total/count
        vstore(mean, center)
        row_sums(SQUARES, &r, first, rows, mean, &total, &deviations)
        correct_moments(deviations, total, count, &center, &variance)
        vstore(mean, center)
        vstore(inverse, vset(<real>1)/vsqrt(variance + vset(<real>epsilon)))
        for i in range(rows):
            if stats != NULL:
                stats[2*(first + i)] = mean[i]
                stats[2*(first + i) + 1] = inverse[i]
            x = r.x + (first + i)*ldx
            y = <real*>y_ + (first + i)*ldy
            j = 0
            while j + VW <= n:
                vstore(y + j, normalized(True, x, r.x_end, vset(mean[i]), vset(inverse[i]), gamma, beta, j))
                j += VW
            if j < n:
                store_columns(
                    y, j, n, ldy, normalized(False, x, r.x_end, vset(mean[i]), vset(inverse[i]), gamma, beta, j)
                )
        first += VW


cdef inline Rows rows_of(
        Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const void* g, Py_ssize_t ldg, const void* gamma
) noexcept nogil:
    cdef Rows r
    r.n = n
    r.x = <const real*>x
    r.ldx = ldx
    r.x_end = r.x + (m - 1)*ldx + n
    r.g = <const real*>g
    r.ldg = ldg
    r.g_end = r.g if g == NULL else r.g + (m - 1)*ldg + n
    r.gamma = <const real*>gamma
    return r


cdef inline vreal normalized_backward(
        bint whole, const Rows* r, Py_ssize_t i, Py_ssize_t j, vreal mean, vreal inverse, vreal a, vreal b
) noexcept nogil:
    cdef vreal h = vget(whole, r.g + i*r.ldg + j, r.g_end)
    if r.gamma != NULL:
        h = h*vload(r.gamma + j)
    return vfma(mean - vget(whole, r.x + i*r.ldx + j, r.x_end), b, h - a)*inverse


cdef void kernel_layer_norm_backward(
        Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg, const void* x, Py_ssize_t ldx,
        const void* gamma, const void* stats_, void* out_, Py_ssize_t ldo
) noexcept nogil:
    """out = (h - mean(h) - xhat mean(h xhat))/sqrt(variance + epsilon), with h = gradient gamma."""
    cdef const real* stats = <const real*>stats_
    cdef real* out
    cdef real mean[MAX_VW]
    cdef real inverse[MAX_VW]
    cdef real a[MAX_VW]
    cdef real b[MAX_VW]
    cdef vreal sum_h, sum_product, count = vset(<real>n), center, scale, h, product
    cdef Py_ssize_t first = 0, rows, i, j
    cdef Rows r = rows_of(m, n, x, ldx, gradient, ldg, gamma)
    memset(inverse, 0, sizeof(inverse))
    while first < m:
        rows = min(m - first, <Py_ssize_t>VW)
        for i in range(rows):
            mean[i] = stats[2*(first + i)]
            inverse[i] = stats[2*(first + i) + 1]
        row_sums(GRADIENTS, &r, first, rows, mean, &sum_h, &sum_product)
        scale = vload(inverse)
        vstore(a, sum_h/count)
        vstore(b, sum_product/count*scale*scale)
        for i in range(rows):
            out = <real*>out_ + (first + i)*ldo
            center = vset(mean[i])
            scale = vset(inverse[i])
            h = vset(a[i])
            product = vset(b[i])
            j = 0
            while j + VW <= n:
                vstore(out + j, normalized_backward(True, &r, first + i, j, center, scale, h, product))
                j += VW
            if j < n:
                store_columns(
                    out, j, n, ldo, normalized_backward(False, &r, first + i, j, center, scale, h, product)
                )
        first += VW


# ---- down columns: vectors across columns, rows in order; lanes are independent of each other, so it does not matter
# how columns are shared among threads. The sums of blocks of rows are added with their rounding errors kept, so that
# sums over many rows are as accurate as those of one block.

cdef enum ColumnSum:
    SUM  # x
    VARIANCE  # (x - mean)**2 and x - mean
    BATCH_NORM  # gradient and gradient (x - mean)
    LAYER_NORM  # gradient and gradient xhat, with mean and 1/sqrt(variance + epsilon) of each row

cdef enum:
    ROW_BLOCK = 64
    STRIP = 4  # vectors across

cdef struct Columns:  # what the sums of columns up to `last` read and write; `end`: the end of these in the last row
    Py_ssize_t m
    Py_ssize_t last
    const real* x
    Py_ssize_t ldx
    const real* x_end
    const real* g
    Py_ssize_t ldg
    const real* g_end
    const real* stats  # of rows
    real* mean  # of columns; NULL: 0
    real* variance  # NULL: 1, whatever epsilon is
    real epsilon
    real* sum_gradient
    real* sum_product
    bint accumulate


cdef inline Columns columns_of(
        Py_ssize_t last, Py_ssize_t m, const void* x, Py_ssize_t ldx, const void* g, Py_ssize_t ldg
) noexcept nogil:
    cdef Columns c
    memset(&c, 0, sizeof(c))
    c.m = m
    c.last = last
    c.x = <const real*>x
    c.ldx = ldx
    c.x_end = c.x if m == 0 else c.x + (m - 1)*ldx + last  # without rows there may be no array either
    c.g = <const real*>g
    c.ldg = ldg
    c.g_end = c.g if g == NULL or m == 0 else c.g + (m - 1)*ldg + last
    return c


cdef inline void add_rows(
        int kind, int NV, bint whole, const Columns* c, Py_ssize_t first, Py_ssize_t last, Py_ssize_t j,
        const vreal* mean, vreal* a, vreal* b
) noexcept nogil:
    """Set a, and b for all kinds but SUM, to the sums over rows first..last; kind, NV and `whole` are constants."""
    cdef vreal v, g
    cdef vreal s[STRIP]
    cdef vreal t[STRIP]
    cdef Py_ssize_t i
    cdef int q
    for q in range(NV):
        s[q] = t[q] = vzero()
    for i in range(first, last):
        for q in range(NV):
            v = vget(whole, c.x + i*c.ldx + j + q*VW, c.x_end)
            if kind == SUM:
                s[q] = s[q] + v
            elif kind == VARIANCE:
                v = v - mean[q]
                s[q] = vfma(v, v, s[q])
                t[q] = t[q] + v
            else:
                g = vget(whole, c.g + i*c.ldg + j + q*VW, c.g_end)
                s[q] = s[q] + g
                if kind == BATCH_NORM:
                    t[q] = vfma(g, v - mean[q], t[q])
                else:
                    t[q] = vfma(g, (v - vset(c.stats[2*i]))*vset(c.stats[2*i + 1]), t[q])
    for q in range(NV):
        a[q] = s[q]
        b[q] = t[q]


cdef inline void add_columns(
        int kind, int NV, bint whole, const Columns* c, Py_ssize_t j, const vreal* mean, vreal* a, vreal* b
) noexcept nogil:
    """The same over all rows."""
    cdef vreal s[STRIP]
    cdef vreal t[STRIP]
    cdef vreal s_error[STRIP]
    cdef vreal t_error[STRIP]
    cdef Py_ssize_t i = 0
    cdef int q
    for q in range(NV):
        a[q] = b[q] = s_error[q] = t_error[q] = vzero()
    while i < c.m:
        add_rows(kind, NV, whole, c, i, min(c.m, i + ROW_BLOCK), j, mean, s, t)
        for q in range(NV):
            add_kept(&a[q], &s_error[q], s[q])
            if kind != SUM:
                add_kept(&b[q], &t_error[q], t[q])
        i += ROW_BLOCK
    for q in range(NV):
        a[q] = with_error(a[q], s_error[q])
        b[q] = with_error(b[q], t_error[q])


cdef inline void put_sum(const Columns* c, real* out, Py_ssize_t j, vreal value) noexcept nogil:
    if out == NULL:
        return
    if c.accumulate:
        value = value + vload_before(out + j, out + c.last)
    store_columns(out, j, c.last, c.last, value)


cdef inline vreal mean_at(const Columns* c, Py_ssize_t j) noexcept nogil:
    return vzero() if c.mean == NULL else vload(c.mean + j)


cdef inline vreal inverse_deviation_at(const Columns* c, Py_ssize_t j) noexcept nogil:
    return vset(<real>1) if c.variance == NULL else vset(<real>1)/vsqrt(vload(c.variance + j) + vset(c.epsilon))


cdef inline void strip(int kind, int NV, bint whole, const Columns* c, Py_ssize_t j) noexcept nogil:
    """NV vectors of columns: VARIANCE computes both moments, the other kinds their sums."""
    cdef vreal mean[STRIP]
    cdef vreal a[STRIP]
    cdef vreal b[STRIP]
    cdef int q
    if kind == VARIANCE:
        add_columns(SUM, NV, whole, c, j, mean, a, b)
        for q in range(NV):
            mean[q] = a[q]/vset(<real>c.m)
    if kind == BATCH_NORM:
        for q in range(NV):
            mean[q] = mean_at(c, j + q*VW)
    add_columns(kind, NV, whole, c, j, mean, a, b)
    for q in range(NV):
        if kind == VARIANCE:
            correct_moments(b[q], a[q], vset(<real>c.m), &mean[q], &a[q])
            put_sum(c, c.mean, j + q*VW, mean[q])
            put_sum(c, c.variance, j + q*VW, a[q])
            continue
        if kind == BATCH_NORM:
            b[q] = b[q]*inverse_deviation_at(c, j + q*VW)
        put_sum(c, c.sum_gradient, j + q*VW, a[q])
        put_sum(c, c.sum_product, j + q*VW, b[q])


cdef inline void strips(int kind, Py_ssize_t j, const Columns* c) noexcept nogil:
    """Process all columns from j on."""
    while j + STRIP*VW <= c.last:
        strip(kind, STRIP, True, c, j)
        j += STRIP*VW
    while j + VW <= c.last:
        strip(kind, 1, True, c, j)
        j += VW
    if j < c.last:
        strip(kind, 1, False, c, j)


cdef void kernel_batch_norm_moments(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* x, Py_ssize_t ldx, void* mean, void* variance
) noexcept nogil:
    cdef Columns c = columns_of(last, m, x, ldx, NULL, 0)
    c.mean = <real*>mean
    c.variance = <real*>variance
    strips(VARIANCE, first, &c)


cdef void kernel_batch_norm_sums(
        double epsilon, Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, const void* mean, const void* variance, void* sum_gradient, void* sum_product,
        bint accumulate
) noexcept nogil:
    cdef Columns c = columns_of(last, m, x, ldx, gradient, ldg)
    c.mean = <real*>mean
    c.variance = <real*>variance
    c.epsilon = <real>epsilon
    c.sum_gradient = <real*>sum_gradient
    c.sum_product = <real*>sum_product
    c.accumulate = accumulate
    strips(BATCH_NORM, first, &c)


cdef void kernel_layer_norm_backward_parameters(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const void* gradient, Py_ssize_t ldg, const void* x,
        Py_ssize_t ldx, const void* stats, void* gamma_gradient, void* beta_gradient, bint accumulate
) noexcept nogil:
    cdef Columns c = columns_of(last, m, x, ldx, gradient, ldg)
    c.stats = <const real*>stats
    c.sum_gradient = <real*>beta_gradient
    c.sum_product = <real*>gamma_gradient
    c.accumulate = accumulate
    strips(LAYER_NORM, first, &c)


# The elementwise part of batch normalization walks down strips too, with the columns' values in registers.

cdef enum ColumnMap:
    NORMALIZE  # gamma xhat + beta
    BACKWARD  # gamma (gradient - mean(gradient) - xhat mean(gradient xhat))/sqrt(variance + epsilon)
    BACKWARD_FIXED  # gamma gradient/sqrt(variance + epsilon)

cdef struct Map:
    Columns c
    const real* gamma
    const real* beta
    Py_ssize_t count  # rows that were summed
    real* y
    Py_ssize_t ldy


cdef inline vreal mapped(
        int kind, bint whole, const Columns* c, Py_ssize_t i, Py_ssize_t j, vreal mean, vreal factor, vreal shift,
        vreal slope
) noexcept nogil:
    cdef vreal x
    if kind == BACKWARD_FIXED:
        return vget(whole, c.g + i*c.ldg + j, c.g_end)*factor
    x = vget(whole, c.x + i*c.ldx + j, c.x_end) - mean
    if kind == NORMALIZE:
        return vfma(x, factor, shift)
    return vfma(x, slope, vget(whole, c.g + i*c.ldg + j, c.g_end) - shift)*factor


cdef inline void map_strip(
        int kind, int NV, bint whole, const Map* f, Py_ssize_t first, Py_ssize_t last, Py_ssize_t j
) noexcept nogil:
    """NV vectors of rows first..last; kind, NV and `whole` are constants."""
    cdef vreal mean[STRIP]
    cdef vreal factor[STRIP]
    cdef vreal shift[STRIP]
    cdef vreal slope[STRIP]
    cdef vreal count = vset(<real>f.count)
    cdef const Columns* c = &f.c
    cdef Py_ssize_t i, k
    cdef int q
    for q in range(NV):
        k = j + q*VW
        mean[q] = mean_at(c, k)
        factor[q] = inverse_deviation_at(c, k)
        shift[q] = slope[q] = vzero()
        if kind == BACKWARD:
            shift[q] = vload(c.sum_gradient + k)/count
            slope[q] = -factor[q]*(vload(c.sum_product + k)/count)
        elif f.beta != NULL:
            shift[q] = vload(f.beta + k)
        if f.gamma != NULL:
            factor[q] = factor[q]*vload(f.gamma + k)
    for i in range(first, last):
        for q in range(NV):
            k = j + q*VW
            if whole:
                vstore(f.y + i*f.ldy + k, mapped(kind, True, c, i, k, mean[q], factor[q], shift[q], slope[q]))
            else:
                store_columns(
                    f.y + i*f.ldy, k, c.last, f.ldy,
                    mapped(kind, False, c, i, k, mean[q], factor[q], shift[q], slope[q])
                )


cdef inline void map_columns(int kind, int NV, const Map* f) noexcept nogil:
    cdef Py_ssize_t first = 0, last, j, n = f.c.last
    while first < f.c.m:
        last = min(f.c.m, first + ROW_BLOCK)
        j = 0
        while j + NV*VW <= n:
            map_strip(kind, NV, True, f, first, last, j)
            j += NV*VW
        while j + VW <= n:
            map_strip(kind, 1, True, f, first, last, j)
            j += VW
        if j < n:
            map_strip(kind, 1, False, f, first, last, j)
        first = last


cdef void kernel_batch_norm(
        double epsilon, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const void* mean,
        const void* variance, const void* gamma, const void* beta, void* y, Py_ssize_t ldy
) noexcept nogil:
    cdef Map f
    f.c = columns_of(n, m, x, ldx, NULL, 0)
    f.c.mean = <real*>mean
    f.c.variance = <real*>variance
    f.c.epsilon = <real>epsilon
    f.gamma = <const real*>gamma
    f.beta = <const real*>beta
    f.count = m
    f.y = <real*>y
    f.ldy = ldy
    map_columns(NORMALIZE, STRIP, &f)


cdef void kernel_batch_norm_backward(
        double epsilon, Py_ssize_t count, Py_ssize_t m, Py_ssize_t n, const void* gradient, Py_ssize_t ldg,
        const void* x, Py_ssize_t ldx, const void* mean, const void* variance, const void* gamma,
        const void* sum_gradient, const void* sum_product, void* out, Py_ssize_t ldo
) noexcept nogil:
    cdef Map f
    f.c = columns_of(n, m, x, ldx, gradient, ldg)
    f.c.mean = <real*>mean
    f.c.variance = <real*>variance
    f.c.epsilon = <real>epsilon
    f.c.sum_gradient = <real*>sum_gradient
    f.c.sum_product = <real*>sum_product
    f.gamma = <const real*>gamma
    f.beta = NULL
    f.count = count
    f.y = <real*>out
    f.ldy = ldo
    if sum_gradient == NULL:
        map_columns(BACKWARD_FIXED, STRIP, &f)
    else:
        map_columns(BACKWARD, STRIP//2, &f)
