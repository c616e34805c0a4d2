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
    ASKED_BYTES = 512
    SUM_LEVELS = 3    # of the tree of sums over at most 8 chunks


cdef inline void ask_for_row(const real* row, Py_ssize_t n) noexcept nogil:
    """Ask for the cache lines of the next row of weights, or its beginning: the processor cannot foresee which one it
    is."""
    cdef Py_ssize_t i = 0, bytes = min(n*<Py_ssize_t>sizeof(real), <Py_ssize_t>ASKED_BYTES)
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

cdef extern from "simd.h" nogil:
    ctypedef int ireal  # of the size of a real

cdef struct Element:
    ireal row  # below 2**31
    real value


cdef void kernel_sparse_turn(
        Py_ssize_t m, const SparseRows* x, Py_ssize_t first, Py_ssize_t last, SparseColumns* out
) noexcept nogil:
    """A counting sort. Only columns that occur have counters to add, so its time does not depend on how many there
    are."""
    cdef int32_t* places = out.places
    cdef int32_t* columns
    cdef int32_t* ends
    cdef Element* elements
    cdef const int32_t* column_of = x.columns
    cdef const real* values = <const real*>x.values
    cdef Py_ssize_t i, e, n = 0, before = 0
    cdef int32_t j, count, end = 0
    if first > 0:
        for i in range(m):
            for e in range(x.starts[i], x.ends[i]):
                before += column_of[e] < first
    elements, columns, ends = <Element*>out.elements + before, out.columns + before, out.ends + before
    for i in range(m):
        for e in range(x.starts[i], x.ends[i]):
            j = column_of[e]
            if first <= j < last:
                columns[n] = j  # without a branch, which would often be mispredicted
                n += places[j] == 0
                places[j] += 1
    for i in range(n):
        count = places[columns[i]]
        places[columns[i]] = end
        end += count
        ends[i] = end
    for i in range(m):
        for e in range(x.starts[i], x.ends[i]):
            j = column_of[e]
            if first <= j < last:
                elements[places[j]].row = <ireal>i
                elements[places[j]].value = values[e]
                places[j] += 1
    for i in range(n):
        places[columns[i]] = <int32_t>(i + 1)
    out.elements, out.columns, out.ends, out.n = elements, columns, ends, n


# ---- gradient of the weights

cdef struct Chunks:  # of the rows of the batch
    const int64_t* ends
    int n


cdef inline const Element* add_elements(
        int NV, const Element* e, const Element* last, int64_t end, const real* gradient, Py_ssize_t ldg, vreal* c
) noexcept nogil:
    """Add NV vectors of the gradient of rows before `end`, times the elements of a column in these rows, in their
    order. Return the next element."""
    cdef const real* g
    cdef vreal a
    cdef int q
    while e < last and e.row < end:
        a = vset(e.value)
        g = gradient + e.row*ldg
        for q in range(NV):
            c[q] = vfma(a, vload(g + q*VW), c[q])
        e += 1
    return e


cdef inline void add_chunks(
        int NV, const Element* e, const Element* last, const real* gradient, Py_ssize_t ldg, const Chunks* chunks,
        vreal* c
) noexcept nogil:
    """The same for all rows: a sum for each chunk, and these added in pairs."""
    cdef vreal waiting[SUM_LEVELS*ROW_NV]
    cdef vreal sum[ROW_NV]
    cdef int chunk = 0, level, q
    while chunks.ends[chunk] <= e.row:
        chunk += 1
    if (last - 1).row < chunks.ends[chunk]:  # all in one chunk: the others add zeros
        for q in range(NV):
            c[q] = vzero()
        add_elements(NV, e, last, chunks.ends[chunk], gradient, ldg, c)
        for q in range(NV):
            c[q] = c[q] + vzero()
        return
    for chunk in range(chunks.n):
        for q in range(NV):
            sum[q] = vzero()
        e = add_elements(NV, e, last, chunks.ends[chunk], gradient, ldg, sum)
        level = 0
        while chunk >> level & 1:
            for q in range(NV):
                sum[q] = waiting[level*NV + q] + sum[q]
            level += 1
        for q in range(NV):
            if chunk + 1 < chunks.n:
                waiting[level*NV + q] = sum[q]
            else:
                c[q] = sum[q]


cdef inline void weights_panel(
        int NV, bint splits, bint descends, bint plain, Py_ssize_t n, const Element* e, const Element* last,
        const real* gradient, Py_ssize_t ldg, const Chunks* chunks, real* out, const Optimizer* o
) noexcept nogil:
    """At most NV vectors of a row of the gradient, or of a row of the weights that is updated with it."""
    cdef vreal c[ROW_NV]
    cdef vreal P
    cdef int q
    for q in range(NV):
        c[q] = vzero()
    if splits:
        add_chunks(NV, e, last, gradient, ldg, chunks, c)
    else:
        add_elements(NV, e, last, chunks.ends[0], gradient, ldg, c)
    if descends:
        for q in range(NV):
            P = vload(out + q*VW) if q < NV - 1 else vload_part(out + q*VW, n - q*VW, <real>0)
            c[q] = vfma(vset(<real>(-o.learning_rate)), vprepared(plain, c[q], P, o), P)
    for q in range(NV - 1):
        vstore(out + q*VW, c[q])
    vstore_part(out + (NV - 1)*VW, c[NV - 1], n - (NV - 1)*VW)


cdef inline void weights_row(
        bint splits, bint descends, bint plain, Py_ssize_t n, const Element* e, const Element* last, const real* g,
        Py_ssize_t ldg, const Chunks* chunks, real* out, const Optimizer* o
) noexcept nogil:
    cdef Py_ssize_t j = 0, left = (n + VW - 1)//VW, some
    while left > 0:
        some = 8 if left >= 8 else 4 if left > 4 else left
        if some == 1:
            weights_panel(1, splits, descends, plain, n - j, e, last, g + j, ldg, chunks, out + j, o)
        elif some == 2:
            weights_panel(2, splits, descends, plain, n - j, e, last, g + j, ldg, chunks, out + j, o)
        elif some == 3:
            weights_panel(3, splits, descends, plain, n - j, e, last, g + j, ldg, chunks, out + j, o)
        elif some == 4:
            weights_panel(
                4, splits, descends, plain, min(n - j, <Py_ssize_t>4*VW), e, last, g + j, ldg, chunks, out + j, o
            )
        else:
            weights_panel(
                8, splits, descends, plain, min(n - j, <Py_ssize_t>8*VW), e, last, g + j, ldg, chunks, out + j, o
            )
        j += some*VW
        left -= some


cdef inline void weights_rows(
        bint splits, bint descends, bint plain, Py_ssize_t first, Py_ssize_t last, Py_ssize_t n,
        const SparseColumns* x_, const real* gradient, Py_ssize_t ldg, const Chunks* chunks, real* out,
        const Optimizer* o
) noexcept nogil:
    """Rows `first` to `last` of the gradient; or update the rows of the weights for the columns that have an element,
    of these columns number `first` to `last`."""
    cdef SparseColumns x = x_[0]  # a copy, which the compiler knows no store can change
    cdef const Element* elements = <const Element*>x.elements
    cdef Py_ssize_t i, place
    cdef real* row
    for i in range(first, last):
        row = out + (x.columns[i] if descends else i)*n
        place = i if descends else x.places[i] - 1
        if descends and i + AHEAD < last:
            ask_for_row(out + x.columns[i + AHEAD]*n, n)
        if place < 0:
            memset(row, 0, <size_t>n*sizeof(real))
        else:
            weights_row(
                splits, descends, plain, n, elements + (x.ends[place - 1] if place > 0 else 0),
                elements + x.ends[place], gradient, ldg, chunks, row, o
            )


cdef void kernel_sparse_backward_weights(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t n_out, const SparseColumns* x, const void* gradient,
        Py_ssize_t ldg, const int64_t* chunk_ends, int chunks, void* out
) noexcept nogil:
    cdef Chunks c = Chunks(chunk_ends, chunks)
    cdef const real* g = <const real*>gradient
    if chunks == 1:
        weights_rows(False, False, True, first, last, n_out, x, g, ldg, &c, <real*>out, NULL)
    else:
        weights_rows(True, False, True, first, last, n_out, x, g, ldg, &c, <real*>out, NULL)


cdef void kernel_sparse_descend(
        Py_ssize_t n_out, const SparseColumns* x, const void* gradient, Py_ssize_t ldg, const int64_t* chunk_ends,
        int chunks, void* weights, const Optimizer* optimizer
) noexcept nogil:
    cdef Chunks c = Chunks(chunk_ends, chunks)
    cdef Optimizer o = optimizer[0]
    cdef const real* g = <const real*>gradient
    cdef real* W = <real*>weights
    if chunks == 1 and not changes_gradient(&o):
        weights_rows(False, True, True, 0, x.n, n_out, x, g, ldg, &c, W, &o)
    elif not changes_gradient(&o):
        weights_rows(True, True, True, 0, x.n, n_out, x, g, ldg, &c, W, &o)
    else:
        weights_rows(True, True, False, 0, x.n, n_out, x, g, ldg, &c, W, &o)
