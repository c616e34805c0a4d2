# Metrics in training and in evaluation: scores of rows, and totals that do not depend on the number of threads.
# Included by program.pyx.
#
# Counts of rows without weights are whole numbers, so each thread adds its own. Everything else is stored by row and
# added in row order.


cdef class ScoreMemory:
    """Metrics, and memory for the scores of a batch.

    Parameters
    ----------
    metrics : sequence of nnfast.metrics.Scoring
    rows : int
        Of the largest batch.
    weighted : bool
        Whether rows have weights.
    threads : int
    """

    cdef Scores scores
    cdef Scored* metrics

    def __cinit__(self, metrics, Py_ssize_t rows, bint weighted, int threads):
        cdef Scores* scores = &self.scores
        cdef Scored* scored
        cdef bint by_row = False
        scores.n = len(metrics)
        scored = self.metrics = <Scored*>calloc(scores.n + 1, sizeof(Scored))
        scores.counts = <int64_t*>calloc(scores.n*threads + 1, sizeof(int64_t))
        if scored == NULL or scores.counts == NULL:
            raise MemoryError(f"no memory for {scores.n} metrics")
        scores.metrics = scored
        for metric in metrics:
            scored.spec = MetricSpec(METRICS[metric.kernel], metric.threshold, metric.k)
            scored.from_outputs = metric.from_outputs
            scored.by_row = weighted or not is_count(scored.spec.kind)
            by_row = by_row or scored.by_row
            scored += 1
        if by_row:
            scores.rows = rows
            scores.row_scores = <double*>aligned_memory(<size_t>rows*scores.n*sizeof(double))
            if scores.row_scores == NULL:
                raise MemoryError(f"no memory for {scores.n} metrics of {rows} rows")

    def __dealloc__(self):
        free(self.metrics)
        free(self.scores.counts)
        free_memory(self.scores.row_scores)


cdef inline void score(
        const Plan* plan, const Scores* scores, int k, int id, Py_ssize_t first, Py_ssize_t m, const char* out,
        Py_ssize_t ld, const Targets* targets
) noexcept nogil:
    cdef const Scored* metric = &scores.metrics[k]
    cdef double* to = scores.row_scores + k*scores.rows + first if metric.by_row else NULL
    scores.counts[id*scores.n + k] += plan.K.score(&metric.spec, m, plan.n_out, out, ld, targets, to)


cdef void score_rows(
        const Plan* plan, const Scores* scores, int id, Py_ssize_t first, Py_ssize_t m, char* out, Py_ssize_t ld,
        const Targets* targets
) noexcept nogil:
    """Compute the scores of `m` rows, from row `first` of the batch on. `out` holds what the loss is computed from; if
    a metric needs the outputs, the last activation is applied to it in place."""
    cdef const Stage* last = &plan.stages[plan.n_stages - 1]
    cdef bint left = False
    cdef int k
    for k in range(scores.n):
        if plan.from_logits and scores.metrics[k].from_outputs:
            left = True
        else:
            score(plan, scores, k, id, first, m, out, ld, targets)
    if left:
        plan.K.apply(last.function, last.alpha, m, plan.n_out, out, ld, out, ld)
        for k in range(scores.n):
            if scores.metrics[k].from_outputs:
                score(plan, scores, k, id, first, m, out, ld, targets)


cdef inline bint need_outputs(const Scores* scores) noexcept nogil:
    """Whether one of the metrics is computed from the outputs."""
    cdef int k
    for k in range(scores.n):
        if scores.metrics[k].from_outputs:
            return True
    return False


cdef inline void forget_counts(const Scores* scores, int id) noexcept nogil:
    cdef int k
    for k in range(scores.n):
        scores.counts[id*scores.n + k] = 0


cdef void add_scores(const Scores* scores, Py_ssize_t m, int threads, double* totals) noexcept nogil:
    """Write the total of each metric over a batch of `m` rows."""
    cdef int64_t count
    cdef int k, id
    for k in range(scores.n):
        if scores.metrics[k].by_row:
            totals[k] = sum_of_rows(scores.row_scores + k*scores.rows, m)
            continue
        count = 0
        for id in range(threads):
            count += scores.counts[id*scores.n + k]
        totals[k] = count
