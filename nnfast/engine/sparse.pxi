# Sparse samples: rows of which only some elements are stored (CSR). Included by program.pyx.
#
# A network that begins with a dense layer computes with the stored elements alone: in a mini-batch, its forward pass
# goes through them by row, and the gradient of the weights by column, for the columns that occur. A network that begins
# with anything else gets rows with all their zeros, when a mini-batch or tile is gathered. Both have the same bits.

cdef enum:
    LOOKS = 64  # at the clock, while the gradient of the weights is computed in a long step


cdef inline bint takes_sparse(const Plan* plan) noexcept nogil:
    """Whether the input goes into a dense stage only. A single column, whose weights are like a bias, is a matrix."""
    return is_kind(&plan.stages[0], DENSE) and plan.input_adds == 0 and plan.n_in > 1


cdef inline int32_t column_of(const SparseData* data, int64_t e, Py_ssize_t n) noexcept nogil:
    """Return the column of a stored element; one in range even if the caller has changed the array meanwhile."""
    cdef int64_t j = given_column(data, e)
    return <int32_t>j if <uint64_t>j < <uint64_t>n else 0


cdef void copy_stored(
        const SourceBlocks* source, int64_t e, int64_t count, char* values, int32_t* columns
) noexcept nogil:
    """Copy stored elements from number `e` on, converted."""
    cdef const SparseData* data = &source.sparse
    cdef const int32_t* narrow = <const int32_t*>data.columns + e
    cdef Py_ssize_t size = number_size(data.number)
    cdef uint32_t n = <uint32_t>source.n_in
    cdef int64_t i
    if data.number == (FLOAT32 if source.K.itemsize == 4 else FLOAT64):
        memcpy(values, data.values + e*size, <size_t>(count*size))
    else:
        source.K.convert(data.number, 1, count, data.values + e*size, 0, size, NULL, values, count)
    if data.wide_columns:
        for i in range(count):
            columns[i] = column_of(data, e + i, source.n_in)
    else:  # a loop that compilers turn into vectors
        for i in range(count):
            columns[i] = narrow[i] if <uint32_t>narrow[i] < n else 0


cdef void gather_sparse(
        const SourceBlocks* source, const int64_t* rows, Py_ssize_t begin, Py_ssize_t first, Py_ssize_t last,
        const SparseBatch* to
) noexcept nogil:
    """Copy rows `first` to `last` of a mini-batch, which has the rows with these numbers, or if `rows` is NULL those
    from `begin` on. Each thread copies some, to where those before them end."""
    cdef const int64_t* starts = source.sparse.starts
    cdef Py_ssize_t r, q
    cdef int64_t at = 0, count
    cdef uint64_t mode = subnormals_kept() if source.subnormal else 0
    if rows == NULL:
        at = starts[begin + first] - starts[begin]
    else:
        for r in range(first):
            at += starts[rows[r] + 1] - starts[rows[r]]
    for r in range(first, last):
        q = begin + r if rows == NULL else rows[r]
        count = starts[q + 1] - starts[q]
        copy_stored(source, starts[q], count, to.values + at*source.K.itemsize, to.columns + at)
        to.starts[r] = at
        at += count
        to.ends[r] = at
    if source.subnormal:
        restore_subnormals(mode)


cdef void write_sparse(
        const SourceBlocks* source, const int64_t* rows, Py_ssize_t first, Py_ssize_t m, char* to
) noexcept nogil:
    """Write rows with all their zeros: those with the numbers in `rows`, or if it is NULL those from `first` on."""
    cdef const SparseData* data = &source.sparse
    cdef Py_ssize_t r, q, n = source.n_in, z = source.K.itemsize, size = number_size(data.number)
    cdef int64_t e
    memset(to, 0, <size_t>(m*n*z))
    for r in range(m):
        q = first + r if rows == NULL else rows[r]
        for e in range(data.starts[q], data.starts[q + 1]):
            source.K.convert(
                data.number, 1, 1, data.values + e*size, 0, size, NULL, to + (r*n + column_of(data, e, n))*z, 1
            )


cdef size_t sparse_bytes(const Plan* plan, Py_ssize_t rows, Py_ssize_t stored, bint learns) noexcept nogil:
    """Return the size of the memory for a batch of so many rows and stored elements."""
    cdef size_t each = plan.z + sizeof(int32_t)
    cdef size_t total = 2*<size_t>rows*sizeof(int64_t) + 12*ALIGNMENT
    if learns:
        each += 2*plan.z + 2*sizeof(int32_t)
        total += <size_t>plan.n_in*sizeof(int32_t)
    return total + <size_t>stored*each


cdef inline char* part_of(char** memory, size_t size) noexcept nogil:
    """Return the first bytes of some memory, and move it past them, to a multiple of the alignment."""
    cdef char* at = memory[0]
    memory[0] += (size + ALIGNMENT - 1)//ALIGNMENT*ALIGNMENT
    return at


cdef void lay_out_sparse(
        const Plan* plan, char* memory, Py_ssize_t rows, Py_ssize_t stored, bint learns, SparseBatch* to
) noexcept nogil:
    """Give each array of a batch its place."""
    cdef SparseColumns* by_column = &to.by_column
    to.starts = <int64_t*>part_of(&memory, rows*sizeof(int64_t))
    to.ends = <int64_t*>part_of(&memory, rows*sizeof(int64_t))
    to.values = part_of(&memory, stored*plan.z)
    to.columns = <int32_t*>part_of(&memory, stored*sizeof(int32_t))
    if learns:
        by_column.elements = part_of(&memory, 2*stored*plan.z)
        by_column.columns = <int32_t*>part_of(&memory, stored*sizeof(int32_t))
        by_column.ends = <int32_t*>part_of(&memory, stored*sizeof(int32_t))
        by_column.places = <int32_t*>part_of(&memory, plan.n_in*sizeof(int32_t))
        memset(by_column.places, 0, plan.n_in*sizeof(int32_t))


cdef inline void sparse_rows(const SparseBatch* batch, Py_ssize_t first, SparseRows* rows) noexcept nogil:
    """Let `rows` describe the rows of a batch from `first` on."""
    rows.values, rows.columns = batch.values, batch.columns
    rows.starts, rows.ends = batch.starts + first, batch.ends + first


cdef double flops_of(const Job* job) noexcept nogil:
    """Return the work for a row, without that for zeros that are not stored."""
    cdef const Stage* stage = &job.plan.stages[0]
    cdef double share_of_zeros
    if not job.sparse or job.n == 0:
        return job.plan.flops_per_row
    share_of_zeros = 1 - job.source.sparse.starts[job.n]/(<double>job.n*stage.n_in)
    return job.plan.flops_per_row - share_of_zeros*stage.flops


cdef inline bint is_sparse(const Job* job, const Stage* stage) noexcept nogil:
    """Whether the input of a stage consists of sparse rows."""
    return job.sparse and stage == &job.plan.stages[0]


# ---- gradient and update of the weights

cdef enum Learning:
    DESCEND    # only the rows of weights whose feature occurs
    IN_PIECES  # all rows, whose gradient is needed a piece at a time
    IN_FULL    # the gradient is needed as a whole


cdef Learning learning_of(const Job* job, int work, const Optimizer* optimizer, const Stage* stage) noexcept nogil:
    """How to update the weights: where the gradient is zero, SGD without momentum and weight decay changes nothing."""
    cdef const LearnedArray* weights = &stage.arrays[W]
    if not work & UPDATE or ((weights.l1 != 0 or weights.l2 != 0) and job.work & LOSS):
        return IN_FULL
    if optimizer.kind == SGD and job.moments[0] == NULL and job.average == NULL and optimizer.weight_decay == 0:
        return DESCEND
    return IN_PIECES if piece_fits(job.plan, stage) else IN_FULL


cdef void learn_sparse(
        Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """This thread's share of the gradients of a dense stage with sparse input, and of their update."""
    cdef const Plan* plan = job.plan
    cdef const Stage* stage = &plan.stages[s]
    cdef Py_ssize_t first = share(stage.n_in, id, count, stage.grain), i
    cdef Py_ssize_t last = share(stage.n_in, id + 1, count, stage.grain)
    cdef int64_t ends[MAX_CHUNKS]
    cdef int chunks = chunks_of(stage, m), k
    cdef SparseRows rows
    cdef SparseColumns by_column = job.ws.sparse.by_column
    cdef const Optimizer* of_weights = optimizer_for(job, optimizer, &stage.arrays[W])
    for k in range(chunks):
        ends[k] = share(m, k + 1, chunks, 1)
    sparse_rows(&job.ws.sparse, 0, &rows)
    plan.K.sparse_turn(m, &rows, first, last, &by_column)
    update_sparse(job, work, of_weights, stage, id, first, last, &by_column, ends, chunks)
    for i in range(by_column.n):
        by_column.places[by_column.columns[i]] = 0
    if id == count - 1:  # the bias, which is no row of the weights
        learn_range(job, work, optimizer, s, id, x, m, stage.parts, stage.parts)


cdef void update_sparse(
        Job* job, int work, const Optimizer* optimizer, const Stage* stage, int id, Py_ssize_t first,
        Py_ssize_t last, const SparseColumns* x, const int64_t* ends, int chunks
) noexcept nogil:
    """Gradient of rows `first` to `last` of the weights, and their update if there is one."""
    cdef const Plan* plan = job.plan
    cdef const LearnedArray* weights = &stage.arrays[W]
    cdef const char* g = gradients(plan, job.ws, stage, 0)
    cdef Py_ssize_t offset = weights.at*plan.z, row_bytes = stage.n_out*plan.z, rows = piece_rows(plan, stage), after
    cdef Py_ssize_t begin = first*stage.n_out, n = (last - first)*stage.n_out
    cdef Learning how = learning_of(job, work, optimizer, stage)
    cdef char* piece = scratch_of(job, id)
    if how == DESCEND:
        plan.K.sparse_descend(stage.n_out, x, g, stage.ld, ends, chunks, job.parameters + offset, optimizer)
    elif how == IN_PIECES:
        while first < last:
            after = min(last, first + rows)
            plan.K.sparse_backward_weights(
                first, after, stage.n_out, x, g, stage.ld, ends, chunks, piece - first*row_bytes
            )
            update_at(job, optimizer, offset + first*row_bytes, (after - first)*stage.n_out, piece)
            first = after
    else:
        rows = last - first
        if takes_long(job):  # with a look at the clock after each piece
            rows = rows//LOOKS + 1
        while first < last and not job.interrupted:
            after = min(last, first + rows)
            plan.K.sparse_backward_weights(
                first, after, stage.n_out, x, g, stage.ld, ends, chunks, job.gradients + offset
            )
            first = after
            if takes_long(job):
                look_for_signals(id, &job.next_look, &job.interrupted)
        penalize(job, weights, begin, n)
        if work & UPDATE:
            offset += begin*plan.z
            update_at(job, optimizer, offset, n, job.gradients + offset)
