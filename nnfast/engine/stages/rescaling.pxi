# out = x*scale + offset, the same two numbers for all

cdef struct Rescaling:
    double scale, offset


cdef inline Rescaling* rescaling(const Stage* stage) noexcept nogil:
    return <Rescaling*>stage.numbers


cdef int fill_rescaling(Plan* plan, Stage* stage, object numbers) except -1:
    rescaling(stage).scale = numbers["scale"]
    rescaling(stage).offset = numbers["offset"]
    return 0


cdef void infer_rescaling(const Stage* stage, const Rows* rows) noexcept nogil:
    cdef const Rescaling* numbers = rescaling(stage)
    rows.plan.K.rescale(
        numbers.scale, numbers.offset, rows.m, stage.n_out, rows.x, rows.ldx, rows.out, rows.ldo
    )


cdef void backward_rescaling(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    if to != NULL:
        job.plan.K.rescale(
            rescaling(stage).scale, 0, m, stage.n_out, gradients(job.plan, job.ws, stage, first), stage.ld, to, ldto
        )


register_kind(
    RESCALING, b"rescaling", sizeof(Rescaling), False, False, GENERIC, GENERIC, fill_rescaling, infer_rescaling,
    forward_as_inferred, backward_rescaling, no_gradient, learn_nothing, fuses_always, fuse_in_turn, prepare_nothing,
    prepare_nothing, finish_nothing, unchanged_output, changed_as_inferred
)
