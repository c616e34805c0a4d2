# out = the columns of a table, encoded: numbers, flags, and codes of categories, some by a learned table

cdef enum:  # the array
    TABLE = 0


cdef inline const Encodings* encodings(const Stage* stage) noexcept nogil:
    return <const Encodings*>stage.constants


cdef int fill_encoding(Plan* plan, Stage* stage, object constants) except -1:
    stage.constants = data(constants)
    if encodings(stage).n != stage.n_in or encodings(stage).n_out != stage.n_out:
        raise ValueError(f"expected the encodings of {stage.n_in} columns as {stage.n_out} numbers")
    stage.parts = max(encodings(stage).learned, <Py_ssize_t>1)
    stage.sums_apart = True
    return 0


cdef void infer_encoding(const Stage* stage, const Rows* rows) noexcept nogil:
    rows.plan.K.encode(
        rows.m, encodings(stage), rows.x, rows.ldx, array_of(rows.plan, rows.parameters, stage, TABLE), rows.out,
        rows.ldo
    )


cdef void backward_encoding(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    if to == NULL:
        return
    x = input_of(job, s, x, first, &ldx)
    job.plan.K.encode_backward(
        m, encodings(stage), gradients(job.plan, job.ws, stage, first), stage.ld, x, ldx, to, ldto
    )


cdef void gradient_encoding(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    """A part is a number of the table. `add` is never set: see `Stage.sums_apart`."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    x = input_of(job, s, x, first, &ldx)
    job.plan.K.encode_backward_table(
        begin, end, m, encodings(stage), gradients(job.plan, job.ws, stage, first), stage.ld, x, ldx,
        <char*>array_of(job.plan, to, stage, TABLE)
    )


register_kind(
    ENCODING, b"encoding", 0, False, False, GENERIC, GENERIC, fill_encoding, infer_encoding, forward_as_inferred,
    backward_encoding, gradient_encoding, learn_parts, fuses_always, fuse_in_turn, prepare_nothing, prepare_nothing,
    finish_nothing, unchanged_output, changed_as_inferred
)
