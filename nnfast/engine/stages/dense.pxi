# out = f(x W + b)

cdef enum:  # the arrays
    W = 0
    BIAS = 1


cdef int fill_dense(Plan* plan, Stage* stage, object numbers) except -1:
    fill_activation(plan, stage, numbers)
    stage.flops = 6.0*stage.n_in*stage.n_out
    stage.parts, stage.grain = stage.n_in, 12
    if piece_fits(plan, stage):
        stage.scratch = min(piece_rows(plan, stage), stage.n_in)*stage.n_out*plan.z + 2*ALIGNMENT
    return 0


cdef void infer_dense(const Stage* stage, const Rows* rows) noexcept nogil:
    cdef int function = IDENTITY if rows.linear else stage.function
    compute_dense(stage, rows, function, stage.alpha, rows.out, rows.ldo)


cdef inline void compute_dense(
        const Stage* stage, const Rows* rows, int function, double alpha, char* out, Py_ssize_t ldo
) noexcept nogil:
    cdef const Plan* plan = rows.plan
    cdef const char* weights = array_of(plan, rows.parameters, stage, W)
    cdef const char* bias = array_of(plan, rows.parameters, stage, BIAS)
    if rows.sparse != NULL:
        plan.K.sparse_dense(
            rows.m, stage.n_in, stage.n_out, rows.sparse, weights, bias, function, alpha, out, ldo
        )
    else:
        plan.K.dense(
            rows.m, stage.n_in, stage.n_out, rows.x, rows.ldx, weights, bias, function, alpha, out, ldo
        )


cdef void forward_dense(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef char* keep
    cdef Rows rows
    cdef SparseRows sparse
    if stage.keep < 0 or is_linear(job, s):
        forward_as_inferred(job, id, s, x, first, m)
        return
    keep = kept(job, stage, first)
    take_input(job, s, x, first, m, &rows, &sparse)
    compute_dense(stage, &rows, IDENTITY, 0, keep, stage.ld)
    apply_keep(job, stage, first, m, keep, stage.ld)


cdef inline char* through_activation(const Job* job, int s, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Turn the gradient of the output into that of the pre-activation, in place; return where it is."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef char* g = gradients(job.plan, job.ws, stage, first)
    if not is_linear(job, s):
        backward_through_function(job, stage, first, m, g, g, stage.ld)
    return g


cdef void backward_dense(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef char* g = through_activation(job, s, first, m)
    if to != NULL:
        plan.K.dense_backward_input(
            m, stage.n_in, stage.n_out, g, stage.ld, array_of(plan, job.parameters, stage, W), to, ldto
        )


# ---- gradients of the parameters, and their update

cdef void gradient_dense(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    """A part is a row of weights; the bias, which is short, comes with the last one.

    Where this takes long, in pieces, with a look at the clock after each: some rows of weights over some samples, which
    the next piece adds to, so that the order of the sum is the same."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef const LearnedArray* bias = &stage.arrays[BIAS]
    cdef Py_ssize_t ldx, i, r = 0, samples = m, piece = end - begin
    cdef const char* rows
    if takes_long(job) and 2.0*m*(end - begin)*stage.n_out > PIECE_FLOPS:
        samples = PIECE_SAMPLES
        piece = (<Py_ssize_t>(PIECE_FLOPS/(2.0*PIECE_SAMPLES*stage.n_out))//12 + 1)*12
    while True:  # once without rows, too
        rows = input_of(job, s, x, first + r, &ldx)
        i = begin
        while i < end:
            plan.K.dense_backward_weights(
                i, min(i + piece, end), min(m - r, samples), stage.n_out, rows, ldx,
                gradients(plan, job.ws, stage, first + r), stage.ld, to + stage.arrays[W].at*plan.z,
                CONTINUE if r > 0 else ADD_SUM if add else OVERWRITE
            )
            i += piece
            if samples < m or piece < end - begin:
                look_for_signals(id, &job.next_look, &job.interrupted)
                if job.interrupted:
                    return
        r += samples
        if r >= m:
            break
    if bias.at >= 0 and end == stage.parts:
        plan.K.dense_backward_bias(
            m, stage.n_out, gradients(plan, job.ws, stage, first), stage.ld, to + bias.at*plan.z, add
        )


cdef void learn_dense(
        Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    if work & WEIGHTS and is_sparse(job, stage):
        learn_sparse(job, work, optimizer, s, id, count, x, m)
        return
    if not fuses_dense(job, work, stage, m):
        learn_parts(job, work, optimizer, s, id, count, x, m)
        return
    x = input_of(job, s, x, 0, &ldx)
    update_in_pieces(
        job, optimizer, stage, id, share(stage.n_in, id, count, stage.grain),
        share(stage.n_in, id + 1, count, stage.grain), m, x, ldx, gradients(job.plan, job.ws, stage, 0), NULL, 0
    )
    if id == count - 1:
        learn_bias(job, optimizer, stage, m)


cdef void learn_bias(const Job* job, const Optimizer* optimizer, const Stage* stage, Py_ssize_t m) noexcept nogil:
    cdef const LearnedArray* bias = &stage.arrays[BIAS]
    if bias.at < 0:
        return
    job.plan.K.dense_backward_bias(
        m, stage.n_out, gradients(job.plan, job.ws, stage, 0), stage.ld, job.gradients + bias.at*job.plan.z, False
    )
    update_range(job, optimizer, bias, 0, stage.n_out)


# In a small batch most of the work is to write gradients to their arena and to read them again. There they are used, a
# piece at a time, where they are made: up to a third less time at batch size 1. In a larger batch it would cost more to
# begin the product again for each piece.

cdef inline Py_ssize_t piece_rows(const Plan* plan, const Stage* stage) noexcept nogil:
    """Rows of weights in a piece: whole vectors of any level."""
    cdef Py_ssize_t grain = ALIGNMENT//4
    return max(PIECE_BYTES//(stage.n_out*plan.z)//grain, <Py_ssize_t>1)*grain


cdef inline bint piece_fits(const Plan* plan, const Stage* stage) noexcept nogil:
    return ALIGNMENT//4*stage.n_out*plan.z <= SCRATCH_BYTES


cdef bint fuses_dense(const Job* job, int work, const Stage* stage, Py_ssize_t m) noexcept nogil:
    return (
        stage.arrays[W].l1 == 0 and stage.arrays[W].l2 == 0 and job.clip_norm == INFINITY
        and m <= FUSED_ROWS and piece_fits(job.plan, stage)
        and work & WEIGHTS and work & UPDATE and not job.accumulate and not is_sparse(job, stage)
    )


cdef void update_in_pieces(
        const Job* job, const Optimizer* optimizer, const Stage* stage, int id, Py_ssize_t first, Py_ssize_t last,
        Py_ssize_t m, const char* x, Py_ssize_t ldx, const char* g, char* gx, Py_ssize_t ldgx
) noexcept nogil:
    """Gradient and update of some rows of weights, a piece that stays in the cache at a time; and before each update,
    unless `gx` is NULL, the gradient of the input that these weights give."""
    cdef const Plan* plan = job.plan
    cdef char* piece = scratch_of(job, id)
    cdef Py_ssize_t row_bytes = stage.n_out*plan.z, rows = piece_rows(plan, stage), offset, at
    while first < last:
        at = min(last, first + rows)
        offset = (stage.arrays[W].at + first*stage.n_out)*plan.z
        if gx != NULL:
            plan.K.dense_backward_input(
                m, at - first, stage.n_out, g, stage.ld, job.parameters + offset, gx + first*plan.z, ldgx
            )
        plan.K.dense_backward_weights(
            first, at, m, stage.n_out, x, ldx, g, stage.ld, piece - first*row_bytes, OVERWRITE
        )
        update_at(job, optimizer, offset, (at - first)*stage.n_out, piece)
        first = at


cdef void fuse_dense(
        Job* job, const Optimizer* optimizer, int s, const char* x, Py_ssize_t m, char* to, Py_ssize_t ldto
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    cdef const char* g
    if stage.frozen:
        backward_dense(job, 0, s, x, m, 0, m, to, ldto)
        return
    g = through_activation(job, s, 0, m)
    x = input_of(job, s, x, 0, &ldx)
    update_in_pieces(job, optimizer, stage, 0, 0, stage.n_in, m, x, ldx, g, to, ldto)
    learn_bias(job, optimizer, stage, m)


# ---- differences

cdef void unchanged_dense(
        const Job* job, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """The pre-activations; and the activations once more, as those of changed rows are computed."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef char* z = gradients(plan, job.ws, stage, first)
    plan.K.dense(
        m, stage.n_in, stage.n_out, x, ldx, array_of(plan, job.parameters, stage, W),
        array_of(plan, job.parameters, stage, BIAS), IDENTITY, stage.alpha, z, stage.ld
    )
    if not is_linear(job, s):
        plan.K.apply(
            stage.function, stage.alpha, m, stage.n_out, z, stage.ld, activations(plan, job.ws, stage, first), stage.ld
        )


register_kind(
    DENSE, b"dense", 0, False, False, ONE_OUTPUT_BY_INPUT, ONE_OUTPUT, fill_dense, infer_dense, forward_dense,
    backward_dense, gradient_dense, learn_dense, fuses_dense, fuse_dense, prepare_nothing, prepare_nothing,
    finish_nothing, unchanged_dense, changed_as_inferred
)
