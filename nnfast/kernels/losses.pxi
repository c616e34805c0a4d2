# Losses of rows and their gradients.
#
# Each loss of a vector of outputs and a vector of targets is an inline function, written once, next to its derivative;
# `elementwise_row` applies them to a row. The losses over classes need a whole row at once and have separate functions.
# A row's loss is its share before averaging; the caller averages and passes the factor as `scale`. A long row is summed
# in blocks, and the blocks in double precision.

cdef enum:
    POISSON_OF_RATE = 1000  # POISSON of rates, not of their logarithms: a separate kind here

cdef inline vreal vclip(vreal p) noexcept nogil:
    """Clip probabilities to lie at least `eps` away from 0 and 1, so that their logarithm is finite; NaN stays NaN."""
    cdef real eps = <real>1.1920928955078125e-7 if sizeof(real) == 4 else <real>2.220446049250313e-16
    p = vselect(vlt(p, vset(eps)), vset(eps), p)
    return vselect(vlt(vset(<real>1 - eps), p), vset(<real>1 - eps), p)


cdef inline vreal vlog1p_exp(vreal x) noexcept nogil:
    """log(1 + exp(-|x|)), corrected for the rounding of u = 1 + e: log(1 + e) = log(u) + (e - (u - 1))/u."""
    cdef vreal e = vexp(-vabs(x)), u = vset(<real>1) + e
    return vlog(u) + (e - (u - vset(<real>1)))/u


cdef inline vreal vlog_sigmoid(vreal x) noexcept nogil:
    """log(1/(1 + exp(-x)))."""
    return vselect(vlt(x, vzero()), x, vzero()) - vlog1p_exp(x)


cdef inline vreal vpower(vreal logs, vreal exponent) noexcept nogil:
    """exp(logs)**exponent, where 0**0 is 1; NaN stays NaN."""
    cdef vreal p = vexp(exponent*logs)
    return vselect(veq(exponent, vzero()), vselect(veq(logs, logs), vset(<real>1), logs), p)


cdef inline vreal vnonzero(vreal t, vreal value) noexcept nogil:
    """t times the value, and 0 where t is 0, even if the value is infinite."""
    return vselect(veq(t, vzero()), vzero(), t*value)


# The focal loss of a probability p of what is true is -(1 - p)^gamma log(p). Both functions take log(p) and log(1 - p),
# so that nothing cancels.

cdef inline vreal vfocal(vreal log_p, vreal log_q, vreal gamma) noexcept nogil:
    return -vpower(log_q, gamma)*log_p


cdef inline vreal vfocal_slope(vreal log_p, vreal log_q, vreal p, vreal q, vreal gamma) noexcept nogil:
    """The derivative with respect to the logit, log(p) - log(1 - p): (1 - p)^gamma (gamma p log(p) - (1 - p))."""
    return vpower(log_q, gamma)*(gamma*vnonzero(p, log_p) - q)


cdef inline vreal vloss(int loss, vreal x, vreal t, vreal a, vreal b) noexcept nogil:
    """`a` and `b` are the parameters of the loss, in `LossSpec`."""
    cdef vreal p, d = x - t
    if loss == SUM_SQUARED_ERROR:
        return vset(<real>0.5)*d*d
    if loss == MEAN_SQUARED_ERROR:
        return d*d
    if loss == MEAN_ABSOLUTE_ERROR:
        return vabs(d)
    if loss == HUBER:  # d^2/2 up to delta, its tangent beyond
        d = vabs(d)
        return vselect(vle(d, a), vset(<real>0.5)*d*d, a*(d - vset(<real>0.5)*a))
    if loss == LOG_COSH:  # log(cosh(d)) = |d| + log(1 + exp(-2|d|)) - log(2)
        return vabs(d) + (vlog1p_exp(d + d) - vset(<real>0.69314718055994530942))
    if loss == POISSON:
        return vexp(x) - t*x
    if loss == POISSON_OF_RATE:
        return x - t*vlog(x + vset(<real>1e-8))
    if loss == QUANTILE:
        return vselect(vlt(d, vzero()), -a*d, (vset(<real>1) - a)*d)
    if loss == HINGE:
        p = vset(<real>1) - t*x
        return vselect(vle(p, vzero()), vzero(), p)
    if loss == KL_DIVERGENCE:  # t (log(t) - x), and 0 where t is 0
        p = vselect(veq(x, x), vzero(), x)
        return vselect(veq(t, vzero()), p, t*(vlog(t) - x))
    if loss == BINARY_FOCAL:
        p = vclip(x)
        d = vlog(vset(<real>1) - p)
        p = vlog(p)
        return b*t*vfocal(p, d, a) + (vset(<real>1) - b)*(vset(<real>1) - t)*vfocal(d, p, a)
    if loss == SIGMOID_BINARY_FOCAL:
        p = vlog_sigmoid(x)
        d = vlog_sigmoid(-x)
        p, d = vfocal(p, d, a), vfocal(d, p, a)
        p = vnonzero(b*t, p) + vnonzero((vset(<real>1) - b)*(vset(<real>1) - t), d)
        return vselect(veq(x, x), p, x)
    # a label smoothed by `a`
    t = vfma(a, vset(<real>0.5) - t, t)
    if loss == BINARY_CROSS_ENTROPY:  # -(t log(p) + (1 - t) log(1 - p))
        p = vclip(x)
        return -vfma(t, vlog(p), (vset(<real>1) - t)*vlog(vset(<real>1) - p))
    # SIGMOID_BINARY_CROSS_ENTROPY: log(1 + exp(x)) - t x, with log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
    # max(x, 0) - t x, as x (1 - t) or -x t: zero where the factor is zero, even if x is infinite
    p = vselect(vlt(vzero(), x), vset(<real>1) - t, -t)
    p = vselect(veq(p, vzero()), vzero(), x*p)
    return vselect(veq(x, x), p, x) + vlog1p_exp(x)


cdef inline vreal vloss_backward(int loss, vreal x, vreal t, vreal a, vreal b) noexcept nogil:
    cdef vreal p, q, log_p, log_q, d = x - t
    if loss == SUM_SQUARED_ERROR:
        return d
    if loss == MEAN_SQUARED_ERROR:
        return vset(<real>2)*d
    if loss == MEAN_ABSOLUTE_ERROR:  # zero where d is zero, NaN where d is NaN
        return vselect(veq(vabs(d), vzero()), vzero(), vselect(veq(d, d), vcopysign(vset(<real>1), d), d))
    if loss == HUBER:
        return vselect(vlt(a, vabs(d)), vcopysign(a, d), d)
    if loss == LOG_COSH:
        return vtanh(d)
    if loss == POISSON:
        return vexp(x) - t
    if loss == POISSON_OF_RATE:
        return vset(<real>1) - t/(x + vset(<real>1e-8))
    if loss == QUANTILE:
        p = vselect(vlt(d, vzero()), -a, vselect(vlt(vzero(), d), vset(<real>1) - a, vzero()))
        return vselect(veq(d, d), p, d)
    if loss == HINGE:
        p = t*x
        return vselect(vlt(p, vset(<real>1)), -t, vselect(veq(p, p), vzero(), p))
    if loss == KL_DIVERGENCE:
        return vselect(veq(x, x), -t, x)
    if loss == BINARY_FOCAL:
        p = vclip(x)
        q = vset(<real>1) - p
        d = b*t*vfocal_slope(vlog(p), vlog(q), p, q, a)
        d = d - (vset(<real>1) - b)*(vset(<real>1) - t)*vfocal_slope(vlog(q), vlog(p), q, p, a)
        return d/(p*q)
    if loss == SIGMOID_BINARY_FOCAL:
        p, q = vsigmoid(x), vsigmoid(-x)
        log_p, log_q = vlog_sigmoid(x), vlog_sigmoid(-x)
        d = b*t*vfocal_slope(log_p, log_q, p, q, a)
        return d - (vset(<real>1) - b)*(vset(<real>1) - t)*vfocal_slope(log_q, log_p, q, p, a)
    t = vfma(a, vset(<real>0.5) - t, t)
    if loss == BINARY_CROSS_ENTROPY:
        p = vclip(x)
        return (p - t)/(p*(vset(<real>1) - p))
    return vsigmoid(x) - t  # SIGMOID_BINARY_CROSS_ENTROPY


cdef inline double elementwise_row(
        int loss, const LossSpec* spec, Py_ssize_t n, const real* x, const real* t, real scale, real* gradient,
        bint value
) noexcept nogil:
    cdef const real* each = <const real*>spec.per_output
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += elementwise_block(
            loss, min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, t + i, <real>spec.a, <real>spec.b,
            NULL if each == NULL else each + i%spec.period, scale, NULL if gradient == NULL else gradient + i, value
        )
        i += SUM_BLOCK
    return total


cdef inline double elementwise_block(
        int loss, Py_ssize_t n, const real* x, const real* t, real first, real second, const real* each, real scale,
        real* gradient, bint value
) noexcept nogil:
    """`each` is the first parameter for each output, for the loss that has one per output."""
    cdef vreal total = vzero(), v, u, a = vset(first), b = vset(second)
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        v = vload(x + i)
        u = vload(t + i)
        if loss == QUANTILE:
            a = vload(each + i)
        if value:
            total = total + vloss(loss, v, u, a, b)
        if gradient != NULL:
            vstore(gradient + i, vset(scale)*vloss_backward(loss, v, u, a, b))
        i += VW
    if i < n:
        v = vload_part(x + i, n - i, <real>0)
        u = vload_part(t + i, n - i, <real>0)
        if loss == QUANTILE:
            a = vload_part(each + i, n - i, <real>0)
        if gradient != NULL:
            vstore_part(gradient + i, vset(scale)*vloss_backward(loss, v, u, a, b), n - i)
        if value:
            total = total + vfirst_lanes(vloss(loss, v, u, a, b), n - i)
    return vsum(total)


cdef inline vreal vfirst_lanes(vreal v, Py_ssize_t n) noexcept nogil:
    """Set the lanes past the end to zero, so that they contribute nothing."""
    cdef vreal result = vzero()
    vstore_part(<real*>&result, v, n)
    return result


cdef inline double cross_entropy_row(
        Py_ssize_t n, const real* p, const real* t, int64_t label, double smoothing, real scale, real* gradient
) noexcept nogil:
    """-sum(t log(p)); if t is NULL, t is 1 at the label and 0 elsewhere."""
    cdef double total = 0
    cdef real keep = <real>(1 - smoothing), own
    cdef Py_ssize_t i = 0
    if t == NULL and smoothing == 0:
        return cross_entropy_label(n, p, label, scale, gradient)
    while i < n:
        total += cross_entropy_block(
            min(n - i, <Py_ssize_t>SUM_BLOCK), p + i, NULL if t == NULL else t + i, keep, <real>(smoothing/n), scale,
            NULL if gradient == NULL else gradient + i
        )
        i += SUM_BLOCK
    if t == NULL:
        own = vfirst(vclip(vset(p[label])))
        total -= keep*vfirst(vlog(vset(own)))
        if gradient != NULL:
            gradient[label] -= scale*keep/own
    return total


cdef inline double cross_entropy_label(
        Py_ssize_t n, const real* p, int64_t label, real scale, real* gradient
) noexcept nogil:
    cdef real own = vfirst(vclip(vset(p[label]))), at = own
    cdef Py_ssize_t i
    for i in range(n):
        if p[i] != p[i]:  # NaN anywhere in the row
            at = p[i]
    if gradient != NULL:
        for i in range(n):
            gradient[i] = p[i] if p[i] != p[i] else <real>0
        gradient[label] = -scale/own
    return -vfirst(vlog(vset(at)))


cdef inline double cross_entropy_block(
        Py_ssize_t n, const real* p, const real* t, real keep, real share, real scale, real* gradient
) noexcept nogil:
    """The same for targets keep*t + share."""
    cdef vreal total = vzero(), a, b
    cdef Py_ssize_t i = 0, lanes
    while i < n:
        lanes = min(n - i, <Py_ssize_t>VW)
        a = vclip(vload_part(p + i, lanes, <real>1))
        b = vzero() if t == NULL else vload_part(t + i, lanes, <real>0)
        b = vfirst_lanes(vfma(vset(keep), b, vset(share)), lanes)
        total = total - b*vlog(a)
        if gradient != NULL:
            vstore_part(gradient + i, -vset(scale)*b/a, lanes)
        i += VW
    return vsum(total)


cdef inline vreal target_lanes(const real* t, int64_t label, Py_ssize_t lanes) noexcept nogil:
    """The first targets of a row; if t is NULL, 1 at the label and 0 elsewhere."""
    cdef vreal result = vzero()
    if t != NULL:
        return vload_part(t, lanes, <real>0)
    if 0 <= label < lanes:
        (<real*>&result)[label] = 1
    return result


cdef inline double focal_row(
        Py_ssize_t n, const real* p, const real* t, int64_t label, const LossSpec* spec, real scale, real* gradient
) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += focal_block(
            min(n - i, <Py_ssize_t>SUM_BLOCK), p + i, NULL if t == NULL else t + i, label - i, vset(<real>spec.a),
            scale*<real>spec.b, NULL if gradient == NULL else gradient + i
        )
        i += SUM_BLOCK
    return spec.b*total


cdef inline double focal_block(
        Py_ssize_t n, const real* x, const real* t, int64_t label, vreal gamma, real scale, real* gradient
) noexcept nogil:
    cdef vreal total = vzero(), p, q, b
    cdef Py_ssize_t i = 0, lanes
    while i < n:
        lanes = min(n - i, <Py_ssize_t>VW)
        p = vclip(vload_part(x + i, lanes, <real>1))
        q = vset(<real>1) - p
        b = target_lanes(NULL if t == NULL else t + i, label - i, lanes)
        total = total + b*vfocal(vlog(p), vlog(q), gamma)
        if gradient != NULL:
            b = vset(scale)*b*vfocal_slope(vlog(p), vlog(q), p, q, gamma)/(p*q)
            vstore_part(gradient + i, b, lanes)
        i += VW
    return vsum(total)


cdef inline vreal vsoftmax_focal(vreal log_p, vreal gamma, vreal* slope) noexcept nogil:
    """The focal loss of one class; write its derivative with respect to log(p)."""
    cdef vreal p = vexp(log_p), q = -vexpm1_below(log_p)
    cdef vreal log_q = vlog(q), ratio = vselect(veq(q, vzero()), vset(<real>-1), vnonzero(p, log_p)/q)
    slope[0] = vpower(log_q, gamma)*vfma(gamma, ratio, vset(<real>-1))
    return vfocal(log_p, log_q, gamma)


cdef inline double softmax_focal_label(
        Py_ssize_t n, const real* x, int64_t label, const LossSpec* spec, real scale, real* gradient
) noexcept nogil:
    cdef real top = row_max(n, x), at = x[label] - top, total = exp_row(n, x, top, gradient), s
    cdef vreal slope
    cdef double value = vfirst(vsoftmax_focal(vset(at) - vlog(vset(total)), vset(<real>spec.a), &slope))
    if gradient != NULL:
        s = scale*<real>spec.b*vfirst(slope)
        scale_row(n, -s/total, gradient)
        gradient[label] += s
    return spec.b*value


cdef inline double softmax_focal_row(
        Py_ssize_t n, const real* x, const real* t, const LossSpec* spec, real scale, real* gradient
) noexcept nogil:
    """With slopes s, the gradient is t s - p sum(t s). `gradient` may be `x`."""
    cdef real top = row_max(n, x)
    cdef vreal log_sum = vlog(vset(exp_row(n, x, top, NULL))), gamma = vset(<real>spec.a), factor, a, b, values, slopes
    cdef double total = 0, sum = 0
    cdef Py_ssize_t i = 0, end, lanes
    while i < n:
        values = slopes = vzero()
        end = min(n, i + SUM_BLOCK)
        while i < end:
            lanes = min(n - i, <Py_ssize_t>VW)
            b = vload_part(t + i, lanes, <real>0)
            a = (vload_part(x + i, lanes, top) - vset(top)) - log_sum
            values = values + vnonzero(b, vsoftmax_focal(a, gamma, &a))
            slopes = slopes + vnonzero(b, a)
            i += VW
        total += vsum(values)
        sum += vsum(slopes)
    i = 0
    factor = vset(scale*<real>spec.b)
    while gradient != NULL and i < n:
        lanes = min(n - i, <Py_ssize_t>VW)
        b = vload_part(t + i, lanes, <real>0)
        a = (vload_part(x + i, lanes, top) - vset(top)) - log_sum
        values = vexp(a)*vset(<real>sum)
        vsoftmax_focal(a, gamma, &a)
        vstore_part(gradient + i, factor*(vnonzero(b, a) - values), lanes)
        i += VW
    return spec.b*total + 0*vfirst(log_sum)  # NaN if it has one, even if no target is there


cdef inline double softmax_cross_entropy_row(
        Py_ssize_t n, const real* x, const real* t, int64_t label, double smoothing, real scale, real* gradient
) noexcept nogil:
    """log(sum(exp(x))) sum(t) - sum(t x), and softmax(x) sum(t) - t. `gradient` may be `x`."""
    cdef real top = row_max(n, x), total, keep = <real>(1 - smoothing), share = <real>(smoothing/n)
    cdef double weight = 1, at = 0
    cdef vreal sums, products, a, b
    cdef Py_ssize_t i = 0, end
    if t == NULL:
        at = x[label] - top
    else:
        weight = 0
        while i < n:
            sums = products = vzero()
            end = min(n, i + SUM_BLOCK)
            while i < end:
                a = vload_part(x + i, min(n - i, <Py_ssize_t>VW), top) - vset(top)
                b = vload_part(t + i, min(n - i, <Py_ssize_t>VW), <real>0)
                sums = sums + b
                # an impossible class (logit -inf) that is not a target contributes nothing
                products = products + vselect(veq(b, vzero()), vzero(), a*b)
                i += VW
            weight += vsum(sums)
            at += vsum(products)
    if smoothing != 0:
        at = (1 - smoothing)*at + smoothing/n*sum_below(n, x, top)
        weight = (1 - smoothing)*weight + smoothing
    total = exp_row(n, x, top, gradient)
    if gradient != NULL:
        scale_row(n, scale*<real>weight/total, gradient)
        if t != NULL or smoothing != 0:
            i = 0
            while i < n:
                a = vload_part(gradient + i, min(n - i, <Py_ssize_t>VW), <real>0)
                b = vzero() if t == NULL else vload_part(t + i, min(n - i, <Py_ssize_t>VW), <real>0)
                vstore_part(gradient + i, a - vset(scale)*vfma(vset(keep), b, vset(share)), min(n - i, <Py_ssize_t>VW))
                i += VW
        if t == NULL:
            gradient[label] = gradient[label] - scale*keep
    return weight*vfirst(vlog(vset(total))) - at


cdef inline double sum_below(Py_ssize_t n, const real* x, real top) noexcept nogil:
    """sum(x - top)."""
    cdef vreal sums
    cdef double total = 0
    cdef Py_ssize_t i = 0, end
    while i < n:
        sums = vzero()
        end = min(n, i + SUM_BLOCK)
        while i < end:
            sums = sums + (vload_part(x + i, min(n - i, <Py_ssize_t>VW), top) - vset(top))
            i += VW
        total += vsum(sums)
    return total


cdef inline double sum_of_logs(Py_ssize_t n, const real* t) noexcept nogil:
    """sum(t log(t)), where 0 log(0) is 0."""
    cdef vreal sums, a
    cdef double total = 0
    cdef Py_ssize_t i = 0, end
    while i < n:
        sums = vzero()
        end = min(n, i + SUM_BLOCK)
        while i < end:
            a = vload_part(t + i, min(n - i, <Py_ssize_t>VW), <real>0)
            sums = sums + vselect(veq(a, vzero()), vzero(), a*vlog(a))
            i += VW
        total += vsum(sums)
    return total


# The same losses of few columns, with vectors across rows as in `softmax_narrow`: which way it is depends on the loss
# and n alone.

cdef inline vreal row_factors(const double* weights, Py_ssize_t first, Py_ssize_t rows, double scale) noexcept nogil:
    """The factor of each row's gradient."""
    cdef vreal factor = vset(<real>scale)
    cdef Py_ssize_t q
    if weights != NULL:
        for q in range(rows):
            (<real*>&factor)[q] = <real>(scale*weights[first + q])
    return factor


cdef inline void store_row_losses(
        const double* weights, Py_ssize_t first, Py_ssize_t rows, vreal losses, double* row_loss
) noexcept nogil:
    cdef real lanes[MAX_VW]
    cdef Py_ssize_t q
    vstore(lanes, losses)
    for q in range(rows):
        row_loss[first + q] = lanes[q] if weights == NULL else lanes[q]*weights[first + q]


cdef void softmax_cross_entropy_narrow(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, real* gradient, Py_ssize_t ldg
) noexcept nogil:
    """log(sum(exp(x))) sum(t) - sum(t x), and softmax(x) sum(t) - t. An invalid label makes its row's loss NaN."""
    cdef vreal columns[NARROW + MAX_VW]
    cdef vreal t[NARROW + MAX_VW]
    cdef vreal top, total, at, weight, losses, factor, invalid = vzero()
    cdef bint smooths = loss.kind == SOFTMAX_CROSS_ENTROPY and loss.a != 0
    cdef double smoothing = loss.a if smooths else 0
    cdef vreal keep = vset(<real>(1 - smoothing)), share = vset(<real>(smoothing/n))
    cdef Py_ssize_t i = 0, j, rows
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        if targets.labels == NULL:
            turn_rows(rows, n, <const real*>targets.values + i*targets.ld, targets.ld, i + rows < m, t)
        else:
            invalid = turn_labels(rows, n, targets.labels + i, t)
        top = columns[0]
        for j in range(1, n):
            top = vmax(columns[j], top)
        at = weight = vzero()
        losses = invalid
        for j in range(n):
            if loss.kind == SOFTMAX_KL_DIVERGENCE and row_loss != NULL:
                losses = losses + vnonzero(t[j], vlog(t[j]))
            weight = weight + t[j]
            if smooths:
                t[j] = vfma(keep, t[j], share)
            # an impossible class (logit -inf) that is not a target contributes nothing
            at = at + vnonzero(t[j], columns[j] - top)
        if smooths:
            weight = vfma(keep, weight, vset(<real>smoothing))
        total = exp_columns(n, columns, &top)
        if row_loss != NULL:
            store_row_losses(targets.weights, i, rows, losses + (weight*vlog(total) - at), row_loss)
        if gradient != NULL:
            factor = row_factors(targets.weights, i, rows, scale)
            total = factor*weight/total
            for j in range(n):
                columns[j] = columns[j]*total - factor*t[j]
            turn_columns(rows, n, columns, gradient + i*ldg, ldg)
        i += rows


cdef inline vreal turn_labels(Py_ssize_t rows, Py_ssize_t n, const int64_t* labels, vreal* t) noexcept nogil:
    """Targets of 1 at each row's label and 0 elsewhere, by columns; return NaN for a row whose label is invalid, else
    0."""
    cdef real lanes[MAX_VW]
    cdef vreal label
    cdef Py_ssize_t j, q
    for q in range(VW):  # a label may have been changed by another thread since it was checked
        lanes[q] = <real>labels[q] if q < rows and 0 <= labels[q] < n else <real>-1
    label = vload(lanes)
    for j in range(n):
        t[j] = vselect(veq(label, vset(<real>j)), vset(<real>1), vzero())
    return vselect(vlt(label, vzero()), vset(<real>NAN), vzero())


cdef inline void elementwise_columns(
        int kind, const LossSpec* loss, Py_ssize_t n, vreal* x, const vreal* t, vreal factor, bint value,
        bint has_gradient, vreal* losses
) noexcept nogil:
    """Write the losses of rows, and their gradient in place of `x`; `kind` is a constant."""
    cdef vreal total = vzero(), v, a = vset(<real>loss.a), b = vset(<real>loss.b)
    cdef Py_ssize_t j
    for j in range(n):
        v = x[j]
        if kind == QUANTILE:
            a = vset((<const real*>loss.per_output)[j])
        if value:
            total = total + vloss(kind, v, t[j], a, b)
        if has_gradient:
            x[j] = factor*vloss_backward(kind, v, t[j], a, b)
    losses[0] = total


cdef void elementwise_narrow(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, real* gradient, Py_ssize_t ldg
) noexcept nogil:
    cdef vreal columns[MAX_VW]
    cdef vreal t[MAX_VW]
    cdef vreal losses, factor
    cdef bint value = row_loss != NULL, slope = gradient != NULL
    cdef Py_ssize_t i = 0, rows
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        turn_rows(rows, n, <const real*>targets.values + i*targets.ld, targets.ld, i + rows < m, t)
        factor = row_factors(targets.weights, i, rows, scale)
        if loss.kind == SUM_SQUARED_ERROR:
            elementwise_columns(SUM_SQUARED_ERROR, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == MEAN_SQUARED_ERROR:
            elementwise_columns(MEAN_SQUARED_ERROR, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == MEAN_ABSOLUTE_ERROR:
            elementwise_columns(MEAN_ABSOLUTE_ERROR, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == HUBER:
            elementwise_columns(HUBER, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == LOG_COSH:
            elementwise_columns(LOG_COSH, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == POISSON and loss.a != 0:
            elementwise_columns(POISSON, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == POISSON:
            elementwise_columns(POISSON_OF_RATE, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == QUANTILE:
            elementwise_columns(QUANTILE, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == HINGE:
            elementwise_columns(HINGE, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == KL_DIVERGENCE:
            elementwise_columns(KL_DIVERGENCE, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == BINARY_FOCAL:
            elementwise_columns(BINARY_FOCAL, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == SIGMOID_BINARY_FOCAL:
            elementwise_columns(SIGMOID_BINARY_FOCAL, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == BINARY_CROSS_ENTROPY:
            elementwise_columns(BINARY_CROSS_ENTROPY, loss, n, columns, t, factor, value, slope, &losses)
        elif loss.kind == SIGMOID_BINARY_CROSS_ENTROPY:
            elementwise_columns(SIGMOID_BINARY_CROSS_ENTROPY, loss, n, columns, t, factor, value, slope, &losses)
        if value:
            store_row_losses(targets.weights, i, rows, losses, row_loss)
        if slope:
            turn_columns(rows, n, columns, gradient + i*ldg, ldg)
        i += rows


cdef inline bint is_elementwise(int loss) noexcept nogil:
    return loss < SOFTMAX_KL_DIVERGENCE or loss >= KL_DIVERGENCE


cdef inline double row_loss_of(
        const LossSpec* spec, Py_ssize_t n, const real* x, const real* t, int64_t label, real scale, real* gradient,
        bint value
) noexcept nogil:
    cdef int loss = spec.kind
    if loss == CROSS_ENTROPY:
        return cross_entropy_row(n, x, t, label, spec.a, scale, gradient)
    if loss == SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy_row(n, x, t, label, spec.a, scale, gradient)
    if loss == FOCAL:
        return focal_row(n, x, t, label, spec, scale, gradient)
    if loss == SOFTMAX_FOCAL and t == NULL:
        return softmax_focal_label(n, x, label, spec, scale, gradient)
    if loss == SOFTMAX_FOCAL:
        return softmax_focal_row(n, x, t, spec, scale, gradient)
    if loss == BINARY_FOCAL:
        return elementwise_row(BINARY_FOCAL, spec, n, x, t, scale, gradient, value)
    if loss == SIGMOID_BINARY_FOCAL:
        return elementwise_row(SIGMOID_BINARY_FOCAL, spec, n, x, t, scale, gradient, value)
    if loss == SOFTMAX_KL_DIVERGENCE:
        return (sum_of_logs(n, t) if value else 0) + softmax_cross_entropy_row(n, x, t, 0, 0, scale, gradient)
    if loss == SUM_SQUARED_ERROR:
        return elementwise_row(SUM_SQUARED_ERROR, spec, n, x, t, scale, gradient, value)
    if loss == MEAN_SQUARED_ERROR:
        return elementwise_row(MEAN_SQUARED_ERROR, spec, n, x, t, scale, gradient, value)
    if loss == MEAN_ABSOLUTE_ERROR:
        return elementwise_row(MEAN_ABSOLUTE_ERROR, spec, n, x, t, scale, gradient, value)
    if loss == HUBER:
        return elementwise_row(HUBER, spec, n, x, t, scale, gradient, value)
    if loss == LOG_COSH:
        return elementwise_row(LOG_COSH, spec, n, x, t, scale, gradient, value)
    if loss == POISSON and spec.a != 0:
        return elementwise_row(POISSON, spec, n, x, t, scale, gradient, value)
    if loss == POISSON:
        return elementwise_row(POISSON_OF_RATE, spec, n, x, t, scale, gradient, value)
    if loss == QUANTILE:
        return elementwise_row(QUANTILE, spec, n, x, t, scale, gradient, value)
    if loss == HINGE:
        return elementwise_row(HINGE, spec, n, x, t, scale, gradient, value)
    if loss == KL_DIVERGENCE:
        return elementwise_row(KL_DIVERGENCE, spec, n, x, t, scale, gradient, value)
    if loss == BINARY_CROSS_ENTROPY:
        return elementwise_row(BINARY_CROSS_ENTROPY, spec, n, x, t, scale, gradient, value)
    if loss == SIGMOID_BINARY_CROSS_ENTROPY:
        return elementwise_row(SIGMOID_BINARY_CROSS_ENTROPY, spec, n, x, t, scale, gradient, value)
    return NAN  # a loss without a branch


cdef void drop_rows(
        Py_ssize_t m, Py_ssize_t n, const double* weights, double* row_loss, real* gradient, Py_ssize_t ldg
) noexcept nogil:
    """A row of weight zero contributes nothing, even if its loss is infinite."""
    cdef Py_ssize_t i, j
    for i in range(m):
        if weights[i] == 0:
            if row_loss != NULL:
                row_loss[i] = 0
            if gradient != NULL:
                for j in range(n):
                    gradient[i*ldg + j] = 0


cdef void kernel_loss(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, void* gradient, Py_ssize_t ldg
) noexcept nogil:
    if (loss.kind == SOFTMAX_CROSS_ENTROPY or loss.kind == SOFTMAX_KL_DIVERGENCE) and n <= NARROW:
        softmax_cross_entropy_narrow(
            loss, m, n, <const real*>x, ldx, targets, scale, row_loss, <real*>gradient, ldg
        )
    elif is_elementwise(loss.kind) and n <= VW//2:
        elementwise_narrow(loss, m, n, <const real*>x, ldx, targets, scale, row_loss, <real*>gradient, ldg)
    else:
        loss_of_rows(loss, m, n, <const real*>x, ldx, targets, scale, row_loss, <real*>gradient, ldg)
    if targets.weights != NULL:
        drop_rows(m, n, targets.weights, row_loss, <real*>gradient, ldg)


cdef void loss_of_rows(
        const LossSpec* loss, Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const Targets* targets,
        double scale, double* row_loss, real* gradient, Py_ssize_t ldg
) noexcept nogil:
    cdef const real* t = NULL
    cdef int64_t label = 0
    cdef double value, weight = 1
    cdef Py_ssize_t i
    for i in range(m):
        if targets.labels != NULL:
            label = targets.labels[i]
            if label < 0 or label >= n:  # changed by another thread since it was checked
                if row_loss != NULL:
                    row_loss[i] = NAN
                continue
        else:
            t = <const real*>targets.values + i*targets.ld
        if targets.weights != NULL:
            weight = targets.weights[i]
        value = row_loss_of(
            loss, n, x + i*ldx, t, label, <real>(scale*weight), NULL if gradient == NULL else gradient + i*ldg,
            row_loss != NULL
        )
        if row_loss != NULL:
            row_loss[i] = value*weight


cdef inline Py_ssize_t first_largest(Py_ssize_t n, const real* x) noexcept nogil:
    """Return the index of the first largest value, or of the first NaN if there is one, as in numpy.argmax."""
    cdef Py_ssize_t j, best = 0
    for j in range(n):
        if x[j] != x[j]:
            return j
        if x[j] > x[best]:
            best = j
    return best
