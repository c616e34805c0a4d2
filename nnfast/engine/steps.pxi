# A run of training steps, or any part of one, on a team of threads. Included by program.pyx.

cdef struct Step:
    # A dense layer, the one kind there is: out = f(x W + b).
    int function
    Py_ssize_t n_in, n_out
    Py_ssize_t ld         # n_out rounded up to whole vectors
    Py_ssize_t W, b       # offsets in the arenas; b is -1 without a bias
    Py_ssize_t at         # offset in a workspace, in elements for each row


cdef struct Plan:
    const Kernels* K
    Step* steps
    int n_steps
    Py_ssize_t z          # bytes of an element
    Py_ssize_t n_in, n_out
    Py_ssize_t n_parameters
    Py_ssize_t width      # of the activations of one row, all steps
    Py_ssize_t tile_rows, tile_ld
    int loss
    bint from_logits      # the loss is fused with the last activation
    bint over_elements    # the loss averages over elements, not rows
    double flops_per_row


cdef struct Workspace:
    Py_ssize_t rows
    char* memory
    char* x
    char* a               # activations
    char* g               # gradients of the loss with respect to them
    char* targets
    double* row_loss


cdef struct Job:
    const Plan* plan
    Workspace* ws
    int work
    char* parameters
    char* gradients
    char* moment1
    char* moment2
    Optimizer optimizer
    int64_t optimizer_steps
    int64_t first_update  # the optimizer's steps before the run
    double* rates         # of the updates of the run: read if there is a schedule, else written down; or NULL
    const double* momenta  # of a schedule that cycles them, else NULL
    bint scheduled
    bint accumulate
    bint layer_by_layer   # backward and update in one pass
    bint from_logits
    # the data
    const char* x
    const char* targets
    bint labels
    Py_ssize_t n, batch
    int64_t* order
    bitgen_t* generator
    char* gx              # gradient of the input, or NULL
    # the place in the run
    Py_ssize_t position
    int64_t step, until, total
    double deadline
    double next_look      # when to look for Ctrl-C within a step
    bint done
    bint interrupted      # Ctrl-C has come in the middle of a step, which changes nothing then
    # what it reports
    double* step_loss
    int64_t* step_correct
    bint counts, classes
    double threshold
    Py_ssize_t correct[MAX_THREADS]
    barrier meeting


# ---- one step, on one thread's share

cdef inline Py_ssize_t share(Py_ssize_t n, int id, int count, Py_ssize_t grain) noexcept nogil:
    """Where part `id` of `count` of a range begins, on a multiple of `grain`."""
    return min(n, (n + grain - 1)//grain*id//count*grain)


cdef inline char* activations(const Plan* plan, const Workspace* ws, const Step* step, Py_ssize_t row) noexcept nogil:
    return ws.a + (step.at*ws.rows + row*step.ld)*plan.z


cdef inline char* gradients(const Plan* plan, const Workspace* ws, const Step* step, Py_ssize_t row) noexcept nogil:
    return ws.g + (step.at*ws.rows + row*step.ld)*plan.z


cdef inline Targets targets_at(const Plan* plan, bint labels, const char* targets, Py_ssize_t row) noexcept nogil:
    cdef Targets t
    t.labels = NULL
    t.values = NULL
    t.ld = plan.n_out
    if labels:
        t.labels = <const int64_t*>targets + row
    else:
        t.values = targets + row*plan.n_out*plan.z
    return t


cdef inline void forward_step(
        const Plan* plan, const char* parameters, const Step* step, bint linear, Py_ssize_t m, const char* x,
        Py_ssize_t ldx, char* out, Py_ssize_t ldo
) noexcept nogil:
    cdef const char* b = NULL
    if step.b >= 0:
        b = parameters + step.b*plan.z
    plan.K.dense(
        m, step.n_in, step.n_out, x, ldx, parameters + step.W*plan.z, b, IDENTITY if linear else step.function, out,
        ldo
    )


cdef inline bint given_up(Job* job, int id, Py_ssize_t m) noexcept nogil:
    """Whether Ctrl-C has come. Rows that take long even in one block, as in wide layers, look for it at each layer."""
    if m*job.plan.flops_per_row > BLOCK_FLOPS:
        look_for_signals(id, &job.next_look, &job.interrupted)
    return job.interrupted


cdef void forward_rows(Job* job, int id, const char* x, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t ldx = plan.n_in
    cdef const Step* step
    cdef char* out
    cdef int s
    for s in range(plan.n_steps):
        if given_up(job, id, m):
            return
        step = &plan.steps[s]
        out = activations(plan, job.ws, step, first)
        forward_step(plan, job.parameters, step, job.from_logits and s == plan.n_steps - 1, m, x, ldx, out, step.ld)
        x = out
        ldx = step.ld


cdef void loss_rows(
        Job* job, int id, const char* targets, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Step* last = &plan.steps[plan.n_steps - 1]
    cdef double scale = 1.0/(m_all*plan.n_out if plan.over_elements else m_all)
    cdef char* out = activations(plan, job.ws, last, first)
    cdef Targets t = targets_at(plan, job.labels, targets, 0)
    plan.K.loss(
        plan.loss, m, plan.n_out, out, last.ld, &t, scale, job.ws.row_loss + first,
        gradients(plan, job.ws, last, first), last.ld
    )
    if job.counts:
        job.correct[id] += plan.K.count_correct(job.classes, job.threshold, m, plan.n_out, out, last.ld, &t)


cdef char* through_activation(const Job* job, int s, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Turn the gradient of a layer's output into that of its pre-activation, in place; return where it is."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[s]
    cdef char* g = gradients(plan, job.ws, step, first)
    cdef char* a = activations(plan, job.ws, step, first)
    cdef Py_ssize_t n = step.n_out if step.function == SOFTMAX else step.ld  # whole rows are one long run
    if not (job.from_logits and s == plan.n_steps - 1):
        plan.K.apply_backward(step.function, m, n, g, step.ld, a, step.ld, g, step.ld)
    return g


cdef void backward_rows(Job* job, int id, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """From the gradient of the last output to those of all pre-activations and, if asked for, of the input."""
    cdef const Plan* plan = job.plan
    cdef const Step* step
    cdef char* g
    cdef int s
    for s in range(plan.n_steps - 1, -1, -1):
        if given_up(job, id, m):
            return
        step = &plan.steps[s]
        g = through_activation(job, s, first, m)
        if s > 0:
            plan.K.dense_backward_input(
                m, step.n_in, step.n_out, g, step.ld, job.parameters + step.W*plan.z,
                gradients(plan, job.ws, step - 1, first), (step - 1).ld
            )
        elif job.gx != NULL:
            plan.K.dense_backward_input(
                m, step.n_in, step.n_out, g, step.ld, job.parameters + step.W*plan.z, job.gx + first*plan.n_in*plan.z,
                plan.n_in
            )


cdef inline void update_range(const Job* job, const Optimizer* optimizer, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t z = job.plan.z
    job.plan.K.update(
        n, job.parameters + at*z, job.gradients + at*z, NULL if job.moment1 == NULL else job.moment1 + at*z,
        NULL if job.moment2 == NULL else job.moment2 + at*z, optimizer
    )


cdef void look_for_signals(int id, double* next_look, bint* interrupted) noexcept nogil:
    """Let Python see Ctrl-C, and run its handlers with the floating-point mode it is used to; only the caller's own
    thread can."""
    if id != 0 or seconds_now() < next_look[0]:
        return
    cdef uint64_t mode = subnormals_kept()
    with gil:
        interrupted[0] = check_signals() != 0
    restore_subnormals(mode)
    next_look[0] = seconds_now() + SLICE


cdef void rows_share(
        Job* job, int id, const char* x, const char* targets, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """This thread's rows through forward, loss and backward; many of them in blocks, with a look at the clock."""
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t block = max(<Py_ssize_t>(BLOCK_FLOPS/plan.flops_per_row), 48), rows
    cdef Py_ssize_t target_bytes = sizeof(int64_t) if job.labels else plan.n_out*plan.z
    job.correct[id] = 0
    while first < last and not job.interrupted:
        rows = min(block, last - first)
        if job.work & FORWARD:
            forward_rows(job, id, x + first*plan.n_in*plan.z, first, rows)
        if job.work & LOSS:
            loss_rows(job, id, targets + first*target_bytes, m, first, rows)
        if job.work & BACKWARD and not job.layer_by_layer:
            backward_rows(job, id, first, rows)
        first += rows
        if first < last:
            look_for_signals(id, &job.next_look, &job.interrupted)


cdef void long_weights_share(Job* job, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the weight gradients of a long step, in pieces, with a look at the clock.

    A piece is some rows of weights over some samples, which the next piece adds to: the order of the sum is the same.
    """
    cdef const Plan* plan = job.plan
    cdef const Step* step
    cdef Py_ssize_t ldx = plan.n_in, piece, i, r, last
    cdef int s
    for s in range(plan.n_steps):
        step = &plan.steps[s]
        piece = (<Py_ssize_t>(PIECE_FLOPS/(2.0*PIECE_SAMPLES*step.n_out))//12 + 1)*12
        last = share(step.n_in, id + 1, count, 12)
        r = 0
        while r < m:
            i = share(step.n_in, id, count, 12)
            while i < last and not job.interrupted:
                plan.K.dense_backward_weights(
                    i, min(i + piece, last), min(m - r, <Py_ssize_t>PIECE_SAMPLES), step.n_out, x + r*ldx*plan.z, ldx,
                    gradients(plan, job.ws, step, r), step.ld, job.gradients + step.W*plan.z, job.accumulate or r > 0
                )
                i += piece
                look_for_signals(id, &job.next_look, &job.interrupted)
            r += PIECE_SAMPLES
        x = activations(plan, job.ws, step, 0)
        ldx = step.ld


cdef inline Optimizer optimizer_at(const Job* job, int64_t t) noexcept nogil:
    """The optimizer as it is for update number `t`."""
    cdef Optimizer optimizer = job.optimizer
    cdef int64_t i = t - 1 - job.first_update
    if job.scheduled:
        optimizer.learning_rate = job.rates[i]
        if job.momenta != NULL:
            optimizer.beta1 = job.momenta[i]
    if optimizer.kind == ADAM:
        optimizer.correction1 = 1 - pow(optimizer.beta1, <double>t)
        optimizer.correction2 = 1 - pow(optimizer.beta2, <double>t)
    return optimizer


cdef inline bint fuses(const Job* job, int work, const Step* step, Py_ssize_t m) noexcept nogil:
    """Whether a gradient is used where it is made and never written to its arena: in a small batch that is most of the
    work. In a larger one it would cost more to begin the product again for each piece."""
    return (
        m <= FUSED_ROWS and ALIGNMENT//4*step.n_out*job.plan.z <= SCRATCH_BYTES
        and work & WEIGHTS and work & UPDATE and not job.accumulate
    )


cdef void update_in_pieces(
        const Job* job, const Optimizer* optimizer, const Step* step, Py_ssize_t first, Py_ssize_t last, Py_ssize_t m,
        const char* x, Py_ssize_t ldx, const char* g, char* gx, Py_ssize_t ldgx
) noexcept nogil:
    """Gradient and update of some rows of weights, a piece that stays in the cache at a time; and before each update,
    unless `gx` is NULL, what these weights send back."""
    cdef const Plan* plan = job.plan
    cdef char scratch[SCRATCH_BYTES + 2*ALIGNMENT]
    cdef char* piece = <char*>((<size_t>scratch + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))
    cdef Py_ssize_t row_bytes = step.n_out*plan.z, offset, at
    cdef Py_ssize_t grain = ALIGNMENT//4  # whole vectors of any level
    cdef Py_ssize_t rows = max(PIECE_BYTES//row_bytes//grain, <Py_ssize_t>1)*grain
    while first < last:
        at = min(last, first + rows)
        offset = (step.W + first*step.n_out)*plan.z
        if gx != NULL:
            plan.K.dense_backward_input(
                m, at - first, step.n_out, g, step.ld, job.parameters + offset, gx + first*plan.z, ldgx
            )
        plan.K.dense_backward_weights(first, at, m, step.n_out, x, ldx, g, step.ld, piece - first*row_bytes, False)
        plan.K.update(
            (at - first)*step.n_out, job.parameters + offset, piece,
            NULL if job.moment1 == NULL else job.moment1 + offset,
            NULL if job.moment2 == NULL else job.moment2 + offset, optimizer
        )
        first = at


cdef void bias_share(
        const Job* job, int work, const Optimizer* optimizer, const Step* step, Py_ssize_t m
) noexcept nogil:
    """The gradient of a layer's bias and its update, as far as `work` says."""
    if step.b < 0:
        return
    if work & WEIGHTS:
        job.plan.K.dense_backward_bias(
            m, step.n_out, gradients(job.plan, job.ws, step, 0), step.ld, job.gradients + step.b*job.plan.z,
            job.accumulate
        )
    if work & UPDATE:
        update_range(job, optimizer, step.b, step.n_out)


cdef bint all_fuse(const Job* job, Py_ssize_t m) noexcept nogil:
    """Whether one thread may update each layer on its way back: weights are read once less."""
    cdef int s
    for s in range(job.plan.n_steps):
        if not fuses(job, job.work, &job.plan.steps[s], m):
            return False
    return m*job.plan.flops_per_row <= LONG_FLOPS


cdef void back_and_update(const Job* job, const char* x, Py_ssize_t m, int64_t t) noexcept nogil:
    """The way back and the update of a small batch, layer by layer: the same numbers as in two phases."""
    cdef const Plan* plan = job.plan
    cdef Optimizer optimizer = optimizer_at(job, t)
    cdef const Step* step
    cdef const Step* before
    cdef char* g
    cdef int s
    for s in range(plan.n_steps - 1, 0, -1):
        step = &plan.steps[s]
        before = step - 1
        g = through_activation(job, s, 0, m)
        update_in_pieces(
            job, &optimizer, step, 0, step.n_in, m, activations(plan, job.ws, before, 0), before.ld, g,
            gradients(plan, job.ws, before, 0), before.ld
        )
        bias_share(job, WEIGHTS | UPDATE, &optimizer, step, m)
    step = plan.steps
    g = through_activation(job, 0, 0, m)
    update_in_pieces(job, &optimizer, step, 0, step.n_in, m, x, plan.n_in, g, NULL, 0)
    bias_share(job, WEIGHTS | UPDATE, &optimizer, step, m)


cdef void weights_share(
        const Job* job, int work, int id, int count, const char* x, Py_ssize_t m, int64_t t
) noexcept nogil:
    """This thread's share of the weight gradients, over all rows, and of update number `t`, as far as `work` says."""
    cdef const Plan* plan = job.plan
    cdef Optimizer optimizer = optimizer_at(job, t)
    cdef Py_ssize_t z = plan.z, ldx = plan.n_in, first, last
    cdef const Step* step
    cdef const char* g
    cdef int s
    for s in range(plan.n_steps):
        step = &plan.steps[s]
        g = gradients(plan, job.ws, step, 0)
        first = share(step.n_in, id, count, 12)
        last = share(step.n_in, id + 1, count, 12)
        if fuses(job, work, step, m):
            update_in_pieces(job, &optimizer, step, first, last, m, x, ldx, g, NULL, 0)
        else:
            if work & WEIGHTS:
                plan.K.dense_backward_weights(
                    first, last, m, step.n_out, x, ldx, g, step.ld, job.gradients + step.W*z, job.accumulate
                )
            if work & UPDATE:
                update_range(job, &optimizer, step.W + first*step.n_out, (last - first)*step.n_out)
        if id == count - 1:  # short, whatever the step
            bias_share(job, job.work, &optimizer, step, m)
        x = activations(plan, job.ws, step, 0) if job.ws.memory != NULL else NULL
        ldx = step.ld


cdef void gather(const Job* job, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Copy this thread's rows of a shuffled mini-batch into the workspace."""
    cdef Py_ssize_t row_bytes = job.plan.n_in*job.plan.z
    cdef Py_ssize_t target_bytes = sizeof(int64_t) if job.labels else job.plan.n_out*job.plan.z
    cdef Py_ssize_t r, q
    for r in range(first, last):
        q = job.order[job.position + r]
        memcpy(job.ws.x + r*row_bytes, job.x + q*row_bytes, row_bytes)
        memcpy(job.ws.targets + r*target_bytes, job.targets + q*target_bytes, target_bytes)


cdef void finish_step(Job* job, Py_ssize_t m, int count) noexcept nogil:
    """What one thread does for all: the loss and the place in the run, which others read only after the next
    meeting."""
    cdef double total = 0
    cdef Py_ssize_t r, correct = 0
    cdef int id
    if job.work & LOSS:
        for r in range(m):
            total += job.ws.row_loss[r]
        for id in range(count):
            correct += job.correct[id]
        job.step_loss[job.step] = total/(m*job.plan.n_out if job.plan.over_elements else m)
        if job.counts:
            job.step_correct[job.step] = correct
    if job.rates != NULL and not job.scheduled:
        job.rates[job.step] = job.optimizer.learning_rate
    job.step += 1
    if job.work & UPDATE:
        job.optimizer_steps += 1
    job.position += m
    if job.position == job.n:
        job.position = 0
        if job.order != NULL and job.step < job.total:
            shuffle_order(job.n, job.order, job.generator)
    job.done = job.step == job.until or seconds_now() > job.deadline


cdef void run_steps(void* argument, int id, int count) noexcept nogil:
    """One thread of a run of steps."""
    cdef Job* job = <Job*>argument
    cdef const Plan* plan = job.plan
    cdef int work
    cdef Py_ssize_t m, first, last, target_bytes = sizeof(int64_t) if job.labels else plan.n_out*plan.z
    cdef const char* x
    cdef const char* targets
    cdef int64_t t
    while True:
        t = job.optimizer_steps + 1
        m = min(job.batch, job.n - job.position)
        first = share(m, id, count, 1)
        last = share(m, id + 1, count, 1)
        if job.order != NULL:
            gather(job, first, last)
            x = job.ws.x
            targets = job.ws.targets
        else:
            x = job.x + job.position*plan.n_in*plan.z
            targets = job.targets + job.position*target_bytes
        if count == 1:
            job.layer_by_layer = all_fuse(job, m)
        rows_share(job, id, x, targets, m, first, last)
        barrier_wait(&job.meeting, count)
        work = job.work
        if work & WEIGHTS and m*plan.flops_per_row > LONG_FLOPS:
            long_weights_share(job, id, count, x, m)
            barrier_wait(&job.meeting, count)
            work &= ~WEIGHTS
        if job.interrupted:  # by now all threads know, and no parameter has changed
            return
        if job.layer_by_layer:
            back_and_update(job, x, m, t)
        elif job.work & (WEIGHTS | UPDATE):
            weights_share(job, work, id, count, x, m, t)
        if id == 0:
            finish_step(job, m, count)
        barrier_wait(&job.meeting, count)
        if job.done:
            return
