# A dense layer whose input is sparse: rows of which only some elements are stored, each with its column.
#
# The sums are those of `matmul` without the terms that are zero. Leaving these out changes no bit, because a chain of
# multiply-adds that begins with 0 stays as it is when 0 times a finite number is added. (What differs: a parameter or
# gradient that is infinite or NaN reaches only outputs of rows that store its feature; and where a product is too small
# for the dtype, the sign of a zero.)

cdef extern from *:
    """
    #define nnfast_ask_for(p) __builtin_prefetch((const void *)(p))
    """
    void ask_for "nnfast_ask_for" (const void*) nogil

cdef enum:
    ROW_NV = 8        # vectors of a row in registers
    AHEAD = 8         # elements after which a row of weights is needed
    CACHE_LINE = 64
    SUM_LEVELS = 3    # of the tree of sums over at most 8 chunks


cdef inline void ask_for_row(const real* row, Py_ssize_t n) noexcept nogil:
    """Ask for the cache lines of at most ROW_NV vectors of a row: the processor cannot foresee which one is next."""
    cdef Py_ssize_t i = 0, bytes = min(n, <Py_ssize_t>ROW_NV*VW)*<Py_ssize_t>sizeof(real)
    while i < bytes:
        ask_for(<const char*>row + i)
        i += CACHE_LINE
    ask_for(<const char*>row + bytes - 1)


# ---- forward

cdef inline void sparse_panel(
        int NV, Py_ssize_t n, Py_ssize_t count, const real* values, const int32_t* columns, const real* W,
        Py_ssize_t ldw, real* out
) noexcept nogil:
    """At most NV vectors of a row of the product, in registers: see `row_panel`."""
    cdef vreal c[ROW_NV]
    cdef vreal a
    cdef const real* w
    cdef Py_ssize_t e
    cdef int q
    for q in range(NV):
        c[q] = vzero()
    for e in range(count):
        if e + AHEAD < count:
            ask_for_row(W + columns[e + AHEAD]*ldw, n)
        a = vset(values[e])
        w = W + columns[e]*ldw
        for q in range(NV):
            c[q] = vfma(a, vload(w + q*VW), c[q])
    for q in range(NV - 1):
        vstore(out + q*VW, c[q])
    vstore_part(out + (NV - 1)*VW, c[NV - 1], n - (NV - 1)*VW)


cdef void sparse_row(
        Py_ssize_t n, Py_ssize_t count, const real* values, const int32_t* columns, const real* W, Py_ssize_t ldw,
        real* out
) noexcept nogil:
    """A row of the product."""
    cdef Py_ssize_t j = 0, vectors
    while j < n:
        vectors = (n - j + VW - 1)//VW
        if vectors == 1: sparse_panel(1, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 2: sparse_panel(2, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 3: sparse_panel(3, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 4: sparse_panel(4, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 5: sparse_panel(5, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 6: sparse_panel(6, n - j, count, values, columns, W + j, ldw, out + j)
        elif vectors == 7: sparse_panel(7, n - j, count, values, columns, W + j, ldw, out + j)
        else: sparse_panel(8, min(n - j, <Py_ssize_t>8*VW), count, values, columns, W + j, ldw, out + j)
        j += ROW_NV*VW


cdef void sparse_dots(
        Py_ssize_t n, Py_ssize_t count, const real* values, const int32_t* columns, const real* W, Py_ssize_t ldw,
        real* out
) noexcept nogil:
    """A few columns of a row of the product in the order of `dots`: a chain for each lane of a vector along the
    features, and the tree of `vsum`. Here vectors run along the columns."""
    cdef vreal c[MAX_VW]
    cdef Py_ssize_t e
    cdef int q, half = VW//2
    for q in range(VW):
        c[q] = vzero()
    for e in range(count):
        q = columns[e]%VW
        c[q] = vfma(vset(values[e]), vload(W + columns[e]*ldw), c[q])
    while half:
        for q in range(half):
            c[q] = c[q] + c[q + half]
        half //= 2
    vstore_part(out, c[0], n)


cdef void kernel_sparse_dense(
        Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_out, const SparseRows* x, const void* W_, const void* b,
        int function, double alpha, void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef const real* W = <const real*>W_
    cdef real* out = <real*>out_
    cdef const real* values
    cdef const int32_t* columns
    cdef Py_ssize_t dotted = dotted_columns(n_in, n_out) if n_in > 1 else 0, i, count, n = n_out - dotted
    for i in range(m):
        count = x.ends[i] - x.starts[i]
        values = <const real*>x.values + x.starts[i]
        columns = x.columns + x.starts[i]
        sparse_row(n, count, values, columns, W, n_out, out + i*ldo)
        if dotted:
            sparse_dots(dotted, count, values, columns, W + n, n_out, out + i*ldo + n)
    finish_dense(m, n_out, <const real*>b, function, alpha, out, ldo)


# ---- the stored elements of a mini-batch by column

cdef void kernel_sparse_turn(
        Py_ssize_t m, const SparseRows* x, Py_ssize_t first, Py_ssize_t last, SparseColumns* out
) noexcept nogil:
    """A counting sort. Its counters belong to columns that occur, so that its time does not depend on their total."""
    cdef Py_ssize_t i, e, before = 0, n = 0, end = 0, count
    cdef int64_t at
    cdef int32_t j
    if first > 0:
        for i in range(m):
            for e in range(x.starts[i], x.ends[i]):
                before += x.columns[e] < first
    out.values = <real*>out.values + before
    out.rows += before
    out.columns += before
    out.ends += before
    for i in range(m):
        for e in range(x.starts[i], x.ends[i]):
            j = x.columns[e]
            if not first <= j < last:
                continue
            if out.slots[j] < 0:
                out.slots[j] = <int32_t>n
                out.columns[n] = j
                out.ends[n] = 0
                n += 1
            out.ends[out.slots[j]] += 1
    for i in range(n):
        count = out.ends[i]
        out.ends[i] = end
        end += count
    for i in range(m):
        for e in range(x.starts[i], x.ends[i]):
            j = x.columns[e]
            if first <= j < last:
                at = out.ends[out.slots[j]]
                out.ends[out.slots[j]] += 1
                out.rows[at] = <int32_t>i
                (<real*>out.values)[at] = (<const real*>x.values)[e]
    out.n = n


# ---- gradient of the weights

cdef struct ColumnSums:
    const SparseColumns* x
    const real* gradient
    Py_ssize_t ldg
    const int64_t* chunk_ends  # the first row after each chunk of rows
    int chunks


cdef inline void chain_of_rows(
        int NV, const ColumnSums* s, Py_ssize_t first, Py_ssize_t last, Py_ssize_t j, vreal* c
) noexcept nogil:
    """NV vectors of the gradient, from column `j` of it on, summed over some elements: a chain in the order of rows."""
    cdef const real* values = <const real*>s.x.values
    cdef const real* g
    cdef vreal a
    cdef Py_ssize_t e
    cdef int q
    for q in range(NV):
        c[q] = vzero()
    for e in range(first, last):
        a = vset(values[e])
        g = s.gradient + s.x.rows[e]*s.ldg + j
        for q in range(NV):
            c[q] = vfma(a, vload(g + q*VW), c[q])


cdef inline void sum_column(int NV, const ColumnSums* s, Py_ssize_t slot, Py_ssize_t j, vreal* c) noexcept nogil:
    """The same, for all elements of a column: a sum for each chunk of rows, and these added in pairs."""
    cdef vreal waiting[SUM_LEVELS*ROW_NV]
    cdef Py_ssize_t e = s.x.ends[slot - 1] if slot > 0 else 0, end = s.x.ends[slot], after
    cdef int chunk, level, q
    if s.chunks == 1:
        chain_of_rows(NV, s, e, end, j, c)
        return
    for chunk in range(s.chunks):
        after = e
        while after < end and s.x.rows[after] < s.chunk_ends[chunk]:
            after += 1
        chain_of_rows(NV, s, e, after, j, c)
        e = after
        level = 0
        while chunk >> level & 1:
            for q in range(NV):
                c[q] = waiting[level*NV + q] + c[q]
            level += 1
        if chunk + 1 < s.chunks:
            for q in range(NV):
                waiting[level*NV + q] = c[q]


cdef inline void gradient_panel(
        int NV, const ColumnSums* s, Py_ssize_t slot, Py_ssize_t j, Py_ssize_t n, real* out
) noexcept nogil:
    cdef vreal c[ROW_NV]
    cdef int q
    sum_column(NV, s, slot, j, c)
    for q in range(NV - 1):
        vstore(out + q*VW, c[q])
    vstore_part(out + (NV - 1)*VW, c[NV - 1], n - (NV - 1)*VW)


cdef inline void descend_panel(
        int NV, bint plain, const ColumnSums* s, Py_ssize_t slot, Py_ssize_t j, Py_ssize_t n, real* p,
        const Optimizer* o
) noexcept nogil:
    cdef vreal c[ROW_NV]
    cdef vreal rate = vset(<real>(-o.learning_rate)), P
    cdef int q
    sum_column(NV, s, slot, j, c)
    for q in range(NV - 1):
        P = vload(p + q*VW)
        vstore(p + q*VW, vfma(rate, vprepared(plain, c[q], P, o), P))
    q = NV - 1
    P = vload_part(p + q*VW, n - q*VW, <real>0)
    vstore_part(p + q*VW, vfma(rate, vprepared(plain, c[q], P, o), P), n - q*VW)


cdef inline void weights_row(
        bint descends, bint plain, const ColumnSums* s, Py_ssize_t slot, Py_ssize_t n, real* out, const Optimizer* o
) noexcept nogil:
    """Compute a row of the gradient, or update a row of the weights with it."""
    cdef Py_ssize_t j = 0, vectors
    while j < n:
        vectors = (n - j + VW - 1)//VW
        if descends:
            if vectors == 1: descend_panel(1, plain, s, slot, j, n - j, out + j, o)
            elif vectors == 2: descend_panel(2, plain, s, slot, j, n - j, out + j, o)
            elif vectors == 3: descend_panel(3, plain, s, slot, j, n - j, out + j, o)
            elif vectors == 4: descend_panel(4, plain, s, slot, j, n - j, out + j, o)
            elif vectors < 8: descend_panel(4, plain, s, slot, j, <Py_ssize_t>4*VW, out + j, o)
            else: descend_panel(8, plain, s, slot, j, min(n - j, <Py_ssize_t>8*VW), out + j, o)
        else:
            if vectors == 1: gradient_panel(1, s, slot, j, n - j, out + j)
            elif vectors == 2: gradient_panel(2, s, slot, j, n - j, out + j)
            elif vectors == 3: gradient_panel(3, s, slot, j, n - j, out + j)
            elif vectors == 4: gradient_panel(4, s, slot, j, n - j, out + j)
            elif vectors < 8: gradient_panel(4, s, slot, j, <Py_ssize_t>4*VW, out + j)
            else: gradient_panel(8, s, slot, j, min(n - j, <Py_ssize_t>8*VW), out + j)
        j += (8 if vectors >= 8 else 4)*VW


cdef void kernel_sparse_backward_weights(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t n_out, const SparseColumns* x, const void* gradient,
        Py_ssize_t ldg, const int64_t* chunk_ends, int chunks, void* out
) noexcept nogil:
    cdef ColumnSums s = ColumnSums(x, <const real*>gradient, ldg, chunk_ends, chunks)
    cdef Py_ssize_t j
    cdef real* row
    for j in range(first, last):
        row = <real*>out + j*n_out
        if x.slots[j] < 0:
            memset(row, 0, <size_t>n_out*sizeof(real))
        else:
            weights_row(False, False, &s, x.slots[j], n_out, row, NULL)


cdef void kernel_sparse_descend(
        Py_ssize_t n_out, const SparseColumns* x, const void* gradient, Py_ssize_t ldg, const int64_t* chunk_ends,
        int chunks, void* weights, const Optimizer* optimizer
) noexcept nogil:
    cdef ColumnSums s = ColumnSums(x, <const real*>gradient, ldg, chunk_ends, chunks)
    cdef Optimizer o = optimizer[0]
    cdef real* W = <real*>weights
    cdef Py_ssize_t slot
    for slot in range(x.n):
        if slot + AHEAD < x.n:
            ask_for_row(W + x.columns[slot + AHEAD]*n_out, n_out)
        if changes_gradient(&o):
            weights_row(True, False, &s, slot, n_out, W + x.columns[slot]*n_out, &o)
        else:
            weights_row(True, True, &s, slot, n_out, W + x.columns[slot]*n_out, &o)
