# Finite differences of the loss with respect to the parameters or the input. Included by program.pyx.
#
# Changing one weight W[i, j] changes only unit j of its stage, and only in rows whose input i is not zero. For each of
# these rows, the new value of the unit is computed from the old one, and the product of the next stage changes by a
# matrix of rank one. The rows are gathered in a block, whichever weights they belong to, and run through the remaining
# stages. `Path` says for which arrays this holds; for the others the whole stage is run again with one number changed.
# All of this is in double precision: in single precision, rounding errors are as large as the differences.

cdef enum:
    ITEM_ROWS = 4096  # changed rows in a piece of work, approximately
    PASS_ROWS = 240   # unchanged rows

cdef struct Segment:
    # Pieces of work for one array: its numbers first..first + inputs*chunks.
    Path path
    int layer             # the stage; -1 for the input
    int array
    int64_t first
    Py_ssize_t inputs     # rows of the array
    Py_ssize_t chunks     # pieces that a row is divided into
    Py_ssize_t units      # columns of a piece
    int64_t slot          # where its sums begin

cdef struct DifferenceJob:
    const Plan* plan
    const Job* base       # the unchanged forward pass
    const double* x
    Py_ssize_t n
    double h
    double* sums          # per slot, summed over rows: the loss after +h minus the loss, and the same after -h
    Segment* segments
    int n_segments
    int64_t next, items
    double* memory        # of all threads
    Py_ssize_t words      # of memory per thread
    Py_ssize_t capacity   # rows of a block
    bint generic          # at least one array takes the generic path
    double deadline, next_look
    int64_t ended         # threads that have finished
    bint interrupted

cdef struct Block:
    # Changed rows of one piece, where changes enter `layer` or at its output (-1 is the input), and what each row
    # belongs to.
    int id
    int layer
    bint at_output       # the rows are already at the output of `layer`
    char* parameters     # a copy with one number changed, for the generic path
    char* scratch
    Py_ssize_t rows, capacity
    double* slots        # as in a tile of `predict`, and one for inputs
    int64_t* row
    int64_t* sum_at       # place in `sums`
    char* targets
    double* weights
    double* row_loss
    double* columns       # mean and variance of a batch norm's input
    # of one unit, for all rows
    int64_t* chosen
    double* change
    int64_t* kept
    double* unit


cdef inline Py_ssize_t block_ld(const Plan* plan) noexcept nogil:
    return max(plan.tile_ld, plan.n_in)


cdef Py_ssize_t words_for(const Plan* plan, Py_ssize_t n, Py_ssize_t capacity, bint generic) noexcept nogil:
    return (
        ((plan.n_slots + 1)*capacity + 2)*block_ld(plan) + capacity*(4 + plan.n_out) + 4*n + 2*ALIGNMENT
        + plan.scratch//8
        + (plan.n_parameters + ALIGNMENT if generic else 0)
    )


cdef void lay_out_block(Block* b, const DifferenceJob* job, int id) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t C = job.capacity
    b.id = id
    b.at_output = False
    b.rows = 0
    b.capacity = C
    b.slots = job.memory + id*job.words
    b.columns = b.slots + (plan.n_slots + 1)*C*block_ld(plan)
    b.row = <int64_t*>(b.columns + 2*block_ld(plan))
    b.sum_at = b.row + C
    b.weights = <double*>(b.sum_at + C)
    b.row_loss = b.weights + C
    b.targets = <char*>(b.row_loss + C)
    b.chosen = <int64_t*>(b.row_loss + C + C*plan.n_out)
    b.change = <double*>(b.chosen + job.n)
    b.kept = <int64_t*>(b.change + job.n)
    b.unit = <double*>(b.kept + job.n)
    b.scratch = <char*>((<size_t>(b.unit + job.n) + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))
    if job.generic:
        b.parameters = b.scratch + (plan.scratch + ALIGNMENT - 1)//ALIGNMENT*ALIGNMENT
        memcpy(b.parameters, job.base.parameters, plan.n_parameters*plan.z)


cdef inline double* rows_in_block(const DifferenceJob* job, const Block* b, int layer) noexcept nogil:
    cdef const Plan* plan = job.plan
    return b.slots + (plan.n_slots if layer < 0 else plan.stages[layer].slot)*b.capacity*block_ld(plan)


cdef inline Py_ssize_t ld_in_block(const Plan* plan, int layer) noexcept nogil:
    return plan.n_in if layer < 0 else plan.stages[layer].ld


cdef inline double* before_activation(const DifferenceJob* job, int layer) noexcept nogil:
    """Return what `StageKind.unchanged` computes: pre-activations of a dense stage, a norm's output before gamma and
    beta."""
    return <double*>gradients(job.plan, job.base.ws, &job.plan.stages[layer], 0)


cdef inline double* after_activation(const DifferenceJob* job, int layer) noexcept nogil:
    return <double*>activations(job.plan, job.base.ws, &job.plan.stages[layer], 0)


cdef inline const double* entering(const DifferenceJob* job, int layer) noexcept nogil:
    """Return the unchanged rows at the point where changes enter."""
    if layer < 0:
        return job.x
    return before_activation(job, layer) if is_kind(&job.plan.stages[layer], DENSE) else after_activation(job, layer)


cdef void compute_unchanged(DifferenceJob* job, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Compute the unchanged rows where changes enter each stage, after the forward pass."""
    cdef const char* x
    cdef Py_ssize_t ldx
    cdef int s
    for s in range(job.plan.n_stages):
        x = input_of(job.base, s, job.base.x, first, &ldx)
        job.plan.stages[s].kind.unchanged(job.base, s, x, ldx, first, m)


cdef void compute_all_unchanged(void* argument, int id, int count) noexcept nogil:
    """Take blocks of rows in turn, on one thread."""
    cdef DifferenceJob* job = <DifferenceJob*>argument
    cdef Py_ssize_t quick = <Py_ssize_t>(BLOCK_FLOPS/job.plan.flops_per_row), first
    cdef Py_ssize_t rows = max(job.plan.tile_rows, min(quick, <Py_ssize_t>PASS_ROWS))
    while not job.interrupted:
        first = fetch_add(&job.next, 1)*rows
        if first >= job.n:
            return
        compute_unchanged(job, first, min(rows, job.n - first))
        look_for_signals(id, &job.next_look, &job.interrupted)


cdef void run_block(const DifferenceJob* job, Block* b) noexcept nogil:
    """Run the changed rows from where they are to the end of the network."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage
    cdef double* x = rows_in_block(job, b, b.layer)
    cdef Py_ssize_t ldx = ld_in_block(plan, b.layer)
    cdef int s
    if b.layer >= 0 and not b.at_output:
        stage = &plan.stages[b.layer]
        if is_kind(stage, DENSE) and not is_linear(job.base, b.layer):
            plan.K.apply(stage.function, stage.alpha, b.rows, stage.n_out, x, ldx, x, ldx)
    for s in range(b.layer + 1, plan.n_stages):
        plan.stages[s].kind.changed(job, b, s, job.base.parameters, x, ldx, rows_in_block(job, b, s))
        x, ldx = rows_in_block(job, b, s), plan.stages[s].ld


cdef void finish_block(DifferenceJob* job, Block* b) noexcept nogil:
    """Run the changed rows through the rest of the network and add the differences of their losses."""
    cdef const Plan* plan = job.plan
    cdef const Job* base = job.base
    cdef int last = plan.n_stages - 1
    cdef Targets t
    cdef Py_ssize_t r, row_bytes = plan.n_out*plan.z
    if not b.rows or job.interrupted:
        b.rows = 0
        return
    run_block(job, b)
    if base.labels:
        for r in range(b.rows):
            (<int64_t*>b.targets)[r] = (<const int64_t*>base.targets)[b.row[r]]
    else:
        for r in range(b.rows):
            memcpy(b.targets + r*row_bytes, base.targets + b.row[r]*row_bytes, row_bytes)
    if base.weights != NULL:
        for r in range(b.rows):
            b.weights[r] = base.weights[b.row[r]]
    t = targets_at(plan, base.labels, b.targets, NULL if base.weights == NULL else b.weights, 0)
    losses_of(
        plan, b.rows, <char*>rows_in_block(job, b, last), plan.stages[last].ld, &t, 1, b.row_loss, NULL, 0, b.scratch
    )
    for r in range(b.rows):
        job.sums[b.sum_at[r]] += b.row_loss[r] - base.ws.row_loss[b.row[r]]
    b.rows = 0
    look_for_signals(b.id, &job.next_look, &job.interrupted)


cdef inline double* add_row(DifferenceJob* job, Block* b, int layer, int64_t row, int64_t sum_at) noexcept nogil:
    """Return space for one more row at `layer`."""
    if b.rows == b.capacity:
        finish_block(job, b)
    b.layer = layer
    b.row[b.rows] = row
    b.sum_at[b.rows] = sum_at
    b.rows += 1
    return rows_in_block(job, b, layer) + (b.rows - 1)*ld_in_block(job.plan, layer)


cdef inline bint takes_all_rows(const DifferenceJob* job, int layer) noexcept nogil:
    """Whether a row that changes at `layer` changes other rows in later stages."""
    return last_from_batch(job.base, job.plan.n_stages) > layer


cdef void change_own_layer(
        DifferenceJob* job, Block* b, int layer, Py_ssize_t j, Py_ssize_t count, double sign, int64_t sum_at
) noexcept nogil:
    """Change number `j` of the rows at `layer`: before the activation of a dense stage, after a norm, or in the
    input."""
    cdef const double* unchanged = entering(job, layer)
    cdef Py_ssize_t n = job.plan.n_in if layer < 0 else job.plan.stages[layer].n_out
    cdef Py_ssize_t ld = ld_in_block(job.plan, layer), r, next_chosen = 0
    cdef double* out
    if not takes_all_rows(job, layer):
        for r in range(count):
            out = add_row(job, b, layer, b.chosen[r], sum_at)
            memcpy(out, unchanged + b.chosen[r]*ld, n*sizeof(double))
            out[j] += sign*b.change[r]
        return
    for r in range(job.n):
        out = add_row(job, b, layer, r, sum_at)
        memcpy(out, unchanged + r*ld, n*sizeof(double))
        if next_chosen < count and b.chosen[next_chosen] == r:
            out[j] += sign*b.change[next_chosen]
            next_chosen += 1
    finish_block(job, b)


cdef inline bint goes_on_dense(const DifferenceJob* job, int layer) noexcept nogil:
    """Whether changing one unit of a dense stage changes just one input of the next stage, dense too, and nothing
    else."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[layer]
    return (
        layer + 1 < plan.n_stages and is_kind(stage, DENSE) and is_kind(stage + 1, DENSE) and not mixes(stage.function)
        and not stage.adds and not takes_all_rows(job, layer)
    )


cdef void change_next_layer(
        DifferenceJob* job, Block* b, int layer, Py_ssize_t j, Py_ssize_t count, double sign, int64_t sum_at
) noexcept nogil:
    """Change unit `j`, and the next layer's pre-activations by that change times row `j` of its weights."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[layer]
    cdef const Stage* following = stage + 1
    cdef const double* z = before_activation(job, layer)
    cdef const double* a = after_activation(job, layer)
    cdef const char* direction = job.base.parameters + (following.arrays[W].at + j*following.n_out)*plan.z
    cdef Py_ssize_t r, done = 0, part, kept = 0
    cdef double difference
    for r in range(count):
        b.unit[r] = z[b.chosen[r]*stage.ld + j] + sign*b.change[r]
    plan.K.apply(stage.function, stage.alpha, 1, count, b.unit, count, b.unit, count)
    for r in range(count):
        difference = b.unit[r] - a[b.chosen[r]*stage.ld + j]
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
            part, following.n_out, before_activation(job, layer + 1), following.ld, b.kept + done, b.unit + done,
            direction, rows_in_block(job, b, layer + 1) + b.rows*following.ld, following.ld
        )
        for r in range(part):
            b.row[b.rows + r] = b.kept[done + r]
            b.sum_at[b.rows + r] = sum_at
        b.rows += part
        done += part


cdef Py_ssize_t choose_rows(
        DifferenceJob* job, Block* b, const Segment* segment, Py_ssize_t i, Py_ssize_t j
) noexcept nogil:
    """Choose the rows that changing the number in row `i` and column `j` of an array by `h` affects; compute the size
    of each change."""
    cdef const Plan* plan = job.plan
    cdef int layer = segment.layer
    cdef const double* by = NULL
    cdef Py_ssize_t r, count = 0, ld = 0
    if segment.path == ONE_OUTPUT_BY_INPUT:
        by = <const double*>input_of(job.base, layer, job.base.x, 0, &ld) + i
    elif segment.path == ONE_OUTPUT_BY_NORMALIZED:
        by, ld = before_activation(job, layer) + j, plan.stages[layer].ld
    for r in range(job.n):
        if by == NULL or by[r*ld] != 0:
            b.chosen[count] = r
            b.change[count] = job.h if by == NULL else job.h*by[r*ld]
            count += 1
    return count


cdef void change_units(DifferenceJob* job, Block* b, const Segment* segment, int64_t item) noexcept nogil:
    """Process one piece: some weights of one input, or some numbers of an array with one number per unit."""
    cdef int layer = segment.layer
    cdef const Stage* stage = &job.plan.stages[layer]
    cdef Py_ssize_t i = item//segment.chunks, j = item%segment.chunks*segment.units, count = 0
    cdef int64_t sum_at
    cdef int side
    for j in range(j, min(j + segment.units, stage.n_out)):
        if count == 0 or segment.path == ONE_OUTPUT_BY_NORMALIZED:
            count = choose_rows(job, b, segment, i, j)
        for side in range(2):
            sum_at = 2*(segment.slot + i*stage.n_out + j) + side
            if goes_on_dense(job, layer):
                change_next_layer(job, b, layer, j, count, 1 - 2*side, sum_at)
            else:
                change_own_layer(job, b, layer, j, count, 1 - 2*side, sum_at)
        if job.interrupted:
            return


cdef void rerun_stage(DifferenceJob* job, Block* b, const Segment* segment, int64_t number) noexcept nogil:
    """Process one piece on the generic path: run the whole stage again for all rows, with one number of its array
    changed."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[segment.layer]
    cdef double* changed = <double*>b.parameters + stage.arrays[segment.array].at + number
    cdef double value = changed[0]
    cdef const char* x
    cdef Py_ssize_t first, r, ldx
    cdef int side
    for side in range(2):
        changed[0] = value + (job.h if side == 0 else -job.h)
        first = 0
        while first < job.n and not job.interrupted:
            b.rows = min(b.capacity, job.n - first)
            b.layer, b.at_output = segment.layer, True
            for r in range(b.rows):
                b.row[r] = first + r
                b.sum_at[r] = 2*(segment.slot + number) + side
            x = input_of(job.base, segment.layer, job.base.x, first, &ldx)
            stage.kind.changed(
                job, b, segment.layer, b.parameters, <const double*>x, ldx, rows_in_block(job, b, segment.layer)
            )
            first += b.rows
            finish_block(job, b)
    changed[0] = value
    b.at_output = False


cdef void change_inputs(DifferenceJob* job, Block* b, const Segment* segment, int64_t row) noexcept nogil:
    """Process one piece: the features of one row."""
    cdef const Plan* plan = job.plan
    cdef const Stage* first = &plan.stages[0]
    cdef double change
    cdef double* out
    cdef Py_ssize_t i
    cdef int64_t sum_at
    cdef int side
    b.chosen[0] = row
    b.change[0] = job.h
    for i in range(plan.n_in):
        for side in range(2):
            sum_at = 2*(segment.slot + row*plan.n_in + i) + side
            if is_kind(first, DENSE) and not plan.input_adds and not takes_all_rows(job, -1):
                change = job.h if side == 0 else -job.h
                out = add_row(job, b, 0, row, sum_at)
                plan.K.rank_one(
                    1, first.n_out, before_activation(job, 0), first.ld, &row, &change,
                    job.base.parameters + (first.arrays[W].at + i*first.n_out)*plan.z, out, first.ld
                )
            else:
                change_own_layer(job, b, -1, i, 1, 1 - 2*side, sum_at)
        if job.interrupted:
            return


cdef void run_differences(void* argument, int id, int count) noexcept nogil:
    """Take pieces of work in turn, on one thread. Each slot belongs to one piece, whose rows are added in order."""
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
        if segment.layer < 0:
            change_inputs(job, &block, segment, item - segment.first)
        elif segment.path == GENERIC:
            rerun_stage(job, &block, segment, item - segment.first)
        else:
            change_units(job, &block, segment, item - segment.first)
        finish_block(job, &block)
    fetch_add(&job.ended, 1)
    while id == 0 and fetch_add(&job.ended, 0) < count:  # the others may still be working on a long piece
        turn = pause_for(turn)
        look_for_signals(id, &job.next_look, &job.interrupted)
