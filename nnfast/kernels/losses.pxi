# Losses of rows and their gradients.
#
# Each loss of one vector of outputs against one vector of targets is an inline function, written once, beside its
# derivative; `elementwise_row` runs them over a row. The losses over classes need a whole row at once and have a
# function of their own. A row's loss is that row's share before averaging; the caller averages and passes the factor as
# `scale`. A long row is summed in blocks, and the blocks in double precision.

cdef inline vreal vclip(vreal p) noexcept nogil:
    """Probabilities kept `eps` away from 0 and 1, so that their logarithm is finite; NaN passes."""
    cdef real eps = <real>1.1920928955078125e-7 if sizeof(real) == 4 else <real>2.220446049250313e-16
    p = vselect(vlt(p, vset(eps)), vset(eps), p)
    return vselect(vlt(vset(<real>1 - eps), p), vset(<real>1 - eps), p)


cdef inline vreal vloss(int loss, vreal x, vreal t) noexcept nogil:
    cdef vreal p
    if loss == SUM_SQUARED_ERROR:
        return vset(<real>0.5)*(x - t)*(x - t)
    if loss == MEAN_SQUARED_ERROR:
        return (x - t)*(x - t)
    if loss == BINARY_CROSS_ENTROPY:  # -(t log(p) + (1 - t) log(1 - p))
        p = vclip(x)
        return -vfma(t, vlog(p), (vset(<real>1) - t)*vlog(vset(<real>1) - p))
    # SIGMOID_BINARY_CROSS_ENTROPY: log(1 + exp(x)) - t x, with log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)). An
    # argument of the logarithm that rounds to one is corrected by the part that was lost: log(1 + e) = log(u) + (e - (u
    # - 1))/u.
    cdef vreal e = vexp(-vabs(x)), u = vset(<real>1) + e, linear
    # max(x, 0) - t x, as x (1 - t) or -x t: nothing where the factor is zero, though x be infinite
    linear = vselect(vlt(vzero(), x), vset(<real>1) - t, -t)
    linear = vselect(veq(linear, vzero()), vzero(), x*linear)
    linear = vselect(veq(x, x), linear, x)
    return linear + (vlog(u) + (e - (u - vset(<real>1)))/u)


cdef inline vreal vloss_backward(int loss, vreal x, vreal t) noexcept nogil:
    cdef vreal p
    if loss == SUM_SQUARED_ERROR:
        return x - t
    if loss == MEAN_SQUARED_ERROR:
        return vset(<real>2)*(x - t)
    if loss == BINARY_CROSS_ENTROPY:
        p = vclip(x)
        return (p - t)/(p*(vset(<real>1) - p))
    return vsigmoid(x) - t  # SIGMOID_BINARY_CROSS_ENTROPY


cdef inline double elementwise_row(
        int loss, Py_ssize_t n, const real* x, const real* t, real scale, real* gradient, bint value
) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += elementwise_block(
            loss, min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, t + i, scale, NULL if gradient == NULL else gradient + i,
            value
        )
        i += SUM_BLOCK
    return total


cdef inline double elementwise_block(
        int loss, Py_ssize_t n, const real* x, const real* t, real scale, real* gradient, bint value
) noexcept nogil:
    cdef vreal total = vzero(), a, b
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        a = vload(x + i)
        b = vload(t + i)
        if value:
            total = total + vloss(loss, a, b)
        if gradient != NULL:
            vstore(gradient + i, vset(scale)*vloss_backward(loss, a, b))
        i += VW
    if i < n:
        a = vload_part(x + i, n - i, <real>0)
        b = vload_part(t + i, n - i, <real>0)
        if gradient != NULL:
            vstore_part(gradient + i, vset(scale)*vloss_backward(loss, a, b), n - i)
        if value:  # lanes past the end count nothing
            a = vloss(loss, a, b)
            b = vzero()
            vstore_part(<real*>&b, a, n - i)
            total = total + b
    return vsum(total)


cdef inline double cross_entropy_row(
        Py_ssize_t n, const real* p, const real* t, int64_t label, real scale, real* gradient
) noexcept nogil:
    """-sum(t log(p)); with no t, of the one row that is 1 at the label and 0 elsewhere."""
    cdef double total = 0
    cdef real own, at
    cdef Py_ssize_t i
    if t == NULL:
        own = at = vfirst(vclip(vset(p[label])))
        for i in range(n):
            if p[i] != p[i]:  # NaN anywhere in the row
                at = p[i]
        if gradient != NULL:
            for i in range(n):
                gradient[i] = p[i] if p[i] != p[i] else <real>0
            gradient[label] = -scale/own
        return -vfirst(vlog(vset(at)))
    i = 0
    while i < n:
        total += cross_entropy_block(
            min(n - i, <Py_ssize_t>SUM_BLOCK), p + i, t + i, scale, NULL if gradient == NULL else gradient + i
        )
        i += SUM_BLOCK
    return total


cdef inline double cross_entropy_block(
        Py_ssize_t n, const real* p, const real* t, real scale, real* gradient
) noexcept nogil:
    cdef vreal total = vzero(), a, b
    cdef Py_ssize_t i = 0
    while i < n:
        a = vclip(vload_part(p + i, min(n - i, <Py_ssize_t>VW), <real>1))
        b = vload_part(t + i, min(n - i, <Py_ssize_t>VW), <real>0)
        total = total - b*vlog(a)
        if gradient != NULL:
            vstore_part(gradient + i, -vset(scale)*b/a, min(n - i, <Py_ssize_t>VW))
        i += VW
    return vsum(total)


cdef inline double softmax_cross_entropy_row(
        Py_ssize_t n, const real* x, const real* t, int64_t label, real scale, real* gradient
) noexcept nogil:
    """log(sum(exp(x))) sum(t) - sum(t x), and softmax(x) sum(t) - t. `gradient` may be `x`."""
    cdef real top = row_max(n, x), total
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
                # a class that cannot be (logit -inf) and is no target costs nothing
                products = products + vselect(veq(b, vzero()), vzero(), a*b)
                i += VW
            weight += vsum(sums)
            at += vsum(products)
    total = exp_row(n, x, top, gradient)
    if gradient != NULL:
        scale_row(n, scale*<real>weight/total, gradient)
        if t == NULL:
            gradient[label] = gradient[label] - scale
        else:
            i = 0
            while i < n:
                a = vload_part(gradient + i, min(n - i, <Py_ssize_t>VW), <real>0)
                b = vload_part(t + i, min(n - i, <Py_ssize_t>VW), <real>0)
                vstore_part(gradient + i, a - vset(scale)*b, min(n - i, <Py_ssize_t>VW))
                i += VW
    return weight*vfirst(vlog(vset(total))) - at


cdef void softmax_cross_entropy_narrow(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const int64_t* labels, real scale, double* row_loss,
        real* gradient, Py_ssize_t ldg
) noexcept nogil:
    """The same for few classes and labels, vectors across rows. A label that is none makes its row's loss NaN."""
    cdef vreal columns[NARROW + MAX_VW]
    cdef vreal top, total, losses
    cdef real at[MAX_VW]
    cdef real* lanes = <real*>columns
    cdef Py_ssize_t i = 0, j, q, rows
    cdef int64_t label
    while i < m:
        rows = min(m - i, <Py_ssize_t>VW)
        turn_rows(rows, n, x + i*ldx, ldx, i + rows < m, columns)
        for q in range(VW):
            label = labels[i + q] if q < rows else 0
            at[q] = lanes[label*VW + q] if 0 <= label < n else <real>NAN
        total = exp_columns(n, columns, &top)
        if row_loss != NULL:
            losses = vlog(total) - (vload(at) - top)
            vstore(at, losses)
            for q in range(rows):
                row_loss[i + q] = at[q]
        if gradient != NULL:
            total = vset(scale)/total
            for j in range(n):
                columns[j] = columns[j]*total
            for q in range(rows):
                label = labels[i + q]
                if 0 <= label < n:
                    lanes[label*VW + q] -= scale
            turn_columns(rows, n, columns, gradient + i*ldg, ldg)
        i += rows


cdef inline double row_loss_of(
        int loss, Py_ssize_t n, const real* x, const real* t, int64_t label, real scale, real* gradient, bint value
) noexcept nogil:
    if loss == CROSS_ENTROPY:
        return cross_entropy_row(n, x, t, label, scale, gradient)
    if loss == SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy_row(n, x, t, label, scale, gradient)
    if loss == SUM_SQUARED_ERROR:
        return elementwise_row(SUM_SQUARED_ERROR, n, x, t, scale, gradient, value)
    if loss == MEAN_SQUARED_ERROR:
        return elementwise_row(MEAN_SQUARED_ERROR, n, x, t, scale, gradient, value)
    if loss == BINARY_CROSS_ENTROPY:
        return elementwise_row(BINARY_CROSS_ENTROPY, n, x, t, scale, gradient, value)
    return elementwise_row(SIGMOID_BINARY_CROSS_ENTROPY, n, x, t, scale, gradient, value)


cdef void kernel_loss(
        int loss, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets, double scale,
        double* row_loss, void* gradient, Py_ssize_t ldg
) noexcept nogil:
    cdef const real* t = NULL
    cdef real* g = NULL
    cdef int64_t label = 0
    cdef double value
    cdef Py_ssize_t i
    if loss == SOFTMAX_CROSS_ENTROPY and targets.labels != NULL and n <= NARROW:
        softmax_cross_entropy_narrow(
            m, n, <const real*>x, ldx, targets.labels, <real>scale, row_loss, <real*>gradient, ldg
        )
        return
    for i in range(m):
        if targets.labels != NULL:
            label = targets.labels[i]
            if label < 0 or label >= n:  # changed by somebody since it was checked
                if row_loss != NULL:
                    row_loss[i] = NAN
                continue
        else:
            t = <const real*>targets.values + i*targets.ld
        if gradient != NULL:
            g = <real*>gradient + i*ldg
        value = row_loss_of(loss, n, <const real*>x + i*ldx, t, label, <real>scale, g, row_loss != NULL)
        if row_loss != NULL:
            row_loss[i] = value


cdef inline Py_ssize_t first_largest(Py_ssize_t n, const real* x) noexcept nogil:
    """The index of the first largest value; of the first NaN if there is one, as in numpy.argmax."""
    cdef Py_ssize_t j, best = 0
    for j in range(n):
        if x[j] != x[j]:
            return j
        if x[j] > x[best]:
            best = j
    return best


cdef Py_ssize_t kernel_count_correct(
        bint classes, double threshold, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx,
        const Targets* targets
) noexcept nogil:
    cdef Py_ssize_t i, j, correct = 0
    cdef const real* row
    cdef const real* t = NULL
    for i in range(m):
        row = <const real*>x + i*ldx
        if targets.labels == NULL:
            t = <const real*>targets.values + i*targets.ld
        if not classes:
            for j in range(n):
                correct += (row[j] > <real>threshold) == (t[j] > <real>0.5)
        elif targets.labels != NULL:
            correct += first_largest(n, row) == targets.labels[i]
        else:
            correct += first_largest(n, row) == first_largest(n, t)
    return correct
