# Losses of a user's own. Included by program.pyx.
#
# A compiled function computes the loss of one row and its gradient, without the GIL and on any thread; everything
# around it, such as averages and weights, is as for the losses of the kernels. A Python function computes the loss of a
# whole batch and its gradient: all threads meet after the forward pass, and the caller's thread calls it.

ctypedef double (*OwnOfValues)(int, const double*, const double*, double*, void*) noexcept nogil
ctypedef double (*OwnOfLabel)(int, const double*, int64_t, double*, void*) noexcept nogil
ctypedef int (*QuietCall)(Job*, const char*, Py_ssize_t) noexcept


cdef inline void losses_of(
        const Plan* plan, Py_ssize_t m, const char* out, Py_ssize_t ldo, const Targets* t, double scale,
        double* row_loss, char* gradient, Py_ssize_t ldg, char* scratch
) noexcept nogil:
    """Compute the losses of rows and, unless `gradient` is NULL, `scale` times their gradients; `scratch` has
    `Plan.scratch` bytes."""
    if plan.own.compiled == NULL:
        plan.K.loss(&plan.loss, m, plan.n_out, out, ldo, t, scale, row_loss, gradient, ldg)
    else:
        own_losses_of(plan, m, out, ldo, t, scale, row_loss, gradient, ldg, <double*>scratch)


# ---- compiled

cdef inline Py_ssize_t bytes_for_own(const Plan* plan) noexcept nogil:
    """Outputs, targets and gradient of a row, in double precision."""
    return (3*plan.n_out*<Py_ssize_t>sizeof(double) + ALIGNMENT - 1)//ALIGNMENT*ALIGNMENT


cdef inline const double* in_double(
        const Plan* plan, const char* values, Py_ssize_t first, double* space
) noexcept nogil:
    """Return a row of numbers in double precision: as it is, or converted in `space`."""
    cdef Py_ssize_t j
    if plan.z == sizeof(double):
        return <const double*>values + first
    for j in range(plan.n_out):
        space[j] = (<const float*>values)[first + j]
    return space


cdef inline void scale_gradient(
        const Plan* plan, double scale, const double* values, char* gradient, Py_ssize_t first
) noexcept nogil:
    cdef Py_ssize_t j
    if plan.z == sizeof(double):
        for j in range(plan.n_out):
            (<double*>gradient)[first + j] = scale*values[j]
    else:
        for j in range(plan.n_out):
            (<float*>gradient)[first + j] = <float>(scale*values[j])


cdef void own_losses_of(
        const Plan* plan, Py_ssize_t m, const char* out, Py_ssize_t ldo, const Targets* t, double scale,
        double* row_loss, char* gradient, Py_ssize_t ldg, double* scratch
) noexcept nogil:
    """The function of a row of weight zero is not called: it contributes nothing."""
    cdef const OwnLoss* own = &plan.own
    cdef uint64_t mode = subnormals_kept()  # the function is user code
    cdef double* slope = scratch + 2*plan.n_out
    cdef const double* outputs
    cdef double weight = 1, value
    cdef int64_t label
    cdef Py_ssize_t r, j
    for r in range(m):
        if t.weights != NULL:
            weight = t.weights[r]
        value = 0
        for j in range(plan.n_out):
            slope[j] = 0
        if weight != 0:
            outputs = in_double(plan, out, r*ldo, scratch)
            if own.takes_labels:
                label = t.labels[r]
                value = NAN  # of a label that another thread has changed since it was checked
                if 0 <= label < plan.n_out:
                    value = (<OwnOfLabel>own.compiled)(<int>plan.n_out, outputs, label, slope, own.user_data)
            else:
                value = (<OwnOfValues>own.compiled)(
                    <int>plan.n_out, outputs, in_double(plan, <const char*>t.values, r*t.ld, scratch + plan.n_out),
                    slope, own.user_data
                )
            value *= weight
        row_loss[r] = value
        if gradient != NULL:
            scale_gradient(plan, scale*weight, slope, gradient, r*ldg)
    restore_subnormals(mode)


# ---- in Python

cdef void compute_loss_in_python(Job* job, const char* targets, Py_ssize_t m) noexcept nogil:
    """Call the function, in the caller's thread and its usual floating-point mode. An exception stays set until the
    threads have joined, like that of a signal handler, and ends the step in the same way."""
    cdef uint64_t mode = subnormals_kept()
    with gil:
        if (<QuietCall>call_own)(job, targets, m) < 0:
            job.interrupted = True
    restore_subnormals(mode)


cdef int call_own(Job* job, const char* targets, Py_ssize_t m) except -1:
    """Compute the loss of the batch and the gradient with respect to the outputs. The function gets arrays of its own,
    which it may keep."""
    cdef const Plan* plan = job.plan
    cdef const Stage* last = &plan.stages[plan.n_stages - 1]
    cdef Program program = <Program>job.program
    if batch_weight(job, m) == 0:
        job.own_loss = 0
        gradient = np.zeros((m, plan.n_out), program.dtype)
    else:
        given = <object>job.given_targets
        outputs = np.empty((m, plan.n_out), program.dtype)
        copy_rows(plan, m, plan.n_out, activations(plan, job.ws, last, 0), last.ld, data(outputs), plan.n_out)
        batch = np.empty((m, *given.shape[1:]), given.dtype)
        memcpy(data(batch), targets, <size_t>(m*job.target_bytes))
        weights = None
        if job.weights != NULL:
            weights = np.empty(m)
            memcpy(data(weights), batch_weights(job, 0), <size_t>m*sizeof(double))
        job.own_loss, gradient = program.own(outputs, batch, weights)
        expect(gradient, program.dtype, (m, plan.n_out), False)
    copy_rows(plan, m, plan.n_out, data(gradient), plan.n_out, gradients(plan, job.ws, last, 0), last.ld)
    return 0
