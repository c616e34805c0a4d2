# What a kind of stage does where it has nothing special to do.

cdef int fill_nothing(Plan* plan, Stage* stage, object numbers) except -1:
    return 0


cdef inline void take_input(
        const Job* job, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Rows* rows, SparseRows* sparse
) noexcept nogil:
    """Set the input and the parameters of a stage, for rows from `first` on; `sparse` is memory that this may need."""
    rows.plan, rows.parameters, rows.m = job.plan, job.parameters, m
    rows.sparse = NULL
    if is_sparse(job, &job.plan.stages[s]):
        sparse_rows(&job.ws.sparse, first, sparse)
        rows.sparse, rows.x, rows.ldx = sparse, NULL, 0
    else:
        rows.x = input_of(job, s, x, first, &rows.ldx)


cdef void forward_as_inferred(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Training computes what prediction computes."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Rows rows
    cdef SparseRows sparse
    take_input(job, s, x, first, m, &rows, &sparse)
    rows.statistics = job.statistics
    rows.linear = is_linear(job, s)
    rows.other = NULL
    if is_kind(stage, ADD):
        rows.other = input_of(job, stage.other + 1, x, first, &rows.ldother)
    rows.out = activations(job.plan, job.ws, stage, first)
    rows.ldo = stage.ld
    stage.kind.infer(stage, &rows)


cdef void infer_copy(const Stage* stage, const Rows* rows) noexcept nogil:
    """Outside of training nothing happens."""
    copy_rows(rows.plan, rows.m, stage.n_out, rows.x, rows.ldx, rows.out, rows.ldo)


cdef void backward_copy(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    """The gradient passes unchanged."""
    cdef const Stage* stage = &job.plan.stages[s]
    if to != NULL:
        copy_rows(job.plan, m, stage.n_out, gradients(job.plan, job.ws, stage, first), stage.ld, to, ldto)


cdef void no_gradient(
        Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t begin, Py_ssize_t end,
        char* to, bint add
) noexcept nogil:
    """There are no parameters."""
    pass


cdef void learn_nothing(
        Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """There are no parameters."""
    pass


cdef bint fuses_always(const Job* job, int work, const Stage* stage, Py_ssize_t m) noexcept nogil:
    """Backward and update are short in any case."""
    return True


cdef void fuse_in_turn(
        Job* job, const Optimizer* optimizer, int s, const char* x, Py_ssize_t m, char* to, Py_ssize_t ldto
) noexcept nogil:
    """First the backward pass, then the update."""
    cdef const Stage* stage = &job.plan.stages[s]
    stage.kind.backward(job, 0, s, x, m, 0, m, to, ldto)
    if learns(job, stage):
        stage.kind.learn(job, WEIGHTS | UPDATE, optimizer, s, 0, 1, x, m)


cdef void prepare_nothing(const Job* job, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """No row depends on the others."""
    pass


cdef void finish_nothing(Job* job, const Stage* stage, Py_ssize_t m) noexcept nogil:
    """A step leaves nothing behind."""
    pass


cdef void unchanged_output(
        const Job* job, int s, const char* x, Py_ssize_t ldx, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Changes enter at the output, which the forward pass has left."""
    pass


cdef void changed_as_inferred(
        const DifferenceJob* job, Block* b, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil:
    """Changed rows take the way of unchanged ones."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Rows rows
    rows.plan = job.plan
    rows.parameters = parameters
    rows.statistics = job.base.statistics
    rows.linear = is_linear(job.base, s)
    rows.m = b.rows
    rows.x = <const char*>x
    rows.ldx = ldx
    rows.sparse = NULL
    rows.other = <const char*>rows_in_block(job, b, stage.other)
    rows.ldother = ld_in_block(job.plan, stage.other)
    rows.out = <char*>out
    rows.ldo = stage.ld
    stage.kind.infer(stage, &rows)


# ---- parameters

cdef inline bint learns(const Job* job, const Stage* stage) noexcept nogil:
    """Whether the gradients with respect to a stage's parameters are needed."""
    return has_arrays(stage) and not (stage.frozen and job.work & UPDATE)


cdef inline bint takes_long(const Job* job) noexcept nogil:
    """Whether to look for Ctrl-C while the gradients of the parameters are computed."""
    return job.work & WEIGHTS and job.batch*job.flops_per_row > LONG_FLOPS


cdef inline double share_of(const Job* job, const LearnedArray* array) noexcept nogil:
    """Return how much of an array's penalties the loss of the mini-batch contains."""
    return job.penalty_share if array.in_sum else 1


cdef inline void penalize(
        const Job* job, const LearnedArray* array, Py_ssize_t first, Py_ssize_t n
) noexcept nogil:
    """Add the gradient of the penalties to that of some numbers; they are part of the network's own loss alone."""
    cdef Py_ssize_t at = (array.at + first)*job.plan.z
    cdef double share = share_of(job, array)
    if job.work & LOSS and (array.l1 != 0 or array.l2 != 0):
        job.plan.K.add_penalty(n, job.parameters + at, job.gradients + at, share*array.l1, share*array.l2)


cdef inline const Optimizer* optimizer_for(
        const Job* job, const Optimizer* optimizer, const LearnedArray* array
) noexcept nogil:
    """Of the two that `set_optimizer` fills, the one for this array."""
    return optimizer if job.decays_biases or array.decays else optimizer + 1


cdef inline void update_at(
        const Job* job, const Optimizer* optimizer, Py_ssize_t offset, Py_ssize_t n, const char* gradient
) noexcept nogil:
    """Update n parameters from an offset in bytes with their gradient."""
    cdef void* moments[MAX_MOMENTS]
    cdef int k
    for k in range(MAX_MOMENTS):
        moments[k] = NULL if job.moments[k] == NULL else job.moments[k] + offset
    job.plan.K.update(n, job.parameters + offset, gradient, moments, optimizer)
    if job.average != NULL:
        job.plan.K.average(n, 1 - optimizer.average_decay, job.average + offset, job.parameters + offset)


cdef inline void update_range(
        const Job* job, const Optimizer* optimizer, const LearnedArray* array, Py_ssize_t first, Py_ssize_t n
) noexcept nogil:
    """Update some numbers of an array with the gradients in their arena."""
    cdef Py_ssize_t offset = (array.at + first)*job.plan.z
    update_at(job, optimizer_for(job, optimizer, array), offset, n, job.gradients + offset)


cdef inline bint decays_as_penalized(
        const Job* job, int work, const Optimizer* optimizer, const LearnedArray* array
) noexcept nogil:
    """Whether the update adds the gradient of the penalty as weight decay, which saves a pass over the gradient."""
    return (
        work & WEIGHTS and work & UPDATE and job.work & LOSS and array.l2 != 0 and array.l1 == 0
        and optimizer.weight_decay == 0 and optimizer.gradient_scale == 1 and optimizer.clip_value == INFINITY
    )


cdef inline void penalize_and_update(
        const Job* job, int work, const Optimizer* optimizer, const LearnedArray* array, Py_ssize_t first, Py_ssize_t n
) noexcept nogil:
    """Add the penalties to some gradients, and update the numbers with them, as far as this is the work to do."""
    cdef Optimizer penalized
    if decays_as_penalized(job, work, optimizer_for(job, optimizer, array), array):
        penalized = optimizer_for(job, optimizer, array)[0]
        penalized.weight_decay = 2*array.l2*share_of(job, array)
        penalized.decoupled_weight_decay = False
        update_at(
            job, &penalized, (array.at + first)*job.plan.z, n, job.gradients + (array.at + first)*job.plan.z
        )
        return
    if work & WEIGHTS:
        penalize(job, array, first, n)
    if work & UPDATE:
        update_range(job, optimizer, array, first, n)


# ---- a factor and an offset for each column

cdef enum:  # the arrays
    GAMMA = 0
    BETA = 1
