# Dropout and Gaussian noise: random in training, and nothing outside of it. What is drawn depends on the seed, the
# step, the stage and the element.

cdef struct Dropout:
    double rate

cdef struct GaussianNoise:
    double stddev


cdef inline Dropout* dropout(const Stage* stage) noexcept nogil:
    return <Dropout*>stage.numbers


cdef inline GaussianNoise* gaussian_noise(const Stage* stage) noexcept nogil:
    return <GaussianNoise*>stage.numbers


cdef inline uint64_t key_of(const Job* job, int s) noexcept nogil:
    return noise_key(job.seed, job.noise_steps, s)


# ---- dropout

cdef int fill_dropout(Plan* plan, Stage* stage, object numbers) except -1:
    dropout(stage).rate = numbers["rate"]
    stage.keep_ld = stage.ld  # the factors
    return 0


cdef void forward_dropout(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    if not job.training:
        forward_as_inferred(job, id, s, x, first, m)
        return
    x = input_of(job, s, x, first, &ldx)
    job.plan.K.dropout(
        dropout(stage).rate, key_of(job, s), first, m, stage.n_out, x, ldx, kept(job, stage, first), stage.ld,
        activations(job.plan, job.ws, stage, first), stage.ld
    )


cdef void backward_dropout(
        const Job* job, int id, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    if not job.training:
        backward_copy(job, id, s, x, m_all, first, m, to, ldto)
    elif to != NULL:
        job.plan.K.multiply(
            m, stage.n_out, gradients(job.plan, job.ws, stage, first), stage.ld, kept(job, stage, first), stage.ld, to,
            ldto
        )


cdef void changed_dropout(
        const DifferenceJob* job, Block* b, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t r
    if not job.base.training:
        changed_as_inferred(job, b, s, parameters, x, ldx, out)
        return
    for r in range(b.rows):
        job.plan.K.multiply(
            1, stage.n_out, x + r*ldx, ldx, kept(job.base, stage, b.row[r]), stage.ld, out + r*stage.ld, stage.ld
        )


register_kind(
    DROPOUT, b"dropout", sizeof(Dropout), True, False, GENERIC, GENERIC, fill_dropout, infer_copy, forward_dropout,
    backward_dropout, no_gradient, learn_nothing, fuses_always, fuse_in_turn, prepare_nothing, prepare_nothing,
    finish_nothing, unchanged_output, changed_dropout
)


# ---- Gaussian noise

cdef int fill_gaussian_noise(Plan* plan, Stage* stage, object numbers) except -1:
    gaussian_noise(stage).stddev = numbers["stddev"]
    return 0


cdef void forward_gaussian_noise(
        const Job* job, int id, int s, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t ldx
    if not job.training:
        forward_as_inferred(job, id, s, x, first, m)
        return
    x = input_of(job, s, x, first, &ldx)
    job.plan.K.gaussian_noise(
        gaussian_noise(stage).stddev, key_of(job, s), first, m, stage.n_out, x, ldx,
        activations(job.plan, job.ws, stage, first), stage.ld
    )


cdef void changed_gaussian_noise(
        const DifferenceJob* job, Block* b, int s, const char* parameters, const double* x, Py_ssize_t ldx, double* out
) noexcept nogil:
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t r
    if not job.base.training:
        changed_as_inferred(job, b, s, parameters, x, ldx, out)
        return
    for r in range(b.rows):
        job.plan.K.gaussian_noise(
            gaussian_noise(stage).stddev, key_of(job.base, s), b.row[r], 1, stage.n_out, x + r*ldx, ldx,
            out + r*stage.ld, stage.ld
        )


register_kind(
    GAUSSIAN_NOISE, b"gaussian_noise", sizeof(GaussianNoise), True, False, GENERIC, GENERIC, fill_gaussian_noise,
    infer_copy, forward_gaussian_noise, backward_copy, no_gradient, learn_nothing, fuses_always, fuse_in_turn,
    prepare_nothing, prepare_nothing, finish_nothing, unchanged_output, changed_gaussian_noise
)
