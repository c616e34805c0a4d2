# Predict and evaluate: tiles of rows that stay in the cache, which any number of threads take in turn. Included by
# program.pyx.

cdef struct TileJob

ctypedef void (*tile_work)(TileJob*, int id, char* tile, Py_ssize_t first, Py_ssize_t m) noexcept nogil

cdef struct TileJob:
    tile_work work        # a pointer, so that what evaluation needs does not slow down a prediction of one row
    const Plan* plan
    void** pool
    const char* parameters
    const char* statistics
    const char* x
    const SourceBlocks* source  # where the samples lie if they are not plain, else NULL
    bint sparse           # the first stage computes with sparse rows
    Py_ssize_t stored     # elements of them in a tile, at most
    char* out             # the outputs of a prediction, or those that a loss in Python is computed from
    const char* targets
    int last              # the stage whose outputs a prediction returns
    bint linear           # return them before its activation
    const double* weights  # of rows, or NULL
    bint labels
    Py_ssize_t target_bytes  # of a row
    Scores scores
    double* row_loss
    const int64_t* order  # the rows to evaluate, or NULL: all
    char* gathered        # memory for their samples and targets, `gathered_bytes` for each thread
    Py_ssize_t n
    int64_t next
    double deadline
    bint failed


# Where all layers are narrow, a batch goes through the network in blocks of rows that are stored by columns: vectors
# down the rows are full, and softmax needs no transposing. A row gives the same bits both ways.

cdef enum:
    TURNED_WIDTH = 64    # maximum columns
    TURNED_ROWS = 256    # maximum rows of a block
    TURNED_BYTES = 16384  # maximum bytes of a layer's activations of a block, unless four vectors of rows need more
    TURNED_LEAST = 4     # fewer rows leave most of a vector empty


cdef inline bint turns(const Stage* stage) noexcept nogil:
    if mixes(stage.function) and stage.n_out > NARROW:
        return False
    return is_kind(stage, DENSE) or is_kind(stage, ACTIVATION) or stage.kind.random


cdef void choose_tile(Plan* plan) noexcept nogil:
    """Set the rows of a tile of `predict`, and of a block that is stored by columns: 0 where not all layers are
    narrow."""
    cdef Py_ssize_t widest = plan.n_in, grain = 4*plan.K.vector_width
    cdef int s
    plan.turned_rows = 0
    plan.tile_rows = min(max(TILE_BYTES//(plan.tile_ld*plan.z)//12*12, <Py_ssize_t>12), <Py_ssize_t>240)
    for s in range(plan.n_stages):
        if not turns(&plan.stages[s]):
            return
        widest = max(widest, plan.stages[s].n_out)
    if widest > TURNED_WIDTH:
        return
    plan.turned_rows = min(max(TURNED_BYTES//(widest*plan.z)//grain, <Py_ssize_t>1)*grain, <Py_ssize_t>TURNED_ROWS)
    plan.tile_rows = TURNED_ROWS//plan.turned_rows*plan.turned_rows


# A tile: slots for the outputs of stages, what stages need for a while, and two blocks stored by columns.

cdef inline Py_ssize_t scratch_in_tile(const Plan* plan) noexcept nogil:
    return plan.n_slots*plan.tile_rows*plan.tile_ld*plan.z


cdef inline Py_ssize_t blocks_in_tile(const Plan* plan) noexcept nogil:
    return scratch_in_tile(plan) + plan.scratch


cdef inline Py_ssize_t block_bytes(const Plan* plan) noexcept nogil:
    return TURNED_WIDTH*plan.turned_rows*plan.z


cdef size_t tile_bytes(const Plan* plan) noexcept nogil:
    return <size_t>(blocks_in_tile(plan) + 2*block_bytes(plan) + ALIGNMENT)


cdef void* take_tile(const Plan* plan, void** pool) noexcept nogil:
    """Return a buffer from the pool, without a lock, or a new one; NULL if there is no memory."""
    cdef void* tile
    cdef int i
    for i in range(POOL):
        tile = exchange(&pool[i], NULL)
        if tile != NULL:
            return tile
    return aligned_memory(tile_bytes(plan))


cdef void give_tile(void** pool, void* tile) noexcept nogil:
    cdef int i
    for i in range(POOL):
        tile = exchange(&pool[i], tile)
        if tile == NULL:
            return
    free_memory(tile)


cdef inline char* slot_of(const Plan* plan, char* tile, const Stage* stage) noexcept nogil:
    return tile + stage.slot*plan.tile_rows*plan.tile_ld*plan.z


cdef void forward_turned(
        const Plan* plan, const char* parameters, int last, bint linear, Py_ssize_t m, const char* x, char* tile,
        char* out, Py_ssize_t ldo
) noexcept nogil:
    """Run the stages up to `last` for `m` rows, a block of rows at a time."""
    cdef Py_ssize_t first = 0, rows
    while first < m:
        rows = min(plan.turned_rows, m - first)
        forward_block(
            plan, parameters, last, linear, rows, x + first*plan.n_in*plan.z, tile, out + first*ldo*plan.z, ldo,
            (rows + plan.K.vector_width - 1)//plan.K.vector_width*plan.K.vector_width
        )
        first += rows


cdef void forward_block(
        const Plan* plan, const char* parameters, int last, bint linear, Py_ssize_t m, const char* x, char* tile,
        char* out, Py_ssize_t ldo, Py_ssize_t ld
) noexcept nogil:
    cdef const Stage* stage
    cdef char* columns = tile + blocks_in_tile(plan)
    cdef char* other = columns + block_bytes(plan)
    cdef int s, function
    plan.K.turn(m, plan.n_in, x, plan.n_in, columns, ld)
    for s in range(last + 1):
        stage = &plan.stages[s]
        function = IDENTITY if linear and s == last else stage.function
        if is_kind(stage, DENSE):
            plan.K.dense_turned(
                m, stage.n_in, stage.n_out, columns, ld, array_of(plan, parameters, stage, W),
                array_of(plan, parameters, stage, BIAS), function, stage.alpha, other, ld
            )
            columns, other = other, columns
        elif is_kind(stage, ACTIVATION):  # what is random does nothing outside of training
            plan.K.apply_turned(function, stage.alpha, m, stage.n_out, columns, ld, columns, ld)
    plan.K.turn_back(m, plan.stages[last].n_out, columns, ld, out, ldo)


cdef void forward_tile(
        const Plan* plan, const char* parameters, const char* statistics, int last, bint linear, Py_ssize_t m,
        const char* x, const SparseRows* sparse, char* tile, char* out, Py_ssize_t ldo
) noexcept nogil:
    """Run the stages up to `last` for `m` rows, `x` or `sparse`: that one writes to `out`, the others to slots of the
    tile."""
    cdef Rows rows
    cdef const Stage* stage
    cdef int s
    if plan.turned_rows > 0 and m >= TURNED_LEAST and sparse == NULL:
        forward_turned(plan, parameters, last, linear, m, x, tile, out, ldo)
        return
    rows.plan = plan
    rows.parameters = parameters
    rows.statistics = statistics
    rows.linear = False
    rows.m = m
    rows.x, rows.ldx, rows.sparse = x, plan.n_in, sparse
    for s in range(last + 1):
        stage = &plan.stages[s]
        if is_kind(stage, ADD):
            rows.other, rows.ldother = x, plan.n_in
            if stage.other >= 0:
                rows.other = slot_of(plan, tile, &plan.stages[stage.other])
                rows.ldother = plan.stages[stage.other].ld
        if s == last:
            rows.linear = linear
            rows.out, rows.ldo = out, ldo
        else:
            rows.out, rows.ldo = slot_of(plan, tile, stage), stage.ld
        stage.kind.infer(stage, &rows)
        rows.x, rows.ldx, rows.sparse = rows.out, rows.ldo, NULL


cdef Py_ssize_t sample_bytes(const TileJob* job) noexcept nogil:
    """Return the size of the memory for the samples of a tile."""
    cdef Py_ssize_t size = job.plan.tile_rows*job.plan.n_in*job.plan.z
    if job.sparse:
        size = sparse_bytes(job.plan, job.plan.tile_rows, job.stored, False)
    return (size + ALIGNMENT - 1)//ALIGNMENT*ALIGNMENT


cdef Py_ssize_t gathered_bytes(const TileJob* job) noexcept nogil:
    return sample_bytes(job) + job.plan.tile_rows*job.target_bytes + 2*ALIGNMENT


cdef inline const char* samples_at(
        const TileJob* job, int id, const int64_t* rows, Py_ssize_t first, Py_ssize_t m, SparseRows* sparse
) noexcept nogil:
    """Return the samples of a tile: those with the numbers in `rows`, or if it is NULL those from `first` on. Where the
    network takes sparse rows, `sparse` describes them."""
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t row_bytes = plan.n_in*plan.z, r
    cdef char* x
    cdef SparseBatch batch
    if job.source == NULL and rows == NULL:
        return job.x + first*row_bytes
    x = job.gathered + id*gathered_bytes(job)
    if job.sparse:
        lay_out_sparse(plan, x, plan.tile_rows, job.stored, False, &batch)
        gather_sparse(job.source, rows, first, 0, m, &batch)
        sparse_rows(&batch, 0, sparse)
    elif job.source != NULL:
        convert_source(job.source, rows, first, m, x)
    else:
        for r in range(m):
            memcpy(x + r*row_bytes, job.x + rows[r]*row_bytes, row_bytes)
    return x


cdef void predict_tile(TileJob* job, int id, char* tile, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t n_out = plan.stages[job.last].n_out
    cdef SparseRows sparse
    cdef const char* x = samples_at(job, id, NULL, first, m, &sparse)
    forward_tile(
        plan, job.parameters, job.statistics, job.last, job.linear, m, x, &sparse if job.sparse else NULL, tile,
        job.out + first*n_out*plan.z, n_out
    )


cdef void gather_targets(
        const TileJob* job, int id, Py_ssize_t first, Py_ssize_t m, Targets* targets
) noexcept nogil:
    """Copy the targets of a tile next to each other."""
    cdef const Plan* plan = job.plan
    cdef Py_ssize_t target_bytes = job.target_bytes
    cdef char* t = job.gathered + id*gathered_bytes(job) + sample_bytes(job)
    cdef Py_ssize_t r
    for r in range(m):
        memcpy(t + r*target_bytes, job.targets + job.order[first + r]*target_bytes, target_bytes)
    targets[0] = targets_at(plan, job.labels, t, NULL, 0)
    targets.weights = NULL if job.weights == NULL else job.weights + first


cdef void evaluate_tile(TileJob* job, int id, char* tile, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    cdef const Plan* plan = job.plan
    cdef const Stage* last = &plan.stages[job.last]
    cdef Py_ssize_t ld = last.ld
    cdef char* out = slot_of(plan, tile, last)
    cdef SparseRows sparse
    cdef const int64_t* rows = NULL if job.order == NULL else job.order + first
    cdef const char* x = samples_at(job, id, rows, first, m, &sparse)
    cdef Targets t
    if rows == NULL:
        t = targets_at(plan, job.labels, job.targets, job.weights, first)
    else:
        gather_targets(job, id, first, m, &t)
    forward_tile(
        plan, job.parameters, job.statistics, job.last, plan.from_logits, m, x, &sparse if job.sparse else NULL, tile,
        out, ld
    )
    if plan.own.in_python:
        copy_rows(plan, m, plan.n_out, out, ld, job.out + first*plan.n_out*plan.z, plan.n_out)
    else:
        losses_of(plan, m, out, ld, &t, 1, job.row_loss + first, NULL, 0, tile + scratch_in_tile(plan))
    if job.scores.n:
        score_rows(plan, &job.scores, id, first, m, out, ld, &t)


cdef void walk_tiles(void* argument, int id, int count) noexcept nogil:
    cdef TileJob* job = <TileJob*>argument
    cdef const Plan* plan = job.plan
    cdef char* tile = <char*>take_tile(plan, job.pool)
    cdef Py_ssize_t first
    if tile == NULL:
        job.failed = True
        return
    while True:
        first = fetch_add(&job.next, 1)*plan.tile_rows
        if first >= job.n:
            break
        job.work(job, id, tile, first, min(plan.tile_rows, job.n - first))
        if first + plan.tile_rows >= job.n or seconds_now() > job.deadline:  # reading the clock costs 25 ns
            break
    give_tile(job.pool, tile)
