# out = f(x)

cdef int fill_activation(Plan* plan, Stage* stage, object numbers) except -1:
    if keeps(stage.function):
        stage.keep_ld = stage.ld
    return 0


cdef void infer_activation(const Stage* stage, const Rows* rows) noexcept nogil:
    rows.plan.K.apply(
        IDENTITY if rows.linear else stage.function, stage.alpha, rows.m, stage.n_out, rows.x, rows.ldx, rows.out,
        rows.ldo
    )


cdef void forward_activation(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    if stage.keep < 0 or is_linear(job, s):
        forward_as_inferred(job, id, s, x, first, m)
    else:
        x = input_of(job, s, x, first, &ldx)
        apply_keep(job, stage, first, m, x, ldx)


cdef inline void apply_keep(
        const Job* job, const Stage* stage, Py_ssize_t first, Py_ssize_t m, const char* x, Py_ssize_t ldx
) noexcept nogil:
    """Apply the activation and keep its derivative. Whole rows are one long run."""
    job.plan.K.apply_keep(
        stage.function, stage.alpha, m, stage.ld if ldx == stage.ld else stage.n_out, x, ldx,
        activations(job.plan, job.ws, stage, first), stage.ld, kept(job, stage, first), stage.ld
    )


cdef inline void backward_through_function(
        const Job* job, const Stage* stage, Py_ssize_t first, Py_ssize_t m, const char* g, char* to, Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t n = stage.n_out if mixes(stage.function) or ldto != stage.ld else stage.ld  # whole rows: one run
    if stage.keep >= 0:
        plan.K.multiply(m, n, g, stage.ld, kept(job, stage, first), stage.ld, to, ldto)
    else:
        plan.K.apply_backward(
            stage.function, stage.alpha, m, n, g, stage.ld, activations(plan, job.ws, stage, first), stage.ld, to, ldto
        )


cdef void backward_activation(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    if to == NULL:
        return
    if is_linear(job, s):
        backward_copy(job, id, s, x, m_all, first, m, to, ldto)
    else:
        backward_through_function(job, stage, first, m, gradients(job.plan, job.ws, stage, first), to, ldto)


register_kind(
    ACTIVATION, b"activation", 0, False, False, GENERIC, GENERIC, fill_activation, infer_activation, forward_activation,
    backward_activation, no_gradient, learn_nothing, fuses_always, fuse_in_turn, prepare_nothing, prepare_nothing,
    finish_nothing, unchanged_output, changed_as_inferred
)
