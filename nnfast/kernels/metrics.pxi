# Metrics: a score for each row of outputs and targets.
#
# A score is a count of correct predictions, a whole number, or a sum of errors. Counts without weights may be added in
# any order, so the kernel can return their total; real numbers go into an array with one score per row, which the
# caller adds in row order. The caller averages: the kernel does not divide. A NaN among the outputs is never right, and
# makes an error NaN.


cdef inline bint class_is_right(Py_ssize_t n, const real* x, int64_t target) noexcept nogil:
    """Whether all values before the target's are smaller, and none behind it is larger. No branch depends on a value:
    no processor could predict it."""
    cdef Py_ssize_t j
    cdef bint right = True
    cdef real own
    if target < 0 or target >= n:  # changed by another thread since it was checked
        return False
    own = x[target]
    for j in range(n):
        right &= (x[j] < own) | ((x[j] == own) & (j >= target))
    return right


cdef Py_ssize_t count_classes(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const int64_t* labels
) noexcept nogil:
    """The same for rows that fit into one vector, which may be read past their end."""
    cdef real lanes[MAX_VW]
    cdef vreal places, v, own
    cdef vint wrong
    cdef Py_ssize_t i, right = 0
    for i in range(VW):
        lanes[i] = <real>i
    places = vload(lanes)
    for i in range(m):
        if labels[i] < 0 or labels[i] >= n:
            continue
        v = vload(x + i*ldx)
        own = vset(x[i*ldx + labels[i]])
        wrong = ~vle(v, own) | (veq(v, own) & vlt(places, vset(<real>labels[i])))
        right += not vany(wrong & vlt(places, vset(<real>n)))
    return right


cdef inline bint is_in_top(Py_ssize_t n, const real* x, int64_t target, Py_ssize_t k) noexcept nogil:
    """Whether the target is among the k largest; among equal values the first come first, as in a stable sort."""
    cdef Py_ssize_t j, larger = 0, missing = 0
    cdef real own
    if target < 0 or target >= n:  # changed by another thread since it was checked
        return False
    own = x[target]
    for j in range(n):
        larger += x[j] > own
        missing += x[j] != x[j]
    for j in range(target):
        larger += x[j] == own
    return larger < k and missing == 0


cdef inline Py_ssize_t elements_right(Py_ssize_t n, const real* x, const real* t, real threshold) noexcept nogil:
    """Count the values that are above the threshold exactly where the target is above one half."""
    cdef Py_ssize_t j, right = 0
    for j in range(n):
        right += (x[j] == x[j]) & ((x[j] > threshold) == (t[j] > <real>0.5))
    return right


cdef inline Py_ssize_t count_row(
        int kind, const MetricSpec* metric, Py_ssize_t n, const real* x, const real* t, int64_t label
) noexcept nogil:
    if kind == BINARY_ACCURACY:
        return elements_right(n, x, t, <real>metric.threshold)
    if kind == SUBSET_ACCURACY:
        return elements_right(n, x, t, <real>metric.threshold) == n
    if t != NULL:
        label = first_largest(n, t)
    if kind == CLASS_ACCURACY:
        return class_is_right(n, x, label)
    return is_in_top(n, x, label, metric.k)


cdef inline Py_ssize_t count_rows(
        int kind, const MetricSpec* metric, Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx,
        const Targets* targets, double* row_scores
) noexcept nogil:
    cdef const real* t = NULL
    cdef int64_t label = 0
    cdef Py_ssize_t i, count, total = 0
    for i in range(m):
        if targets.labels != NULL:
            label = targets.labels[i]
        else:
            t = <const real*>targets.values + i*targets.ld
        count = count_row(kind, metric, n, x + i*ldx, t, label)
        total += count
        if row_scores != NULL:
            row_scores[i] = count if targets.weights == NULL else count*targets.weights[i]
    return total


cdef inline double label_error_block(Py_ssize_t n, const real* x, int64_t label) noexcept nogil:
    """Sum the errors of values that should be 1 at the label and 0 elsewhere, in the order of elementwise_block."""
    cdef vreal total = vzero(), t
    cdef real* lanes = <real*>&t
    cdef Py_ssize_t i = 0
    while i < n:
        t = vzero()
        if i <= label < i + VW:
            lanes[label - i] = 1
        total = total + vabs(vload_part(x + i, min(n - i, <Py_ssize_t>VW), <real>0) - t)  # 0 past the end
        i += VW
    return vsum(total)


cdef inline double absolute_error_row(Py_ssize_t n, const real* x, const real* t, int64_t label) noexcept nogil:
    cdef LossSpec spec = LossSpec(MEAN_ABSOLUTE_ERROR, 0, 0, NULL, 0)
    cdef double total = 0
    cdef Py_ssize_t i = 0
    if t != NULL:
        return elementwise_row(MEAN_ABSOLUTE_ERROR, &spec, n, x, t, 0, NULL, True)
    if label < 0 or label >= n:  # changed by another thread since it was checked
        return NAN
    while i < n:
        total += label_error_block(min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, label - i)
        i += SUM_BLOCK
    return total


cdef void absolute_errors(
        Py_ssize_t m, Py_ssize_t n, const real* x, Py_ssize_t ldx, const Targets* targets, double* row_scores
) noexcept nogil:
    """Sum over the elements of each row, times the row's weight; a row of weight zero contributes nothing."""
    cdef const real* t = NULL
    cdef int64_t label = 0
    cdef double weight = 1
    cdef Py_ssize_t i
    for i in range(m):
        if targets.labels != NULL:
            label = targets.labels[i]
        else:
            t = <const real*>targets.values + i*targets.ld
        if targets.weights != NULL:
            weight = targets.weights[i]
        row_scores[i] = weight*absolute_error_row(n, x + i*ldx, t, label) if weight != 0 else 0


cdef Py_ssize_t kernel_score(
        const MetricSpec* metric, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t ldx, const Targets* targets,
        double* row_scores
) noexcept nogil:
    cdef const real* outputs = <const real*>x
    if metric.kind == CLASS_ACCURACY and targets.labels != NULL and row_scores == NULL and n <= VW <= ldx:
        return count_classes(m, n, outputs, ldx, targets.labels)
    if metric.kind == CLASS_ACCURACY:
        return count_rows(CLASS_ACCURACY, metric, m, n, outputs, ldx, targets, row_scores)
    if metric.kind == BINARY_ACCURACY:
        return count_rows(BINARY_ACCURACY, metric, m, n, outputs, ldx, targets, row_scores)
    if metric.kind == SUBSET_ACCURACY:
        return count_rows(SUBSET_ACCURACY, metric, m, n, outputs, ldx, targets, row_scores)
    if metric.kind == TOP_K_ACCURACY:
        return count_rows(TOP_K_ACCURACY, metric, m, n, outputs, ldx, targets, row_scores)
    if metric.kind == ABSOLUTE_ERROR:
        absolute_errors(m, n, outputs, ldx, targets, row_scores)
        return 0
    return -1  # a metric without a branch
