# Gradients of parameters: sums over the rows of a batch, in chunks. Included by program.pyx.
#
# Each sum has one order, which depends on shapes alone. The rows are divided into chunks: each is summed in row order,
# and the sums are added in pairs, these in pairs again, and so on. If each thread owns as many whole chunks as the
# others, it sums them where it has run them forward and backward: its activations never leave its core's cache, and
# only one sum per thread does. Otherwise threads share the parameters, and each sums its part over all rows.

cdef enum:
    MAX_CHUNKS = 8
    ROWS_OF_TWO = 96   # minimum rows of a batch of two chunks; with fewer, one thread would pay for the second sum
    CHUNK_ROWS = 128   # minimum rows of each of more than two chunks


cdef inline int chunks_in(Py_ssize_t m) noexcept nogil:
    """Return the number of chunks in a batch of `m` rows."""
    cdef int chunks = 2
    if m < ROWS_OF_TWO:
        return 1
    while chunks < MAX_CHUNKS and m >= 2*chunks*CHUNK_ROWS:
        chunks *= 2
    return chunks


cdef inline int chunks_of(const Stage* stage, Py_ssize_t m) noexcept nogil:
    """The same for the gradients of one stage: a single chunk where its parameters are more than its activations."""
    if stage.kind.whole_batch or m*(stage.n_in + stage.n_out) < stage.arrays[0].size:
        return 1
    return chunks_in(m)


cdef inline bint owns_chunks(int chunks, int count) noexcept nogil:
    """Whether each of `count` threads has whole chunks of its own."""
    return 1 < count <= chunks and chunks%count == 0


cdef inline int levels(int chunks) noexcept nogil:
    """Return how often sums of `chunks` chunks are added in pairs, and so the number of arenas this needs besides the
    result."""
    return 0 if chunks == 1 else 1 + levels(chunks//2)


cdef int sums_needed(const Plan* plan, Py_ssize_t m, int threads) noexcept nogil:
    """Return the number of arenas for sums over chunks in a batch of at most `m` rows. Two threads own chunks in any
    batch that has some, and the system may start fewer threads than asked for."""
    cdef int s, chunks = 1
    for s in range(plan.n_stages):
        if has_arrays(&plan.stages[s]):
            chunks = max(chunks, chunks_of(&plan.stages[s], m))
    return levels(chunks) if threads == 1 else chunks if chunks > 1 else 0


cdef inline char* sums(const Job* job, int i) noexcept nogil:
    return job.ws.sums + i*job.plan.n_parameters*job.plan.z


cdef inline void range_of(
        const Stage* stage, int array, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t* first, Py_ssize_t* n
) noexcept nogil:
    """Return the elements of an array that belong to some parts of a stage's parameters. An array of another size than
    the first one belongs to the last part."""
    cdef Py_ssize_t size = stage.arrays[array].size, each = size//stage.parts
    first[0], n[0] = begin*each, (end - begin)*each
    if size != stage.arrays[0].size:
        first[0], n[0] = 0, size if end == stage.parts else 0


cdef inline void add_sums(const Plan* plan, char* to, const char* other, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Add a range of one arena to that of another."""
    cdef Py_ssize_t offset = first*plan.z
    plan.K.add(1, n, to + offset, n, other + offset, n, to + offset, n)


cdef void sum_chunks(
        Job* job, int id, int s, const char* x, Py_ssize_t m, int first, int last, Py_ssize_t begin, Py_ssize_t end,
        char* to, char* spare
) noexcept nogil:
    """Write the gradients of parts `begin` to `end`, summed over chunks `first` to `last`, to an arena.

    `spare`: `levels(last - first)` more arenas."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef int k, middle = (first + last)//2, chunks = chunks_of(stage, m)
    cdef Py_ssize_t at, n, row = share(m, first, chunks, 1), half = share(m, middle, chunks, 1)
    cdef Py_ssize_t after = share(m, last, chunks, 1)
    if last - first == 1:
        stage.kind.gradient(job, id, s, x, row, after - row, begin, end, to, False)
        return
    sum_chunks(job, id, s, x, m, first, middle, begin, end, to, spare)
    if last - middle == 1 and after - half <= MAX_ADDED_TERMS and not stage.sums_apart:  # without a way through memory
        stage.kind.gradient(job, id, s, x, half, after - half, begin, end, to, True)
        return
    sum_chunks(job, id, s, x, m, middle, last, begin, end, spare, spare + job.plan.n_parameters*job.plan.z)
    for k in range(MAX_ARRAYS):
        if stage.arrays[k].at >= 0:
            range_of(stage, k, begin, end, &at, &n)
            add_sums(job.plan, to, spare, stage.arrays[k].at + at, n)


cdef void sum_own_chunks(Job* job, int id, int count, const char* x, Py_ssize_t m) noexcept nogil:
    """Sum the gradients over this thread's own chunks, of all stages where each thread has some."""
    cdef const Stage* stage
    cdef int s, chunks, own = chunks_in(m)//count
    for s in range(job.plan.n_stages - 1, job.lowest - 1, -1):  # the latest gradients are still in the cache
        stage = &job.plan.stages[s]
        chunks = chunks_of(stage, m)
        if learns(job, stage) and owns_chunks(chunks, count) and not (is_sparse(job, stage) or job.interrupted):
            sum_chunks(
                job, id, s, x, m, id*own, (id + 1)*own, 0, stage.parts, sums(job, id*own), sums(job, id*own + 1)
            )


cdef void learn_own(
        Job* job, int work, const Optimizer* optimizer, const Stage* stage, int id, int count, Py_ssize_t m
) noexcept nogil:
    """This thread's share of a stage's gradients, from the sums that each thread has over its own chunks, and of the
    update."""
    cdef const LearnedArray* array
    cdef int own = chunks_in(m)//count, step, i, k
    cdef Py_ssize_t first, n
    for k in range(MAX_ARRAYS):
        array = &stage.arrays[k]
        if array.at < 0:
            continue
        first = share(array.size, id, count, COLUMN_GRAIN)
        n = share(array.size, id + 1, count, COLUMN_GRAIN) - first
        if work & WEIGHTS:
            step = 1
            while step < count:
                i = 0
                while i < count:
                    add_sums(job.plan, sums(job, i*own), sums(job, (i + step)*own), array.at + first, n)
                    i += 2*step
                step *= 2
            take_sums(job, sums(job, 0), array.at + first, n)
        penalize_and_update(job, work, optimizer, array, first, n)


cdef inline void take_sums(const Job* job, const char* arena, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Store a range of an arena as gradients, or add it to them."""
    cdef Py_ssize_t offset = first*job.plan.z
    if job.accumulate:
        add_sums(job.plan, job.gradients, arena, first, n)
    else:
        memcpy(job.gradients + offset, arena + offset, <size_t>(n*job.plan.z))


cdef void learn_parts(
        Job* job, int work, const Optimizer* optimizer, int s, int id, int count, const char* x, Py_ssize_t m
) noexcept nogil:
    """This thread's share of a stage's gradients, and of the update."""
    cdef const Stage* stage = &job.plan.stages[s]
    if owns_chunks(chunks_of(stage, m), count):
        learn_own(job, work, optimizer, stage, id, count, m)
        return
    learn_range(
        job, work, optimizer, s, id, x, m, share(stage.parts, id, count, stage.grain),
        share(stage.parts, id + 1, count, stage.grain)
    )


cdef void learn_range(
        Job* job, int work, const Optimizer* optimizer, int s, int id, const char* x, Py_ssize_t m, Py_ssize_t begin,
        Py_ssize_t end
) noexcept nogil:
    """The gradients of parts `begin` to `end` of a stage's parameters, and their update."""
    cdef const Stage* stage = &job.plan.stages[s]
    cdef Py_ssize_t first, n
    cdef int k, chunks = chunks_of(stage, m), taken = job.accumulate
    if work & WEIGHTS:
        sum_chunks(
            job, id, s, x, m, 0, chunks, begin, end, sums(job, 0) if taken else job.gradients, sums(job, taken)
        )
    for k in range(MAX_ARRAYS):
        if stage.arrays[k].at < 0:
            continue
        range_of(stage, k, begin, end, &first, &n)
        if work & WEIGHTS and taken:
            take_sums(job, sums(job, 0), stage.arrays[k].at + first, n)
        penalize_and_update(job, work, optimizer, &stage.arrays[k], first, n)
