# A run of training steps, or any part of one, on a team of threads. Included by program.pyx.

cdef enum StepKind:
    DENSE           # out = f(x W + b)
    ACTIVATION      # out = f(x)
    RESCALING       # out = x*scale + offset
    DROPOUT
    GAUSSIAN_NOISE
    BATCH_NORM
    LAYER_NORM
    ADD             # out = x + the output of an earlier step

cdef struct Step:
    int kind
    int function
    double alpha          # the function's parameter
    double first, second  # numbers of other kinds: scale and offset; rate; deviation; epsilon and momentum
    double l1, l2         # penalties on the weights
    bint frozen           # training leaves its parameters as they are
    Py_ssize_t n_in, n_out
    Py_ssize_t ld         # n_out rounded up to whole vectors
    Py_ssize_t W, b       # offsets in the arenas of weights and bias, or of gamma and beta; -1 where there is none
    Py_ssize_t at         # offset of its output in a workspace, in elements for each row
    Py_ssize_t keep, keep_ld  # what it keeps for the way back, in elements for each row; -1 if nothing
    Py_ssize_t columns    # what a batch norm tells of the columns of a batch: offset in a workspace, in elements
    Py_ssize_t statistics  # its running mean, with the running variance behind: offset in their arena
    int slot              # of its output in a tile of `predict`
    int other             # ADD: the step whose output is added; -1 is the input
    int adds, next_add    # the first ADD that takes this step's output, and for an ADD the next of the same; 0 if none


cdef struct Plan:
    const Kernels* K
    Step* steps
    int n_steps
    Py_ssize_t z          # bytes of an element
    Py_ssize_t n_in, n_out
    Py_ssize_t n_parameters
    Py_ssize_t width      # of the activations of one row, all steps
    Py_ssize_t keep_width, column_width
    Py_ssize_t tile_rows, tile_ld
    int n_slots           # of a tile
    int input_adds        # the first ADD that takes the input
    int first_learned, first_trained  # steps with parameters, and with such that are not frozen
    LossSpec loss
    bint from_logits      # the loss is fused with the last activation
    bint over_elements    # the loss averages over elements, not rows
    double flops_per_row


cdef struct Workspace:
    Py_ssize_t rows
    char* memory
    char* x
    char* a               # activations
    char* g               # gradients of the loss with respect to them
    char* keep
    char* columns
    char* targets
    double* weights       # of a shuffled mini-batch
    double* row_loss
    double* row_correct   # right answers, where rows have weights


cdef struct Job:
    const Plan* plan
    Workspace* ws
    int work
    char* parameters
    char* gradients
    char* statistics      # running ones, of batch norms
    char* moments[MAX_MOMENTS]
    char* average             # of the parameters, or NULL
    double average_decay
    bint averaged             # it has begun
    double clip_norm
    double* norm_parts        # sums of squares
    bint decays_biases
    Optimizer optimizer       # as it is after so many steps
    int64_t optimizer_steps
    bint training         # with dropout, noise, and the statistics of the batch
    bint lasting          # running statistics and the count of noise go on
    uint64_t seed         # of dropout and noise
    int64_t noise_steps
    int lowest            # the first step whose gradient is asked for
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
    const double* weights  # of rows, or NULL
    Py_ssize_t n, batch
    int64_t* order
    bitgen_t* generator
    char* gx              # gradient of the input, or NULL
    # the place in the run
    Py_ssize_t position
    int64_t step, until, total
    double deadline
    int* asked            # whether somebody waits for the end of the step, or NULL
    double next_look      # when to look for Ctrl-C within a step
    bint done
    bint interrupted      # Ctrl-C has come in the middle of a step, which changes nothing then
    # what it reports
    double* step_loss
    double* step_correct
    double* step_weight   # the sum of a mini-batch's weights, or NULL
    bint counts, classes
    double threshold
    double penalty
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


# Weights of rows. The losses of a mini-batch are averaged over its weights: a row of weight k counts as k rows.

cdef inline const double* batch_weights(const Job* job, Py_ssize_t row) noexcept nogil:
    """Those of the mini-batch from `row` on, or NULL."""
    if job.weights == NULL:
        return NULL
    return (job.ws.weights if job.order != NULL else job.weights + job.position) + row


# Sums over rows keep the rounding error of each addition (Knuth's two-sum): those of many rows are as exact as of few.

cdef struct Sum:
    double total
    double error


cdef inline void add_to(Sum* sum, double value) noexcept nogil:
    cdef double total = sum.total + value, part = total - sum.total
    sum.error += (sum.total - (total - part)) + (value - part)
    sum.total = total


cdef inline double value_of(const Sum* sum) noexcept nogil:
    """The error of an infinite total is NaN."""
    return sum.total + sum.error if isfinite(sum.error) else sum.total


cdef inline double sum_of_rows(const double* values, Py_ssize_t n) noexcept nogil:
    """A number for each row, added in the order of rows."""
    cdef Sum sum = Sum(0, 0)
    cdef Py_ssize_t r
    for r in range(n):
        add_to(&sum, values[r])
    return value_of(&sum)


cdef inline double batch_weight(const Job* job, Py_ssize_t m) noexcept nogil:
    """Their sum, in the order of rows; without weights the number of rows. Each thread has it from the data itself."""
    cdef Sum total = Sum(0, 0)
    cdef Py_ssize_t r
    if job.weights == NULL:
        return m
    for r in range(m):
        add_to(&total, job.weights[job.order[job.position + r] if job.order != NULL else job.position + r])
    return value_of(&total)


cdef inline double averaged(const Plan* plan, double total, double weight) noexcept nogil:
    """The average of what sums up to `total` over rows of so much weight; nothing of no weight at all."""
    return total/(weight*plan.n_out if plan.over_elements else weight) if weight != 0 else 0


cdef inline double sum_of_weights(const double* weights, Py_ssize_t n) noexcept nogil:
    """The same of a whole data set."""
    return n if weights == NULL else sum_of_rows(weights, n)


cdef inline const char* at_or_null(const char* arena, Py_ssize_t offset, Py_ssize_t z) noexcept nogil:
    return arena + offset*z if offset >= 0 else NULL


cdef inline void copy_rows(
        const Plan* plan, Py_ssize_t m, Py_ssize_t n, const char* x, Py_ssize_t ldx, char* out, Py_ssize_t ldo
) noexcept nogil:
    plan.K.apply(IDENTITY, 0, m, n, x, ldx, out, ldo)


cdef inline const char* running_mean(const Plan* plan, const char* statistics, const Step* step) noexcept nogil:
    return statistics + step.statistics*plan.z


cdef inline const char* running_variance(const Plan* plan, const char* statistics, const Step* step) noexcept nogil:
    return statistics + (step.statistics + step.n_out)*plan.z


cdef void infer_step(
        const Plan* plan, const char* parameters, const char* statistics, const Step* step, bint linear, Py_ssize_t m,
        const char* x, Py_ssize_t ldx, const char* other, Py_ssize_t ldother, char* out, Py_ssize_t ldo
) noexcept nogil:
    """A step as it is outside of training: nothing is random, and a row does not depend on others. `linear`: without
    its activation. `other`: what an ADD adds."""
    cdef const Kernels* K = plan.K
    cdef const char* W = at_or_null(parameters, step.W, plan.z)
    cdef const char* b = at_or_null(parameters, step.b, plan.z)
    cdef int function = IDENTITY if linear else step.function
    if step.kind == DENSE:
        K.dense(m, step.n_in, step.n_out, x, ldx, W, b, function, step.alpha, out, ldo)
    elif step.kind == ACTIVATION:
        K.apply(function, step.alpha, m, step.n_out, x, ldx, out, ldo)
    elif step.kind == RESCALING:
        K.rescale(step.first, step.second, m, step.n_out, x, ldx, out, ldo)
    elif step.kind == BATCH_NORM:
        K.batch_norm(
            step.first, m, step.n_out, x, ldx, running_mean(plan, statistics, step),
            running_variance(plan, statistics, step), W, b, out, ldo
        )
    elif step.kind == LAYER_NORM:
        K.layer_norm(step.first, m, step.n_out, x, ldx, W, b, NULL, out, ldo)
    elif step.kind == ADD:
        K.add(m, step.n_out, x, ldx, other, ldother, out, ldo)
    else:
        copy_rows(plan, m, step.n_out, x, ldx, out, ldo)


cdef inline bint given_up(Job* job, int id, Py_ssize_t m) noexcept nogil:
    """Whether Ctrl-C has come. Rows that take long even in one block, as in wide layers, look for it at each layer."""
    if m*job.plan.flops_per_row > BLOCK_FLOPS:
        look_for_signals(id, &job.next_look, &job.interrupted)
    return job.interrupted


cdef inline const char* input_of(
        const Job* job, int s, const char* x, Py_ssize_t first, Py_ssize_t* ld
) noexcept nogil:
    """Row `first` of what goes into step `s`; `x` is the input of the batch."""
    cdef const Plan* plan = job.plan
    ld[0] = plan.n_in if s == 0 else plan.steps[s - 1].ld
    return x + first*plan.n_in*plan.z if s == 0 else activations(plan, job.ws, &plan.steps[s - 1], first)


cdef inline char* kept(const Job* job, const Step* step, Py_ssize_t row) noexcept nogil:
    return job.ws.keep + (step.keep*job.ws.rows + row*step.keep_ld)*job.plan.z


cdef inline bint from_batch(const Job* job, const Step* step) noexcept nogil:
    """Whether a step needs to see the whole batch. A frozen batch norm keeps to its running statistics, as in Keras."""
    return step.kind == BATCH_NORM and job.training and not step.frozen


cdef enum Column:  # what a batch norm tells of each column
    MEAN
    VARIANCE
    SUM_GRADIENT
    SUM_PRODUCT  # of gradient and normalised input
    SPARE
    N_COLUMNS


cdef inline char* column(const Job* job, const Step* step, int which) noexcept nogil:
    return job.ws.columns + (step.columns + which*step.ld)*job.plan.z


cdef inline const char* mean_of(const Job* job, const Step* step) noexcept nogil:
    if from_batch(job, step):
        return column(job, step, MEAN)
    return running_mean(job.plan, job.statistics, step)


cdef inline const char* variance_of(const Job* job, const Step* step) noexcept nogil:
    if from_batch(job, step):
        return column(job, step, VARIANCE)
    return running_variance(job.plan, job.statistics, step)


cdef inline bint is_linear(const Job* job, int s) noexcept nogil:
    """Whether the loss is fused with this step's activation."""
    return job.from_logits and s == job.plan.n_steps - 1


cdef void forward_step(const Job* job, int s, const char* x, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """A step that keeps what the way back needs."""
    cdef const Plan* plan = job.plan
    cdef const Kernels* K = plan.K
    cdef const Step* step = &plan.steps[s]
    cdef Py_ssize_t ldx, ldother = 0
    cdef const char* from_ = input_of(job, s, x, first, &ldx)
    cdef const char* other = NULL
    cdef const char* W = at_or_null(job.parameters, step.W, plan.z)
    cdef const char* b = at_or_null(job.parameters, step.b, plan.z)
    cdef char* out = activations(plan, job.ws, step, first)
    cdef char* keep = NULL if step.keep < 0 else kept(job, step, first)
    if step.kind <= ACTIVATION and keep != NULL and not is_linear(job, s):
        if step.kind == DENSE:
            K.dense(m, step.n_in, step.n_out, from_, ldx, W, b, IDENTITY, 0, keep, step.ld)
            from_, ldx = keep, step.ld
        K.apply_keep(
            step.function, step.alpha, m, step.ld if ldx == step.ld else step.n_out, from_, ldx, out, step.ld, keep,
            step.ld
        )
    elif step.kind == DROPOUT and job.training:
        K.dropout(
            step.first, noise_key(job.seed, job.noise_steps, s), first, m, step.n_out, from_, ldx, keep, step.ld, out,
            step.ld
        )
    elif step.kind == GAUSSIAN_NOISE and job.training:
        K.gaussian_noise(
            step.first, noise_key(job.seed, job.noise_steps, s), first, m, step.n_out, from_, ldx, out, step.ld
        )
    elif step.kind == BATCH_NORM:
        K.batch_norm(
            step.first, m, step.n_out, from_, ldx, mean_of(job, step), variance_of(job, step), W, b, out, step.ld
        )
    elif step.kind == LAYER_NORM:
        K.layer_norm(step.first, m, step.n_out, from_, ldx, W, b, keep, out, step.ld)
    else:
        if step.kind == ADD:
            other = input_of(job, step.other + 1, x, first, &ldother)
        infer_step(
            plan, job.parameters, job.statistics, step, is_linear(job, s), m, from_, ldx, other, ldother, out, step.ld
        )


cdef void forward_rows(
        Job* job, int id, int begin, int end, const char* x, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef int s
    for s in range(begin, end):
        if given_up(job, id, m):
            return
        forward_step(job, s, x, first, m)


cdef void loss_rows(
        Job* job, int id, const char* targets, double weight, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """`weight` is that of the whole mini-batch."""
    cdef const Plan* plan = job.plan
    cdef const Step* last = &plan.steps[plan.n_steps - 1]
    cdef char* out = activations(plan, job.ws, last, first)
    cdef Targets t = targets_at(plan, job.labels, targets, batch_weights(job, first), 0)
    plan.K.loss(
        &plan.loss, m, plan.n_out, out, last.ld, &t, averaged(plan, 1, weight), job.ws.row_loss + first,
        gradients(plan, job.ws, last, first), last.ld
    )
    if job.counts and t.weights != NULL:
        count_weighted(plan, job.classes, job.threshold, m, out, last.ld, &t, job.ws.row_correct + first)
    elif job.counts:
        job.correct[id] += plan.K.count_correct(job.classes, job.threshold, m, plan.n_out, out, last.ld, &t)


cdef void count_weighted(
        const Plan* plan, bint classes, double threshold, Py_ssize_t m, const char* out, Py_ssize_t ld,
        const Targets* targets, double* row_correct
) noexcept nogil:
    """Right answers of each row, times its weight: added up in the order of rows, whoever counted them."""
    cdef Targets t = targets[0]
    cdef Py_ssize_t r
    for r in range(m):
        if t.labels != NULL:
            t.labels = targets.labels + r
        else:
            t.values = <const char*>targets.values + r*t.ld*plan.z
        row_correct[r] = targets.weights[r]*plan.K.count_correct(
            classes, threshold, 1, plan.n_out, out + r*ld*plan.z, ld, &t
        )


cdef char* through_activation(const Job* job, int s, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Turn the gradient of a dense step's output into that of its pre-activation, in place; return where it is."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[s]
    cdef char* g = gradients(plan, job.ws, step, first)
    if not is_linear(job, s):
        back_through_function(job, step, first, m, g, g, step.ld)
    return g


cdef inline void back_through_function(
        const Job* job, const Step* step, Py_ssize_t first, Py_ssize_t m, const char* g, char* to, Py_ssize_t ldto
) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t n = step.n_out if mixes(step.function) or ldto != step.ld else step.ld  # whole rows: one long run
    if step.keep >= 0:
        plan.K.multiply(m, n, g, step.ld, kept(job, step, first), step.ld, to, ldto)
    else:
        plan.K.apply_backward(
            step.function, step.alpha, m, n, g, step.ld, activations(plan, job.ws, step, first), step.ld, to, ldto
        )


cdef void backward_step(
        const Job* job, int s, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m, char* to,
        Py_ssize_t ldto
) noexcept nogil:
    """From the gradient of a step's output to that of its input, unless `to` is NULL; and in any case to that of a
    dense step's pre-activation."""
    cdef const Plan* plan = job.plan
    cdef const Kernels* K = plan.K
    cdef const Step* step = &plan.steps[s]
    cdef Py_ssize_t ldx
    cdef const char* from_ = input_of(job, s, x, first, &ldx)
    cdef const char* W = at_or_null(job.parameters, step.W, plan.z)
    cdef char* g = gradients(plan, job.ws, step, first)
    cdef bint batch = from_batch(job, step)
    if step.kind == DENSE:
        through_activation(job, s, first, m)
        if to != NULL:
            K.dense_backward_input(m, step.n_in, step.n_out, g, step.ld, W, to, ldto)
    elif to == NULL:
        return
    elif step.kind == ACTIVATION and not is_linear(job, s):
        back_through_function(job, step, first, m, g, to, ldto)
    elif step.kind == RESCALING:
        K.rescale(step.first, 0, m, step.n_out, g, step.ld, to, ldto)
    elif step.kind == DROPOUT and job.training:
        K.multiply(m, step.n_out, g, step.ld, kept(job, step, first), step.ld, to, ldto)
    elif step.kind == BATCH_NORM:
        K.batch_norm_backward(
            step.first, m_all, m, step.n_out, g, step.ld, from_, ldx, mean_of(job, step), variance_of(job, step), W,
            column(job, step, SUM_GRADIENT) if batch else NULL, column(job, step, SUM_PRODUCT) if batch else NULL,
            to, ldto
        )
    elif step.kind == LAYER_NORM:
        K.layer_norm_backward(m, step.n_out, g, step.ld, from_, ldx, W, kept(job, step, first), to, ldto)
    else:
        copy_rows(plan, m, step.n_out, g, step.ld, to, ldto)


cdef inline void add_from_residuals(
        const Job* job, int add, Py_ssize_t n, Py_ssize_t first, Py_ssize_t m, char* to, Py_ssize_t ldto
) noexcept nogil:
    """Add the gradients of the residual sums that an output goes into besides the next step."""
    cdef const Plan* plan = job.plan
    cdef const Step* step
    while add > 0:
        step = &plan.steps[add]
        plan.K.add(m, n, to, ldto, gradients(plan, job.ws, step, first), step.ld, to, ldto)
        add = step.next_add


cdef inline char* gradient_of_input(
        const Job* job, int s, Py_ssize_t first, Py_ssize_t* ld
) noexcept nogil:
    """Where the gradient of the input of step `s` goes; NULL if nobody asks for it."""
    cdef const Plan* plan = job.plan
    ld[0] = plan.n_in if s == 0 else plan.steps[s - 1].ld
    if s == 0 and job.gx != NULL:
        return job.gx + first*plan.n_in*plan.z
    if s == 0 or (s <= job.lowest and job.gx == NULL):
        return NULL
    return gradients(plan, job.ws, &plan.steps[s - 1], first)


cdef inline int adds_of_input(const Plan* plan, int s) noexcept nogil:
    """The first residual sum that the input of step `s` goes into."""
    return plan.input_adds if s == 0 else plan.steps[s - 1].adds


cdef void backward_rows(
        Job* job, int id, int begin, int end, const char* x, Py_ssize_t m_all, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Steps end - 1 down to `begin`, as far as somebody asks for."""
    cdef Py_ssize_t ldto
    cdef char* to
    cdef int s
    for s in range(end - 1, begin - 1, -1):
        if given_up(job, id, m) or (s < job.lowest and job.gx == NULL):
            return
        to = gradient_of_input(job, s, first, &ldto)
        backward_step(job, s, x, m_all, first, m, to, ldto)
        if to != NULL:
            add_from_residuals(job, adds_of_input(job.plan, s), job.plan.steps[s].n_in, first, m, to, ldto)


cdef inline const Optimizer* of_biases(const Job* job, const Optimizer* optimizer) noexcept nogil:
    """Of the two that `set_optimizer` fills, that of biases and norms."""
    return optimizer if job.decays_biases else optimizer + 1


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


cdef inline void update_range(const Job* job, const Optimizer* optimizer, Py_ssize_t at, Py_ssize_t n) noexcept nogil:
    update_at(job, optimizer, at*job.plan.z, n, job.gradients + at*job.plan.z)


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


cdef void walk_rows(
        Job* job, int id, int work, int begin, int end, int stop, const char* x, const char* targets, Py_ssize_t m,
        Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """This thread's rows forward through steps begin..end, through the loss, and back from `end` to `stop`, as far as
    `work` says; many of them in blocks, with a look at the clock."""
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t block = max(<Py_ssize_t>(BLOCK_FLOPS/plan.flops_per_row), 48), rows
    cdef Py_ssize_t target_bytes = sizeof(int64_t) if job.labels else plan.n_out*plan.z
    cdef double weight = batch_weight(job, m)
    while first < last and not job.interrupted:
        rows = min(block, last - first)
        if work & FORWARD:
            forward_rows(job, id, begin, end, x, first, rows)
        if work & LOSS:
            loss_rows(job, id, targets + first*target_bytes, weight, first, rows)
        if work & BACKWARD:
            backward_rows(job, id, stop, end, x, m, first, rows)
        first += rows
        if first < last:
            look_for_signals(id, &job.next_look, &job.interrupted)


cdef inline int next_from_batch(const Job* job, int s) noexcept nogil:
    """The first step from `s` on that needs the whole batch; the number of steps if there is none."""
    while s < job.plan.n_steps and not from_batch(job, &job.plan.steps[s]):
        s += 1
    return s


cdef inline int last_from_batch(const Job* job, int s) noexcept nogil:
    """The last step before `s` that needs the whole batch; -1 if there is none."""
    s -= 1
    while s >= 0 and not from_batch(job, &job.plan.steps[s]):
        s -= 1
    return s


cdef void moments_share(Job* job, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the columns of a batch norm, over all rows."""
    cdef const Step* step = &job.plan.steps[s]
    cdef Py_ssize_t ldx
    cdef const char* from_ = input_of(job, s, x, 0, &ldx)
    job.plan.K.batch_norm_moments(
        share(step.n_out, id, count, COLUMN_GRAIN), share(step.n_out, id + 1, count, COLUMN_GRAIN), m, from_, ldx,
        column(job, step, MEAN), column(job, step, VARIANCE)
    )


cdef void sums_share(const Job* job, int s, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the sums that the way back through a batch norm needs: gradients of beta and gamma."""
    cdef const Step* step = &job.plan.steps[s]
    cdef Py_ssize_t ldx
    cdef const char* from_ = input_of(job, s, x, 0, &ldx)
    job.plan.K.batch_norm_sums(
        step.first, share(step.n_out, id, count, COLUMN_GRAIN), share(step.n_out, id + 1, count, COLUMN_GRAIN), m,
        gradients(job.plan, job.ws, step, 0), step.ld, from_, ldx, mean_of(job, step), variance_of(job, step),
        column(job, step, SUM_GRADIENT), column(job, step, SUM_PRODUCT)
    )


cdef void rows_share(
        Job* job, int id, int count, const char* x, const char* targets, Py_ssize_t m, Py_ssize_t first,
        Py_ssize_t last
) noexcept nogil:
    """This thread's rows through forward, loss and backward. All threads meet at each step that needs the whole batch,
    also where Ctrl-C has come: they know it at different times."""
    cdef int n = job.plan.n_steps, begin = 0, end = next_from_batch(job, 0), work = job.work
    if job.layer_by_layer:
        work &= ~BACKWARD
    job.correct[id] = 0
    while work & FORWARD and end < n:
        walk_rows(job, id, FORWARD, begin, end, end, x, targets, m, first, last)
        barrier_wait(&job.meeting, count)
        moments_share(job, end, id, count, x, m)
        barrier_wait(&job.meeting, count)
        begin, end = end, next_from_batch(job, end + 1)
    end = last_from_batch(job, n)
    walk_rows(job, id, work, begin, n, end + 1, x, targets, m, first, last)
    while work & BACKWARD and end >= 0 and (end >= job.lowest or job.gx != NULL):
        barrier_wait(&job.meeting, count)
        sums_share(job, end, id, count, x, m)
        barrier_wait(&job.meeting, count)
        begin = last_from_batch(job, end)
        walk_rows(job, id, BACKWARD, 0, end + 1, begin + 1, x, targets, m, first, last)
        end = begin


cdef inline bint learns(const Job* job, const Step* step) noexcept nogil:
    """Whether the gradients of a step's parameters are asked for, or used."""
    return (step.W >= 0 or step.b >= 0) and not (step.frozen and job.work & UPDATE)


cdef void long_weights_share(Job* job, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """This thread's share of the weight gradients of a long step, in pieces, with a look at the clock.

    A piece is some rows of weights over some samples, which the next piece adds to: the order of the sum is the same.
    """
    cdef const Plan* plan = job.plan
    cdef const Step* step
    cdef const char* from_
    cdef Py_ssize_t ldx, piece, i, r, first, last
    cdef int s
    for s in range(job.lowest, plan.n_steps):
        step = &plan.steps[s]
        if step.kind != DENSE or not learns(job, step):
            continue
        piece = (<Py_ssize_t>(PIECE_FLOPS/(2.0*PIECE_SAMPLES*step.n_out))//12 + 1)*12
        first = share(step.n_in, id, count, 12)
        last = share(step.n_in, id + 1, count, 12)
        r = 0
        while r < m:
            from_ = input_of(job, s, x, r, &ldx)
            i = first
            while i < last and not job.interrupted:
                plan.K.dense_backward_weights(
                    i, min(i + piece, last), min(m - r, <Py_ssize_t>PIECE_SAMPLES), step.n_out, from_, ldx,
                    gradients(plan, job.ws, step, r), step.ld, job.gradients + step.W*plan.z, job.accumulate or r > 0
                )
                i += piece
                look_for_signals(id, &job.next_look, &job.interrupted)
            r += PIECE_SAMPLES
        penalize(job, step, first*step.n_out, (last - first)*step.n_out)


cdef inline void penalize(const Job* job, const Step* step, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Add the gradient of the penalties to some weights; they are part of the network's own loss alone."""
    cdef Py_ssize_t at = (step.W + first)*job.plan.z
    if job.work & LOSS and (step.l1 != 0 or step.l2 != 0):
        job.plan.K.add_penalty(n, job.parameters + at, job.gradients + at, step.l1, step.l2)


cdef inline void set_optimizer(const Job* job, Optimizer* optimizer) noexcept nogil:
    """Fill two: the optimizer as it is for the next update, and for what does not decay."""
    cdef int64_t i = job.optimizer_steps - job.first_update
    optimizer[0] = job.optimizer
    if job.scheduled:
        optimizer.learning_rate = job.rates[i]
        if job.momenta != NULL:
            optimizer.beta1 = optimizer.momentum = job.momenta[i]
    advance(optimizer, job.optimizer_steps + 1)
    optimizer.average_decay = job.average_decay if job.averaged else 0  # it begins as the first parameters
    if not job.decays_biases:
        optimizer[1] = optimizer[0]
        optimizer[1].weight_decay = 0


cdef inline bint fuses(const Job* job, int work, const Step* step, Py_ssize_t m) noexcept nogil:
    """Whether a gradient is used where it is made and never written to its arena: in a small batch that is most of the
    work. In a larger one it would cost more to begin the product again for each piece."""
    return (
        step.l1 == 0 and step.l2 == 0 and job.clip_norm == INFINITY
        and m <= FUSED_ROWS and ALIGNMENT//4*step.n_out*job.plan.z <= SCRATCH_BYTES
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
        update_at(job, optimizer, offset, (at - first)*step.n_out, piece)
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
        update_range(job, of_biases(job, optimizer), step.b, step.n_out)


cdef void norm_share(
        const Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """This thread's share of the columns of a norm: gradients of gamma and beta, and their update."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[s]
    cdef Py_ssize_t ldx, n, z = plan.z, first = share(step.n_out, id, count, COLUMN_GRAIN)
    cdef char* gamma = job.gradients + step.W*z
    cdef char* beta = job.gradients + step.b*z
    n = share(step.n_out, id + 1, count, COLUMN_GRAIN) - first
    if work & WEIGHTS and step.kind == LAYER_NORM:
        x = input_of(job, s, x, 0, &ldx)
        plan.K.layer_norm_backward_parameters(
            first, first + n, m, gradients(plan, job.ws, step, 0), step.ld, x, ldx, kept(job, step, 0), gamma, beta,
            job.accumulate
        )
    elif work & WEIGHTS:
        if not from_batch(job, step):  # otherwise they are there since the way back
            sums_share(job, s, id, count, x, m)
        take_column(job, column(job, step, SUM_PRODUCT), gamma, first, n)
        take_column(job, column(job, step, SUM_GRADIENT), beta, first, n)
    if work & WEIGHTS:
        penalize(job, step, first, n)
    if work & UPDATE:
        update_range(job, of_biases(job, optimizer), step.W + first, n)
        update_range(job, of_biases(job, optimizer), step.b + first, n)


cdef inline void take_column(
        const Job* job, const char* sums, char* gradient, Py_ssize_t first, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t z = job.plan.z
    if job.accumulate:
        job.plan.K.add(1, n, gradient + first*z, n, sums + first*z, n, gradient + first*z, n)
    else:
        copy_rows(job.plan, 1, n, sums + first*z, n, gradient + first*z, n)


cdef bint all_fuse(const Job* job, Py_ssize_t m) noexcept nogil:
    """Whether one thread may update each layer on its way back: weights are read once less."""
    cdef const Step* step
    cdef int s
    if not (job.work & WEIGHTS and job.work & UPDATE) or job.clip_norm < INFINITY:
        return False
    for s in range(job.plan.n_steps):
        step = &job.plan.steps[s]
        if step.kind == DENSE and not fuses(job, job.work, step, m):
            return False
    return m*job.plan.flops_per_row <= LONG_FLOPS and last_from_batch(job, job.plan.n_steps) < 0


cdef void back_and_update(const Job* job, const Optimizer* optimizer, const char* x, Py_ssize_t m) noexcept nogil:
    """The way back and the update of a small batch, layer by layer: the same numbers as in two phases."""
    cdef const Step* step
    cdef const char* from_
    cdef char* to
    cdef Py_ssize_t ldx, ldto
    cdef int s
    for s in range(job.plan.n_steps - 1, job.lowest - 1, -1):
        step = &job.plan.steps[s]
        from_ = input_of(job, s, x, 0, &ldx)
        to = gradient_of_input(job, s, 0, &ldto)
        if step.kind == DENSE and not step.frozen:
            update_in_pieces(
                job, optimizer, step, 0, step.n_in, m, from_, ldx, through_activation(job, s, 0, m), to, ldto
            )
            bias_share(job, WEIGHTS | UPDATE, optimizer, step, m)
        else:
            backward_step(job, s, x, m, 0, m, to, ldto)
            if learns(job, step):
                norm_share(job, WEIGHTS | UPDATE, optimizer, s, 0, 1, x, m)
        if to != NULL:
            add_from_residuals(job, adds_of_input(job.plan, s), step.n_in, 0, m, to, ldto)


cdef void dense_share(
        const Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """This thread's share of the rows of a dense step's weights: gradients, over all samples, and update."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[s]
    cdef Py_ssize_t ldx = 0, z = plan.z, first = share(step.n_in, id, count, 12), last
    cdef const char* g = NULL
    last = share(step.n_in, id + 1, count, 12)
    if work & WEIGHTS:
        x = input_of(job, s, x, 0, &ldx)
        g = gradients(plan, job.ws, step, 0)
    if fuses(job, work, step, m):
        update_in_pieces(job, optimizer, step, first, last, m, x, ldx, g, NULL, 0)
    else:
        if work & WEIGHTS:
            plan.K.dense_backward_weights(
                first, last, m, step.n_out, x, ldx, g, step.ld, job.gradients + step.W*z, job.accumulate
            )
            penalize(job, step, first*step.n_out, (last - first)*step.n_out)
        if work & UPDATE:
            update_range(job, optimizer, step.W + first*step.n_out, (last - first)*step.n_out)


cdef void weights_share(
        const Job* job, const Optimizer* optimizer, int dense_work, int work, int id, int count, const char* x,
        Py_ssize_t m
) noexcept nogil:
    """This thread's share of the gradients of all parameters, and of the update, as far as `work` says, and
    `dense_work` for the weights of dense steps."""
    cdef const Plan* plan = job.plan
    cdef const Step* step
    cdef int s
    for s in range(job.lowest, plan.n_steps):
        step = &plan.steps[s]
        if not learns(job, step):
            continue
        if step.kind == DENSE:
            dense_share(job, dense_work, optimizer, s, id, count, x, m)
            if id == count - 1:  # short, whatever the step
                bias_share(job, work, optimizer, step, m)
        else:
            norm_share(job, work, optimizer, s, id, count, x, m)


cdef void clipped_share(
        Job* job, Optimizer* optimizer, int dense_work, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """The same where the norm of all gradients must be known before any is used."""
    cdef int blocks
    weights_share(job, optimizer, dense_work & ~UPDATE, job.work & ~UPDATE, id, count, x, m)
    barrier_wait(&job.meeting, count)
    blocks = square_sums(job, id, count)
    barrier_wait(&job.meeting, count)
    optimizer[0].gradient_scale = optimizer[1].gradient_scale = clip_scale(job, blocks)
    weights_share(job, optimizer, UPDATE, UPDATE, id, count, x, m)


cdef void gather(const Job* job, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Copy this thread's rows of a shuffled mini-batch into the workspace."""
    cdef Py_ssize_t row_bytes = job.plan.n_in*job.plan.z
    cdef Py_ssize_t target_bytes = sizeof(int64_t) if job.labels else job.plan.n_out*job.plan.z
    cdef Py_ssize_t r, q
    for r in range(first, last):
        q = job.order[job.position + r]
        memcpy(job.ws.x + r*row_bytes, job.x + q*row_bytes, row_bytes)
        memcpy(job.ws.targets + r*target_bytes, job.targets + q*target_bytes, target_bytes)
        if job.weights != NULL:
            job.ws.weights[r] = job.weights[q]


cdef inline Py_ssize_t n_weights(const Step* step) noexcept nogil:
    return step.n_in*step.n_out if step.kind == DENSE else step.n_out


cdef int square_sums(const Job* job, int id, int count) noexcept nogil:
    """This thread's share of the sums of squares of all gradients that are used, in blocks; returns how many blocks
    there are."""
    cdef const Step* step
    cdef Py_ssize_t at, n
    cdef int s, block = 0
    for s in range(job.lowest, job.plan.n_steps):
        step = &job.plan.steps[s]
        if not learns(job, step):
            continue
        at = step.W  # what a step learns is one range, its bias behind its weights
        n = step.W + n_weights(step) + (step.n_out if step.b >= 0 else 0)
        while at < n:
            if block%count == id:
                job.norm_parts[block] = job.plan.K.square_sum(
                    min(n - at, <Py_ssize_t>NORM_BLOCK), job.gradients + at*job.plan.z
                )
            block += 1
            at += NORM_BLOCK
    return block


cdef double clip_scale(const Job* job, int blocks) noexcept nogil:
    """What the gradient is multiplied by so that its norm is at most `clip_norm`, as PyTorch's clip_grad_norm_ does."""
    cdef double total = 0, scale
    cdef int i
    for i in range(blocks):
        total += job.norm_parts[i]
    scale = job.clip_norm/(sqrt(total) + 1e-6)
    return 1 if scale > 1 else scale


cdef double penalties(const Plan* plan, const char* parameters) noexcept nogil:
    """The part of the loss that the weights make."""
    cdef const Step* step
    cdef double total = 0
    cdef int s
    for s in range(plan.n_steps):
        step = &plan.steps[s]
        if step.l1 != 0 or step.l2 != 0:
            total += plan.K.penalty(n_weights(step), parameters + step.W*plan.z, step.l1, step.l2)
    return total


cdef void go_on(Job* job, Py_ssize_t m) noexcept nogil:
    """What a forward pass in training leaves behind: running statistics, with the variance of a sample as in PyTorch,
    and the count that noise is drawn by."""
    cdef const Plan* plan = job.plan
    cdef const Step* step
    cdef char* mean
    cdef int s
    job.noise_steps += 1
    for s in range(plan.n_steps):
        step = &plan.steps[s]
        if from_batch(job, step):
            mean = job.statistics + step.statistics*plan.z
            plan.K.average(step.n_out, step.second, mean, column(job, step, MEAN))
            plan.K.rescale(
                m/(m - 1.0), 0, 1, step.n_out, column(job, step, VARIANCE), step.ld, column(job, step, SPARE), step.ld
            )
            plan.K.average(step.n_out, step.second, mean + step.n_out*plan.z, column(job, step, SPARE))


cdef void finish_step(Job* job, const Optimizer* optimizer, Py_ssize_t m, int count) noexcept nogil:
    """What one thread does for all: the loss and the place in the run, which others read only after the next
    meeting."""
    cdef double correct = 0, weight = batch_weight(job, m)
    cdef int id
    if job.work & LOSS:
        for id in range(count):
            correct += job.correct[id]
        job.step_loss[job.step] = averaged(job.plan, sum_of_rows(job.ws.row_loss, m), weight) + job.penalty
        if job.counts and job.weights != NULL:
            correct += sum_of_rows(job.ws.row_correct, m)
        if job.counts:
            job.step_correct[job.step] = correct
    if job.rates != NULL and not job.scheduled:
        job.rates[job.step] = job.optimizer.learning_rate
    if job.step_weight != NULL:
        job.step_weight[job.step] = weight
    if job.lasting:
        go_on(job, m)
    job.step += 1
    if job.work & UPDATE:
        job.optimizer_steps += 1
        job.averaged = job.average != NULL
        job.optimizer.product = optimizer.product
    job.position += m
    if job.position == job.n:
        job.position = 0
        if job.order != NULL and job.step < job.total:
            shuffle_order(job.n, job.order, job.generator)
    job.done = (
        job.step == job.until or seconds_now() > job.deadline or (job.asked != NULL and is_locked(job.asked))
    )


cdef void run_steps(void* argument, int id, int count) noexcept nogil:
    """One thread of a run of steps."""
    cdef Job* job = <Job*>argument
    cdef const Plan* plan = job.plan
    cdef int work
    cdef Py_ssize_t m, first, last, target_bytes = sizeof(int64_t) if job.labels else plan.n_out*plan.z
    cdef const char* x
    cdef const char* targets
    cdef Optimizer optimizer[2]  # of weights, and of biases and norms
    while True:
        if job.work & UPDATE:
            set_optimizer(job, optimizer)
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
        if id == count - 1 and job.work & LOSS:  # before an update
            job.penalty = penalties(plan, job.parameters)
        rows_share(job, id, count, x, targets, m, first, last)
        barrier_wait(&job.meeting, count)
        work = job.work
        if work & WEIGHTS and m*plan.flops_per_row > LONG_FLOPS:
            long_weights_share(job, id, count, x, m)
            barrier_wait(&job.meeting, count)
            work &= ~WEIGHTS
        if job.interrupted:  # by now all threads know, and no parameter has changed
            return
        if job.layer_by_layer:
            back_and_update(job, optimizer, x, m)
        elif job.work & UPDATE and job.clip_norm < INFINITY:
            clipped_share(job, optimizer, work, id, count, x, m)
        elif job.work & (WEIGHTS | UPDATE):
            weights_share(job, optimizer, work, job.work, id, count, x, m)
        if id == 0:
            finish_step(job, optimizer, m, count)
        barrier_wait(&job.meeting, count)
        if job.done:
            return
