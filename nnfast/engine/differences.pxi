# Finite differences of the loss with respect to every parameter, or to the input. Included by program.pyx.
#
# A change of one weight W[i, j] changes one unit j of its layer, and only in rows whose input i is not zero. So for
# each such row the new value of the unit is told from the one that was there, and the next layer's product takes a
# change of rank one. These rows are gathered in a block, whichever weights they belong to, and run through the layers
# that are left. All of it is in double precision: in single precision rounding is as large as the differences.

cdef enum:
    WEIGHT = 0
    BIAS = 1
    INPUT = 2
    ITEM_ROWS = 4096  # changed rows in a piece of work, about
    PASS_ROWS = 240   # unchanged ones

cdef struct Segment:
    # Pieces of work for one array: its numbers first..first + inputs*chunks.
    int kind
    int layer
    int64_t first
    Py_ssize_t inputs     # rows of the array
    Py_ssize_t chunks     # pieces that a row is cut into
    Py_ssize_t units      # columns of a piece
    int64_t slot          # where its sums begin

cdef struct DifferenceJob:
    const Plan* plan
    Workspace* ws         # the pass that nothing is changed in: pre-activations in place of gradients
    const char* parameters
    const double* x
    const char* targets
    bint labels
    const double* weights  # of rows, or NULL
    Py_ssize_t n
    double h
    double* sums          # for each slot: over rows, loss after +h less the loss, and the same after -h
    Segment* segments
    int n_segments
    int64_t next, items
    double* memory        # of all threads
    Py_ssize_t words      # of it for each
    double deadline, next_look
    int64_t ended         # threads that take no more
    bint interrupted

cdef struct Block:
    # Changed rows on their way, those of one piece at the pre-activation of `layer`, and what each belongs to.
    int id
    int layer
    Py_ssize_t rows, capacity
    double* z
    double* other         # the other half of the tile
    int64_t* row
    int64_t* sum_at       # place in `sums`
    char* targets
    double* weights
    double* row_loss
    # one unit in all rows
    int64_t* chosen
    double* change
    int64_t* kept
    double* unit


cdef Py_ssize_t words_for(const Plan* plan, Py_ssize_t n) noexcept nogil:
    return 2*plan.tile_rows*plan.tile_ld + plan.tile_rows*(4 + plan.n_out) + 4*n + ALIGNMENT


cdef void lay_out_block(Block* b, const DifferenceJob* job, int id) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t C = plan.tile_rows
    cdef double* at = job.memory + id*job.words
    b.id = id
    b.rows = 0
    b.capacity = C
    b.z = at
    b.other = at + C*plan.tile_ld
    b.row = <int64_t*>(at + 2*C*plan.tile_ld)
    b.sum_at = b.row + C
    b.weights = <double*>(b.sum_at + C)
    b.row_loss = b.weights + C
    b.targets = <char*>(b.row_loss + C)
    b.chosen = <int64_t*>(b.row_loss + C + C*plan.n_out)
    b.change = <double*>(b.chosen + job.n)
    b.kept = <int64_t*>(b.change + job.n)
    b.unit = <double*>(b.kept + job.n)


cdef inline double* before_activation(const DifferenceJob* job, const Step* step) noexcept nogil:
    return <double*>gradients(job.plan, job.ws, step, 0)


cdef inline double* after_activation(const DifferenceJob* job, const Step* step) noexcept nogil:
    return <double*>activations(job.plan, job.ws, step, 0)


cdef void rows_unchanged(DifferenceJob* job, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Pre-activations, activations and losses of some rows as they are."""
    cdef const Plan* plan = job.plan
    cdef const char* x = <const char*>(job.x + first*plan.n_in)
    cdef Py_ssize_t ldx = plan.n_in
    cdef const Step* step = plan.steps
    cdef Targets t = targets_at(plan, job.labels, job.targets, job.weights, first)
    cdef double* z = NULL
    cdef double* a = NULL
    cdef int s
    for s in range(plan.n_steps):
        step = &plan.steps[s]
        z = before_activation(job, step) + first*step.ld
        a = after_activation(job, step) + first*step.ld
        forward_step(plan, job.parameters, step, True, m, x, ldx, <char*>z, step.ld)
        plan.K.apply(step.function, m, step.n_out, z, step.ld, a, step.ld)
        x = <const char*>a
        ldx = step.ld
    plan.K.loss(
        &plan.loss, m, plan.n_out, z if plan.from_logits else a, step.ld, &t, 1, job.ws.row_loss + first, NULL, 0
    )


cdef void forward_unchanged(void* argument, int id, int count) noexcept nogil:
    """One thread: some rows in turn."""
    cdef DifferenceJob* job = <DifferenceJob*>argument
    cdef Py_ssize_t quick = <Py_ssize_t>(BLOCK_FLOPS/job.plan.flops_per_row), first
    cdef Py_ssize_t rows = max(job.plan.tile_rows, min(quick, <Py_ssize_t>PASS_ROWS))
    while not job.interrupted:
        first = fetch_add(&job.next, 1)*rows
        if first >= job.n:
            return
        rows_unchanged(job, first, min(rows, job.n - first))
        look_for_signals(id, &job.next_look, &job.interrupted)


cdef void finish_block(DifferenceJob* job, Block* b) noexcept nogil:
    """Run the changed rows through the rest of the network and add what became of their losses."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[b.layer]
    cdef const Step* last = &plan.steps[plan.n_steps - 1]
    cdef double* a = b.z
    cdef double* to = b.other
    cdef Targets t
    cdef Py_ssize_t r, row_bytes = plan.n_out*plan.z
    if not b.rows or job.interrupted:
        b.rows = 0
        return
    if not (plan.from_logits and step == last):
        plan.K.apply(step.function, b.rows, step.n_out, a, step.ld, a, step.ld)
    while step < last:
        step += 1
        forward_step(
            plan, job.parameters, step, plan.from_logits and step == last, b.rows, <const char*>a, (step - 1).ld,
            <char*>to, step.ld
        )
        a, to = to, a
    if job.labels:
        for r in range(b.rows):
            (<int64_t*>b.targets)[r] = (<const int64_t*>job.targets)[b.row[r]]
    else:
        for r in range(b.rows):
            memcpy(b.targets + r*row_bytes, job.targets + b.row[r]*row_bytes, row_bytes)
    if job.weights != NULL:
        for r in range(b.rows):
            b.weights[r] = job.weights[b.row[r]]
    t = targets_at(plan, job.labels, b.targets, NULL if job.weights == NULL else b.weights, 0)
    plan.K.loss(&plan.loss, b.rows, plan.n_out, a, last.ld, &t, 1, b.row_loss, NULL, 0)
    for r in range(b.rows):
        job.sums[b.sum_at[r]] += b.row_loss[r] - job.ws.row_loss[b.row[r]]
    b.rows = 0
    look_for_signals(b.id, &job.next_look, &job.interrupted)


cdef inline double* add_row(DifferenceJob* job, Block* b, int layer, int64_t row, int64_t sum_at) noexcept nogil:
    """Room for one more row at the pre-activation of `layer`."""
    if b.rows == b.capacity:
        finish_block(job, b)
    b.layer = layer
    b.row[b.rows] = row
    b.sum_at[b.rows] = sum_at
    b.rows += 1
    return b.z + (b.rows - 1)*job.plan.steps[layer].ld


cdef void change_own_layer(
        DifferenceJob* job, Block* b, int layer, Py_ssize_t j, Py_ssize_t count, double sign, int64_t sum_at
) noexcept nogil:
    """Unit `j` changes before an activation that mixes the units of a row, or that is the last one."""
    cdef const Step* step = &job.plan.steps[layer]
    cdef const double* z = before_activation(job, step)
    cdef double* out
    cdef Py_ssize_t r
    for r in range(count):
        out = add_row(job, b, layer, b.chosen[r], sum_at)
        memcpy(out, z + b.chosen[r]*step.ld, step.n_out*sizeof(double))
        out[j] += sign*b.change[r]


cdef void change_next_layer(
        DifferenceJob* job, Block* b, int layer, Py_ssize_t j, Py_ssize_t count, double sign, int64_t sum_at
) noexcept nogil:
    """Unit `j` changes, and the next layer's pre-activations by that change times row `j` of its weights."""
    cdef const Plan* plan = job.plan
    cdef const Step* step = &plan.steps[layer]
    cdef const Step* following = step + 1
    cdef const double* z = before_activation(job, step)
    cdef const double* a = after_activation(job, step)
    cdef const char* direction = job.parameters + (following.W + j*following.n_out)*plan.z
    cdef Py_ssize_t r, done = 0, part, kept = 0
    cdef double difference
    for r in range(count):
        b.unit[r] = z[b.chosen[r]*step.ld + j] + sign*b.change[r]
    plan.K.apply(step.function, 1, count, b.unit, count, b.unit, count)
    for r in range(count):
        difference = b.unit[r] - a[b.chosen[r]*step.ld + j]
        if difference != 0:  # a dead unit of relu stays dead
            b.unit[kept] = difference
            b.kept[kept] = b.chosen[r]
            kept += 1
    while done < kept:
        if b.rows == b.capacity:
            finish_block(job, b)
        b.layer = layer + 1
        part = min(kept - done, b.capacity - b.rows)
        plan.K.rank_one(
            part, following.n_out, before_activation(job, following), following.ld, b.kept + done, b.unit + done,
            direction, b.z + b.rows*following.ld, following.ld
        )
        for r in range(part):
            b.row[b.rows + r] = b.kept[done + r]
            b.sum_at[b.rows + r] = sum_at
        b.rows += part
        done += part


cdef void change_units(DifferenceJob* job, Block* b, const Segment* segment, int64_t item) noexcept nogil:
    """One piece: some weights of one input, or some biases."""
    cdef const Plan* plan = job.plan
    cdef int layer = segment.layer
    cdef const Step* step = &plan.steps[layer]
    cdef Py_ssize_t i = item//segment.chunks, j = item%segment.chunks*segment.units, r, count = 0
    cdef Py_ssize_t ld = plan.n_in if layer == 0 else (step - 1).ld
    cdef const double* x = job.x if layer == 0 else after_activation(job, step - 1)
    cdef int64_t sum_at
    cdef bint mixes = step.function == SOFTMAX or layer == plan.n_steps - 1
    cdef int side
    for r in range(job.n):
        if segment.kind == BIAS or x[r*ld + i] != 0:
            b.chosen[count] = r
            b.change[count] = job.h if segment.kind == BIAS else job.h*x[r*ld + i]
            count += 1
    for j in range(j, min(j + segment.units, step.n_out)):
        for side in range(2):
            sum_at = 2*(segment.slot + i*step.n_out + j) + side
            if mixes:
                change_own_layer(job, b, layer, j, count, 1 - 2*side, sum_at)
            else:
                change_next_layer(job, b, layer, j, count, 1 - 2*side, sum_at)
        if job.interrupted:
            return


cdef void change_inputs(DifferenceJob* job, Block* b, const Segment* segment, int64_t row) noexcept nogil:
    """One piece: the features of one row."""
    cdef const Plan* plan = job.plan
    cdef const Step* first = &plan.steps[0]
    cdef const double* z = before_activation(job, first)
    cdef double change
    cdef double* out
    cdef Py_ssize_t i
    cdef int side
    for i in range(plan.n_in):
        for side in range(2):
            change = job.h if side == 0 else -job.h
            out = add_row(job, b, 0, row, 2*(segment.slot + row*plan.n_in + i) + side)
            plan.K.rank_one(
                1, first.n_out, z, first.ld, &row, &change, job.parameters + (first.W + i*first.n_out)*plan.z, out,
                first.ld
            )
        if job.interrupted:
            return


cdef void run_differences(void* argument, int id, int count) noexcept nogil:
    """One thread: pieces of work in turn. Each slot is one piece's, and its rows are added in order."""
    cdef DifferenceJob* job = <DifferenceJob*>argument
    cdef const Segment* segment
    cdef Block block
    cdef int64_t item
    cdef int turn = 0
    lay_out_block(&block, job, id)
    while not job.interrupted and seconds_now() < job.deadline:
        item = fetch_add(&job.next, 1)
        if item >= job.items:
            break
        segment = job.segments
        while item >= segment.first + segment.inputs*segment.chunks:
            segment += 1
        block.layer = segment.layer
        if segment.kind == INPUT:
            change_inputs(job, &block, segment, item - segment.first)
        else:
            change_units(job, &block, segment, item - segment.first)
        finish_block(job, &block)
    fetch_add(&job.ended, 1)
    while id == 0 and fetch_add(&job.ended, 0) < count:  # the others may be in the midst of a long piece
        turn = pause_for(turn)
        look_for_signals(id, &job.next_look, &job.interrupted)
