# out = gamma*x + beta, with numbers of their own for each column: a batch norm without moments

cdef void infer_scale(const Stage* stage, const Rows* rows) noexcept nogil:
    rows.plan.K.batch_norm(
        0, rows.m, stage.n_out, rows.x, rows.ldx, NULL, NULL, array_of(rows.plan, rows.parameters, stage, GAMMA),
        array_of(rows.plan, rows.parameters, stage, BETA), rows.out, rows.ldo
    )


cdef void backward_scale(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t ldx
    if to == NULL:
        return
    x = input_of(job, s, x, first, &ldx)
    plan.K.batch_norm_backward(
        0, m_all, m, stage.n_out, gradients(plan, job.ws, stage, first), stage.ld, x, ldx, NULL, NULL,
        array_of(plan, job.parameters, stage, GAMMA), NULL, NULL, to, ldto
    )


cdef void gradient_scale(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, first, &ldx)
    plan.K.batch_norm_sums(
        0, begin, end, m, gradients(plan, job.ws, stage, first), stage.ld, x, ldx, NULL, NULL,
        <char*>array_of(plan, to, stage, BETA), <char*>array_of(plan, to, stage, GAMMA), add
    )


cdef void unchanged_scale(
        const Job* job, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """The output before gamma and beta, which is the input."""
    cdef const Stage* stage = &job.plan.stages[s]
    copy_rows(job.plan, m, stage.n_out, x, ldx, gradients(job.plan, job.ws, stage, first), stage.ld)


register_kind(
    SCALE, b"scale", 0, False, False, ONE_OUTPUT_BY_NORMALIZED, ONE_OUTPUT, fill_nothing, infer_scale,
    forward_as_inferred, backward_scale, gradient_scale, learn_parts, fuses_always, fuse_in_turn, prepare_nothing,
    prepare_nothing, finish_nothing, unchanged_scale, changed_as_inferred
)
