# out = x + the output of an earlier stage: the end of a residual block

cdef void infer_add(const Stage* stage, const Rows* rows) noexcept nogil:
    rows.plan.K.add(rows.m, stage.n_out, rows.x, rows.ldx, rows.other, rows.ldother, rows.out, rows.ldo)


cdef void changed_add(
        const DifferenceJob* job, Block* b, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef const char* other
    cdef Py_ssize_t r, ldother
    if stage.other >= b.layer:
        changed_as_inferred(job, b, s, parameters, x, ldx, out)
        return
    for r in range(b.rows):  # nothing has changed in the output that is added
        other = input_of(job.base, stage.other + 1, job.base.x, b.row[r], &ldother)
        job.plan.K.add(1, stage.n_out, x + r*ldx, ldx, other, ldother, out + r*stage.ld, stage.ld)


register_kind(
    ADD, b"add", 0, False, False, GENERIC, GENERIC, fill_nothing, infer_add, forward_as_inferred, backward_copy,
    no_gradient, learn_nothing, fuses_always, fuse_in_turn, prepare_nothing, prepare_nothing, finish_nothing,
    unchanged_output, changed_add
)
