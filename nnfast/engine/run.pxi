# A run of training steps, or any part of one, on a team of threads. Included by program.pyx.

cdef inline Targets targets_at(
        const Plan* plan, bint labels, const char* targets, const double* weights, Py_ssize_t row
) noexcept nogil:
    cdef Targets t
    t.weights = NULL if weights == NULL else weights + row
    t.labels = NULL
    t.values = NULL
    t.ld = plan.n_out
    if labels:
        t.labels = <const int64_t*>targets + row
    else:
        t.values = targets + row*plan.n_out*plan.z
    return t


# Row weights. The loss of a mini-batch is the weighted average over its rows: a row of weight k counts as k rows.

cdef inline const double* batch_weights(const Job* job, Py_ssize_t row) noexcept nogil:
    """Return the weights of the mini-batch from `row` on, or NULL."""
    if job.weights == NULL:
        return NULL
    return (job.ws.weights if job.order != NULL else job.weights + job.position) + row


# Sums over rows keep the rounding error of each addition (Knuth's two-sum), so they are equally accurate for any number
# of rows.

cdef struct Sum:
    double total
    double error


cdef inline void add_to(Sum* sum, double value) noexcept nogil:
    cdef double total = sum.total + value, part = total - sum.total
    sum.error += (sum.total - (total - part)) + (value - part)
    sum.total = total


cdef inline double value_of(const Sum* sum) noexcept nogil:
    """Return the total, corrected by the error unless that is NaN, as it is for an infinite total."""
    return sum.total + sum.error if isfinite(sum.error) else sum.total


cdef inline double sum_of_rows(const double* values, Py_ssize_t n) noexcept nogil:
    """Sum one number per row, in row order."""
    cdef Sum sum = Sum(0, 0)
    cdef Py_ssize_t r
    for r in range(n):
        add_to(&sum, values[r])
    return value_of(&sum)


cdef inline double batch_weight(const Job* job, Py_ssize_t m) noexcept nogil:
    """Return the sum of the batch's weights, in row order; without weights, the number of rows. Each thread computes it
    from the data."""
    cdef Sum total = Sum(0, 0)
    cdef Py_ssize_t r
    if job.weights == NULL:
        return m
    for r in range(m):
        add_to(&total, job.weights[job.order[job.position + r] if job.order != NULL else job.position + r])
    return value_of(&total)


cdef inline double averaged(const Plan* plan, double total, double weight) noexcept nogil:
    """Return the average, given the sum `total` over rows whose weights sum to `weight`; 0 if that is 0."""
    return total/(weight*plan.n_out if plan.over_elements else weight) if weight != 0 else 0


cdef inline double loss_of_batch(const Job* job, Py_ssize_t m, double weight) noexcept nogil:
    """Return the loss of the mini-batch, without penalties; `weight` is the sum of its weights."""
    if job.plan.own.in_python:
        return job.own_loss
    return averaged(job.plan, sum_of_rows(job.ws.row_loss, m), weight)


cdef inline double sum_of_weights(const double* weights, Py_ssize_t n) noexcept nogil:
    """Return the sum of the weights of a whole data set; without weights, `n`."""
    return n if weights == NULL else sum_of_rows(weights, n)


cdef inline bint given_up(Job* job, int id, Py_ssize_t m) noexcept nogil:
    """Whether Ctrl-C was pressed. Where even one block takes long, as in wide layers, check at each layer."""
    if m*job.flops_per_row > BLOCK_FLOPS:
        look_for_signals(id, &job.next_look, &job.interrupted)
    return job.interrupted


cdef void forward_rows(
        Job* job, int id, int begin, int end, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef int s
    for s in range(begin, end):
        if given_up(job, id, m):
            return
        job.plan.stages[s].kind.forward(job, id, s, x, first, m)


cdef void loss_rows(
        Job* job, int id, const char* targets, double weight, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """`weight` is the weight of the whole mini-batch."""
    cdef const Plan* plan = job.plan
    cdef const Stage* last = &plan.stages[plan.n_stages - 1]
    cdef char* out = activations(plan, job.ws, last, first)
    cdef Targets t = targets_at(plan, job.labels, targets, batch_weights(job, first), 0)
    if not plan.own.in_python:  # else it is known already
        losses_of(
            plan, m, out, last.ld, &t, averaged(plan, 1, weight), job.ws.row_loss + first,
            gradients(plan, job.ws, last, first), last.ld, scratch_of(job, id)
        )
    if job.scores.n:
        score_rows(plan, &job.scores, id, first, m, out, last.ld, &t)
    if job.outputs != NULL:
        keep_outputs(job, first, m, out)


cdef void keep_outputs(Job* job, Py_ssize_t first, Py_ssize_t m, char* out) noexcept nogil:
    """Copy the outputs for metrics of whole epochs. `out` holds what the loss is computed from, unless a score has
    needed the outputs."""
    cdef const Plan* plan = job.plan
    cdef const Stage* last = &plan.stages[plan.n_stages - 1]
    cdef Py_ssize_t r, row_bytes = plan.n_out*plan.z
    if plan.from_logits and not need_outputs(&job.scores):
        plan.K.apply(last.function, last.alpha, m, plan.n_out, out, last.ld, out, last.ld)
    for r in range(m):
        memcpy(job.outputs + (job.position + first + r)*row_bytes, out + r*last.ld*plan.z, row_bytes)


cdef inline void add_from_residuals(
        const Job* job, int add, Py_ssize_t n, Py_ssize_t first, Py_ssize_t m, char* to, Py_ssize_t ldto
) noexcept nogil:
    """Add the gradients of the residual sums that an output feeds besides the next stage."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage
    while add > 0:
        stage = &plan.stages[add]
        plan.K.add(m, n, to, ldto, gradients(plan, job.ws, stage, first), stage.ld, to, ldto)
        add = stage.next_add


cdef inline char* gradient_of_input(
        const Job* job, int s, Py_ssize_t first, Py_ssize_t* ld
) noexcept nogil:
    """Return where to write the gradient with respect to the input of stage `s`; NULL if it is not needed."""
    cdef const Plan* plan = job.plan
    ld[0] = plan.n_in if s == 0 else plan.stages[s - 1].ld
    if s == 0 and job.gx != NULL:
        return job.gx + first*plan.n_in*plan.z
    if s == 0 or (s <= job.lowest and job.gx == NULL):
        return NULL
    return gradients(plan, job.ws, &plan.stages[s - 1], first)


cdef inline int adds_of_input(const Plan* plan, int s) noexcept nogil:
    """Return the first residual sum that the input of stage `s` feeds."""
    return plan.input_adds if s == 0 else plan.stages[s - 1].adds


cdef void backward_rows(
        Job* job, int id, int begin, int end, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Run the backward pass of stages end - 1 down to `begin`, as far as their gradients are needed."""
    cdef Py_ssize_t ldto
    cdef char* to
    cdef int s
    for s in range(end - 1, begin - 1, -1):
        if given_up(job, id, m) or (s < job.lowest and job.gx == NULL):
            return
        to = gradient_of_input(job, s, first, &ldto)
        job.plan.stages[s].kind.backward(job, id, s, x, m_all, first, m, to, ldto)
        if to != NULL:
            add_from_residuals(job, adds_of_input(job.plan, s), job.plan.stages[s].n_in, first, m, to, ldto)


cdef void look_for_signals(int id, double* next_look, bint* interrupted) noexcept nogil:
    """Let Python handle signals such as Ctrl-C, in its usual floating-point mode; only the caller's thread can."""
    if id != 0 or interrupted[0] or seconds_now() < next_look[0]:  # after Ctrl-C its exception waits to be raised
        return
    cdef uint64_t mode = subnormals_kept()
    with gil:
        interrupted[0] = check_signals() != 0
    restore_subnormals(mode)
    next_look[0] = seconds_now() + SLICE


cdef void walk_rows(
        Job* job, int id, int work, int begin, int end, int stop, const char* x, const char* targets, Py_ssize_t m,
        Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Run this thread's rows forward through stages begin..end, through the loss, and backward from `end` to `stop`, as
    selected by `work`; in blocks, checking the clock after each."""
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t block = max(<Py_ssize_t>(BLOCK_FLOPS/job.flops_per_row), 48), rows
    cdef double weight = batch_weight(job, m)
    while first < last and not job.interrupted:
        rows = min(block, last - first)
        if work & FORWARD:
            forward_rows(job, id, begin, end, x, first, rows)
        if work & LOSS:
            loss_rows(job, id, targets + first*job.target_bytes, weight, first, rows)
        if work & BACKWARD:
            backward_rows(job, id, stop, end, x, m, first, rows)
        first += rows
        if first < last:
            look_for_signals(id, &job.next_look, &job.interrupted)


cdef inline int next_from_batch(const Job* job, int s) noexcept nogil:
    """Return the first stage from `s` on that needs the whole batch; the number of stages if there is none."""
    while s < job.plan.n_stages and not from_batch(job, &job.plan.stages[s]):
        s += 1
    return s


cdef inline int last_from_batch(const Job* job, int s) noexcept nogil:
    """Return the last stage before `s` that needs the whole batch; -1 if there is none."""
    s -= 1
    while s >= 0 and not from_batch(job, &job.plan.stages[s]):
        s -= 1
    return s


cdef void rows_share(
        Job* job, int id, int count, const char* x, const char* targets, Py_ssize_t m, Py_ssize_t first,
        Py_ssize_t last
) noexcept nogil:
    """Run this thread's rows through forward pass, loss and backward pass. All threads meet at each stage that needs
    the whole batch, even after Ctrl-C, which they notice at different times."""
    cdef int n = job.plan.n_stages, begin = 0, end = next_from_batch(job, 0), work = job.work
    if job.layer_by_layer:
        work &= ~BACKWARD
    forget_counts(&job.scores, id)
    while work & FORWARD and end < n:
        walk_rows(job, id, FORWARD, begin, end, end, x, targets, m, first, last)
        barrier_wait(&job.meeting, count)
        job.plan.stages[end].kind.prepare_forward(job, end, id, count, x, m)
        barrier_wait(&job.meeting, count)
        begin, end = end, next_from_batch(job, end + 1)
    if work & LOSS and job.plan.own.in_python:
        walk_rows(job, id, work & FORWARD, begin, n, n, x, targets, m, first, last)
        barrier_wait(&job.meeting, count)
        if id == 0 and not job.interrupted:
            compute_loss_in_python(job, targets, m)
        barrier_wait(&job.meeting, count)
        work &= ~FORWARD
    end = last_from_batch(job, n)
    walk_rows(job, id, work, begin, n, end + 1, x, targets, m, first, last)
    while work & BACKWARD and end >= 0 and (end >= job.lowest or job.gx != NULL):
        barrier_wait(&job.meeting, count)
        job.plan.stages[end].kind.prepare_backward(job, end, id, count, x, m)
        barrier_wait(&job.meeting, count)
        begin = last_from_batch(job, end)
        walk_rows(job, id, BACKWARD, 0, end + 1, begin + 1, x, targets, m, first, last)
        end = begin


cdef inline void set_optimizer(const Job* job, Optimizer* optimizer) noexcept nogil:
    """Fill two optimizers for the next update: one for weights, one for parameters without weight decay."""
    cdef int64_t i = job.optimizer_steps - job.first_update
    optimizer[0] = job.optimizer
    if job.scheduled:
        optimizer.learning_rate = job.rates[i]
        if job.momenta != NULL:
            optimizer.beta1 = optimizer.momentum = job.momenta[i]
    advance(optimizer, job.optimizer_steps + 1)
    optimizer.average_decay = job.average_decay if job.averaged else 0  # starts as a copy of the parameters
    if not job.decays_biases:
        optimizer[1] = optimizer[0]
        optimizer[1].weight_decay = 0


cdef bint all_fuse(const Job* job, Py_ssize_t m) noexcept nogil:
    """Whether one thread may update each layer during its backward pass, which reads the weights one time less."""
    cdef const Stage* stage
    cdef int s
    if not (job.work & WEIGHTS and job.work & UPDATE) or job.clip_norm < INFINITY:
        return False
    for s in range(job.plan.n_stages):
        stage = &job.plan.stages[s]
        if not stage.kind.fuses(job, job.work, stage, m):
            return False
    return not takes_long(job) and last_from_batch(job, job.plan.n_stages) < 0


cdef void back_and_update(Job* job, const Optimizer* optimizer, const char* x, Py_ssize_t m) noexcept nogil:
    """Run the backward pass and the update of a small batch layer by layer, with the same results as in two phases."""
    cdef char* to
    cdef Py_ssize_t ldto
    cdef int s
    for s in range(job.plan.n_stages - 1, job.lowest - 1, -1):
        to = gradient_of_input(job, s, 0, &ldto)
        job.plan.stages[s].kind.fuse(job, optimizer, s, x, m, to, ldto)
        if to != NULL:
            add_from_residuals(job, adds_of_input(job.plan, s), job.plan.stages[s].n_in, 0, m, to, ldto)


cdef void learn_all(
        Job* job, const Optimizer* optimizer, int work, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """Compute this thread's share of all parameter gradients and of the update, as selected by `work`."""
    cdef const Stage* stage
    cdef int s
    for s in range(job.lowest, job.plan.n_stages):
        stage = &job.plan.stages[s]
        if learns(job, stage):
            stage.kind.learn(job, work, optimizer, s, id, count, x, m)


cdef bint learn_apart(
        Job* job, Optimizer* optimizer, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """Like `learn_all`, but no parameter changes before all gradients are computed: because their norm must be known,
    or because Ctrl-C may come meanwhile. Return whether it came."""
    cdef int blocks
    learn_all(job, optimizer, job.work & ~UPDATE, id, count, x, m)
    barrier_wait(&job.meeting, count)
    if job.interrupted:
        return True
    if job.work & UPDATE and job.clip_norm < INFINITY:
        blocks = square_sums(job, id, count)
        barrier_wait(&job.meeting, count)
        optimizer[0].gradient_scale = optimizer[1].gradient_scale = clip_scale(job, blocks)
    learn_all(job, optimizer, job.work & UPDATE, id, count, x, m)
    return False


cdef void gather(const Job* job, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Copy this thread's rows of a mini-batch of `m` into the workspace: of samples alone where rows keep their order.

    Scattered rows are prefetched, and with the last ones the first of the next mini-batch.
    """
    cdef Py_ssize_t row_bytes = job.plan.n_in*job.plan.z
    cdef Py_ssize_t target_bytes = job.target_bytes
    cdef const int64_t* rows = NULL if job.order == NULL else job.order + job.position
    cdef Py_ssize_t r, q, next_row, ahead = 1 + AHEAD_BYTES//row_bytes
    if job.sparse:
        gather_sparse(job.source, rows, job.position, first, last, &job.ws.sparse)
    elif job.source != NULL:
        convert_source(
            job.source, NULL if rows == NULL else rows + first, job.position + first, last - first,
            job.ws.x + first*row_bytes
        )
    if rows == NULL:
        return
    for r in range(first, last):
        q = rows[r]
        next_row = r + ahead if r + ahead < last else r + ahead - last + first + m  # there, of the next mini-batch
        if job.position + next_row < job.n and next_row < 2*m:
            if job.source == NULL:
                ask_for(job.x + rows[next_row]*row_bytes, row_bytes)
            ask_for(job.targets + rows[next_row]*target_bytes, target_bytes)
        if job.source == NULL:
            memcpy(job.ws.x + r*row_bytes, job.x + q*row_bytes, row_bytes)
        memcpy(job.ws.targets + r*target_bytes, job.targets + q*target_bytes, target_bytes)
        if job.weights != NULL:
            job.ws.weights[r] = job.weights[q]


cdef int square_sums(const Job* job, int id, int count) noexcept nogil:
    """Compute this thread's share of the sums of squares of all gradients in use, in blocks; return the number of
    blocks."""
    cdef const Stage* stage
    cdef Py_ssize_t at, n
    cdef int s, block = 0
    for s in range(job.lowest, job.plan.n_stages):
        stage = &job.plan.stages[s]
        if not learns(job, stage):
            continue
        at = stage.arrays[0].at  # a stage's parameters are contiguous
        n = at + stage.arrays[0].size + stage.arrays[1].size
        while at < n:
            if block%count == id:
                job.norm_parts[block] = job.plan.K.square_sum(
                    min(n - at, <Py_ssize_t>NORM_BLOCK), job.gradients + at*job.plan.z
                )
            block += 1
            at += NORM_BLOCK
    return block


cdef double clip_scale(const Job* job, int blocks) noexcept nogil:
    """Return the factor that limits the gradient's norm to `clip_norm`, as in PyTorch's clip_grad_norm_."""
    cdef double total = 0, scale
    cdef int i
    for i in range(blocks):
        total += job.norm_parts[i]
    scale = job.clip_norm/(sqrt(total) + 1e-6)
    return 1 if scale > 1 else scale


cdef inline double share_in_average(double weight) noexcept nogil:
    """Return how much of a penalty in the sum of the rows' losses their average contains, given the sum of their
    weights. Nothing if that is 0: such rows have no loss, and a step is finite."""
    return 1/weight if weight != 0 else 0


cdef double penalties(const Plan* plan, const char* parameters, double share) noexcept nogil:
    """Return the penalty terms of the loss; `share` is that of `share_in_average`."""
    cdef const LearnedArray* array
    cdef double total = 0, part
    cdef int s, k
    for s in range(plan.n_stages):
        for k in range(MAX_ARRAYS):
            array = &plan.stages[s].arrays[k]
            if array.l1 != 0 or array.l2 != 0:
                part = plan.K.penalty(array.size, parameters + array.at*plan.z, array.l1, array.l2)
                total += share*part if array.in_sum else part
    return total


cdef void set_penalty(Job* job, Py_ssize_t m) noexcept nogil:
    """Compute the penalty terms of the mini-batch's loss, and what their gradients need."""
    if job.plan.penalizes_sum:
        job.penalty_share = share_in_average(batch_weight(job, m))
    job.penalty = penalties(job.plan, job.parameters, job.penalty_share)


cdef void leave_behind(Job* job, Py_ssize_t m) noexcept nogil:
    """Update what a forward pass in training changes: running statistics and the counter that noise depends on."""
    cdef int s
    job.noise_steps += 1
    for s in range(job.plan.n_stages):
        job.plan.stages[s].kind.finish(job, &job.plan.stages[s], m)


cdef void finish_step(Job* job, const Optimizer* optimizer, Py_ssize_t m, int count) noexcept nogil:
    """Record the loss and advance the position in the run, on one thread; the others read them only after the next
    barrier."""
    cdef double weight = batch_weight(job, m), now = seconds_now()
    cdef bint ends
    if job.began == 0:
        job.began = now
    if job.work & LOSS:
        job.step_loss[job.step] = loss_of_batch(job, m, weight) + job.penalty
        add_scores(&job.scores, m, count, job.step_scores + job.step*job.scores.n)
    if job.rates != NULL and not job.scheduled:
        job.rates[job.step] = job.optimizer.learning_rate
    if job.lasting:
        leave_behind(job, m)
    if job.epoch.sums != NULL:
        count_step(&job.epoch, m, job.step_loss[job.step], weight, job.step_scores + job.step*job.scores.n)
        job.position = job.epoch.position
        if job.epoch.patience.lost:
            job.until = job.step + 1
    job.step += 1
    if job.work & UPDATE:
        job.optimizer_steps += 1
        job.averaged = job.average != NULL
        job.optimizer.product = optimizer.product
    ends = job.step == job.until or now > job.deadline or (job.asked != NULL and is_locked(job.asked))
    if job.epoch.sums != NULL and not ends:
        begin_epoch(&job.epoch)
    job.done = ends


cdef void run_stages(void* argument, int id, int count) noexcept nogil:
    """Run steps on one thread of the team."""
    cdef Job* job = <Job*>argument
    cdef const Plan* plan = job.plan
    cdef bint apart
    cdef Py_ssize_t m, first, last
    cdef const char* x
    cdef const char* targets
    cdef Optimizer optimizer[2]  # for weights, and for biases and norms
    while True:
        if job.work & UPDATE:
            set_optimizer(job, optimizer)
        m = min(job.batch, job.n - job.position)
        first = share(m, id, count, 1)  # the rows of its chunks, if each thread owns some
        last = share(m, id + 1, count, 1)
        if job.order != NULL or job.source != NULL:
            gather(job, m, first, last)
            x = job.ws.x
        else:
            x = job.x + job.position*plan.n_in*plan.z
        targets = job.ws.targets if job.order != NULL else job.targets + job.position*job.target_bytes
        if count == 1:
            job.layer_by_layer = all_fuse(job, m)
        if id == count - 1 and job.work & LOSS:  # before an update
            set_penalty(job, m)
        rows_share(job, id, count, x, targets, m, first, last)
        if count > 1 and job.work & WEIGHTS:
            sum_own_chunks(job, id, count, x, m)
        barrier_wait(&job.meeting, count)
        apart = takes_long(job) or (job.work & UPDATE and job.clip_norm < INFINITY)
        if job.interrupted and not takes_long(job):  # all threads know by now, and no parameter has changed
            return
        if job.layer_by_layer:
            back_and_update(job, optimizer, x, m)
        elif apart:
            if learn_apart(job, optimizer, id, count, x, m):
                return
        elif job.work & (WEIGHTS | UPDATE):
            learn_all(job, optimizer, job.work, id, count, x, m)
        if id == 0:
            finish_step(job, optimizer, m, count)
        barrier_wait(&job.meeting, count)
        if job.done:
            return
