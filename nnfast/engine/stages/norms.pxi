# out = gamma*(x - mean)/sqrt(variance + epsilon) + beta: by columns of the batch, or by rows

cdef struct Norm:
    double epsilon
    double momentum  # of the running statistics

cdef enum Column:  # what a batch norm computes for each column
    MEAN
    VARIANCE
    SUM_GRADIENT
    SUM_PRODUCT  # of gradient and normalized input
    SPARE
    N_COLUMNS


cdef inline Norm* norm(const Stage* stage) noexcept nogil:
    return <Norm*>stage.numbers


# ---- batch norm

cdef inline const char* running_mean(const Plan* plan, const char* statistics, const Stage* stage) noexcept nogil:
    return statistics + stage.statistics*plan.z


cdef inline const char* running_variance(const Plan* plan, const char* statistics, const Stage* stage) noexcept nogil:
    return statistics + (stage.statistics + stage.n_out)*plan.z


cdef inline const char* mean_of(const Job* job, const Stage* stage) noexcept nogil:
    if from_batch(job, stage):
        return column(job, stage, MEAN)
    return running_mean(job.plan, job.statistics, stage)


cdef inline const char* variance_of(const Job* job, const Stage* stage) noexcept nogil:
    if from_batch(job, stage):
        return column(job, stage, VARIANCE)
    return running_variance(job.plan, job.statistics, stage)


cdef int fill_batch_norm(Plan* plan, Stage* stage, object numbers) except -1:
    norm(stage).epsilon = numbers["epsilon"]
    norm(stage).momentum = numbers["momentum"]
    stage.n_columns = N_COLUMNS
    return 0


cdef void infer_batch_norm(const Stage* stage, const Rows* rows) noexcept nogil:
    cdef const Plan* plan = rows.plan
    plan.K.batch_norm(
        norm(stage).epsilon, rows.m, stage.n_out, rows.x, rows.ldx, running_mean(plan, rows.statistics, stage),
        running_variance(plan, rows.statistics, stage), array_of(plan, rows.parameters, stage, GAMMA),
        array_of(plan, rows.parameters, stage, BETA), rows.out, rows.ldo
    )


cdef void forward_batch_norm(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, first, &ldx)
    plan.K.batch_norm(
        norm(stage).epsilon, m, stage.n_out, x, ldx, mean_of(job, stage), variance_of(job, stage),
        array_of(plan, job.parameters, stage, GAMMA), array_of(plan, job.parameters, stage, BETA),
        activations(plan, job.ws, stage, first), stage.ld
    )


cdef void backward_batch_norm(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef bint batch = from_batch(job, stage)
    cdef Py_ssize_t ldx
    if to == NULL:
        return
    x = input_of(job, s, x, first, &ldx)
    plan.K.batch_norm_backward(
        norm(stage).epsilon, m_all, m, stage.n_out, gradients(plan, job.ws, stage, first), stage.ld, x, ldx,
        mean_of(job, stage), variance_of(job, stage), array_of(plan, job.parameters, stage, GAMMA),
        column(job, stage, SUM_GRADIENT) if batch else NULL, column(job, stage, SUM_PRODUCT) if batch else NULL, to,
        ldto
    )


cdef void moments_of_columns(const Job* job, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the columns, over all rows."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, 0, &ldx)
    job.plan.K.batch_norm_moments(
        share(stage.n_out, id, count, COLUMN_GRAIN), share(stage.n_out, id + 1, count, COLUMN_GRAIN), m, x, ldx,
        column(job, stage, MEAN), column(job, stage, VARIANCE)
    )


cdef void sums_of_columns(const Job* job, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the sums that the backward pass needs: the gradients of beta and gamma."""
    cdef const Stage* stage = &job.plan.stages[s]
    write_sums(
        job, s, x, 0, m, share(stage.n_out, id, count, COLUMN_GRAIN), share(stage.n_out, id + 1, count, COLUMN_GRAIN),
        column(job, stage, SUM_GRADIENT), column(job, stage, SUM_PRODUCT), False
    )


cdef void write_sums(
        const Job* job, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* gradient, char* product, bint add
) noexcept nogil:
    """For some columns, the sums over some rows of the gradient, and of its product with the normalized input."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, first, &ldx)
    job.plan.K.batch_norm_sums(
        norm(stage).epsilon, begin, end, m, gradients(job.plan, job.ws, stage, first), stage.ld, x, ldx,
        mean_of(job, stage), variance_of(job, stage), gradient, product, add
    )


cdef void gradient_batch_norm(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef char* gamma = to + stage.arrays[GAMMA].at*plan.z
    cdef char* beta = to + stage.arrays[BETA].at*plan.z
    cdef Py_ssize_t n = end - begin, offset = begin*plan.z
    if from_batch(job, stage):  # then the backward pass has computed the sums over the whole batch
        copy_rows(plan, 1, n, column(job, stage, SUM_PRODUCT) + offset, n, gamma + offset, n)
        copy_rows(plan, 1, n, column(job, stage, SUM_GRADIENT) + offset, n, beta + offset, n)
    else:
        write_sums(job, s, x, first, m, begin, end, beta, gamma, add)


cdef void update_running_statistics(Job* job, const Stage* stage, Py_ssize_t m) noexcept nogil:
    """With the unbiased variance of the batch, as in PyTorch."""
    cdef const Plan* plan = job.plan
    cdef char* mean = job.statistics + stage.statistics*plan.z
    if not from_batch(job, stage):
        return
    plan.K.average(stage.n_out, norm(stage).momentum, mean, column(job, stage, MEAN))
    plan.K.rescale(
        m/(m - 1.0), 0, 1, stage.n_out, column(job, stage, VARIANCE), stage.ld, column(job, stage, SPARE), stage.ld
    )
    plan.K.average(stage.n_out, norm(stage).momentum, mean + stage.n_out*plan.z, column(job, stage, SPARE))


cdef void unchanged_batch_norm(
        const Job* job, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """The output before gamma and beta."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    plan.K.batch_norm(
        norm(stage).epsilon, m, stage.n_out, x, ldx, mean_of(job, stage), variance_of(job, stage), NULL, NULL,
        gradients(plan, job.ws, stage, first), stage.ld
    )


cdef void changed_batch_norm(
        const DifferenceJob* job, Block* b, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef double* variance = b.columns + block_ld(plan)
    if not from_batch(job.base, stage):
        changed_as_inferred(job, b, s, parameters, x, ldx, out)
        return
    plan.K.batch_norm_moments(0, stage.n_out, b.rows, x, ldx, b.columns, variance)
    plan.K.batch_norm(
        norm(stage).epsilon, b.rows, stage.n_out, x, ldx, b.columns, variance,
        array_of(plan, parameters, stage, GAMMA), array_of(plan, parameters, stage, BETA), out, stage.ld
    )


register_kind(
    BATCH_NORM, b"batch_norm", sizeof(Norm), False, True, ONE_OUTPUT_BY_NORMALIZED, ONE_OUTPUT, fill_batch_norm,
    infer_batch_norm, forward_batch_norm, backward_batch_norm, gradient_batch_norm, learn_parts, fuses_always,
    fuse_in_turn, moments_of_columns, sums_of_columns, update_running_statistics, unchanged_batch_norm,
    changed_batch_norm
)


# ---- layer norm

cdef int fill_layer_norm(Plan* plan, Stage* stage, object numbers) except -1:
    norm(stage).epsilon = numbers["epsilon"]
    stage.keep_ld = 2  # the mean, and one over the standard deviation
    return 0


cdef inline void layer_norm(const Stage* stage, const Rows* rows, char* keep) noexcept nogil:
    rows.plan.K.layer_norm(
        norm(stage).epsilon, rows.m, stage.n_out, rows.x, rows.ldx, array_of(rows.plan, rows.parameters, stage, GAMMA),
        array_of(rows.plan, rows.parameters, stage, BETA), keep, rows.out, rows.ldo
    )


cdef void infer_layer_norm(const Stage* stage, const Rows* rows) noexcept nogil:
    layer_norm(stage, rows, NULL)


cdef void forward_layer_norm(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Rows rows
    rows.plan, rows.parameters, rows.m = job.plan, job.parameters, m
    rows.x = input_of(job, s, x, first, &rows.ldx)
    rows.out, rows.ldo = activations(job.plan, job.ws, stage, first), stage.ld
    layer_norm(stage, &rows, kept(job, stage, first))


cdef void backward_layer_norm(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t ldx
    if to == NULL:
        return
    x = input_of(job, s, x, first, &ldx)
    plan.K.layer_norm_backward(
        m, stage.n_out, gradients(plan, job.ws, stage, first), stage.ld, x, ldx,
        array_of(plan, job.parameters, stage, GAMMA), kept(job, stage, first), to, ldto
    )


cdef void gradient_layer_norm(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, first, &ldx)
    plan.K.layer_norm_backward_parameters(
        begin, end, m, gradients(plan, job.ws, stage, first), stage.ld, x, ldx, kept(job, stage, first),
        to + stage.arrays[GAMMA].at*plan.z, to + stage.arrays[BETA].at*plan.z, add
    )


cdef void unchanged_layer_norm(
        const Job* job, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """The output before gamma and beta."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    plan.K.layer_norm(
        norm(stage).epsilon, m, stage.n_out, x, ldx, NULL, NULL, NULL, gradients(plan, job.ws, stage, first), stage.ld
    )


register_kind(
    LAYER_NORM, b"layer_norm", sizeof(Norm), False, False, ONE_OUTPUT_BY_NORMALIZED, ONE_OUTPUT, fill_layer_norm,
    infer_layer_norm, forward_layer_norm, backward_layer_norm, gradient_layer_norm, learn_parts, fuses_always,
    fuse_in_turn, prepare_nothing, prepare_nothing, finish_nothing, unchanged_layer_norm, changed_as_inferred
)
