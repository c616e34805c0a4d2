# Columns of a table, encoded: numbers clipped smoothly and by pieces (Gorishniy et al. 2022), codes of categories
# one-hot or as rows of a learned table. A code that is not one of the column's is unknown: it gives zeros.
#
# Outputs are written by ascending column, pieces a vector at a time: what is written past a column's end the next one
# overwrites.


cdef inline const Encoding* encoding_of(const Encodings* columns, Py_ssize_t c) noexcept nogil:
    return <const Encoding*>(<const char*>columns + columns.each) + c


cdef inline const real* numbers_at(const Encodings* columns, Py_ssize_t offset) noexcept nogil:
    return <const real*>(<const char*>columns + offset)


cdef inline Py_ssize_t code_of(const Encoding* column, real x) noexcept nogil:
    """Return the code that a number is, or -1."""
    cdef Py_ssize_t code
    if not (x >= 0 and x < <real>column.codes):
        return -1
    code = <Py_ssize_t>x
    return code if <real>code == x else -1


cdef inline vreal bounded(const Encodings* columns, Py_ssize_t c, vreal x, vreal* divisor) noexcept nogil:
    """x within the limits of columns c, ..., and 1 + (x/clip)**2: the number is clipped to x/sqrt(divisor)."""
    cdef vreal limit = vload(numbers_at(columns, columns.limits) + c), t
    x = vselect(vlt(limit, x), limit, x)  # NaN passes both
    x = vselect(vlt(x, -limit), -limit, x)
    t = x*vload(numbers_at(columns, columns.inverses) + c)
    divisor[0] = vfma(t, t, vset(<real>1))
    return x


cdef inline void encode_pieces(
        const Encoding* column, const real* edges, real scale, real x, real* out, Py_ssize_t ldo
) noexcept nogil:
    cdef const real* inverses = edges + column.n
    cdef vreal value = vset(x), t
    cdef Py_ssize_t at = column.at + 1, end = column.at + column.n
    while at < end:
        t = (value - vload(edges))*vload(inverses)
        t = vselect(vlt(t, vzero()), vzero(), t)
        t = vselect(vlt(vset(<real>1), t), vset(<real>1), t)
        store_columns(out, at, end, ldo, vset(scale)*t)
        at += VW
        edges += VW
        inverses += VW


cdef inline void encode_code(
        const Encoding* column, Py_ssize_t code, const real* table, real* out
) noexcept nogil:
    cdef size_t size = column.n*sizeof(real)
    if column.kind == EMBEDDING and code >= 0:
        memcpy(out, table + column.numbers + code*column.n, size)
        return
    memset(out, 0, size)
    if code >= 0:
        out[0 if column.n == 1 else code] = <real>(2*code - 1) if column.n == 1 else 1


cdef void kernel_encode(
        Py_ssize_t m, const Encodings* columns, const void* x_, Py_ssize_t ldx, const void* table, void* out_,
        Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t n = columns.n, i, c
    cdef const real* x
    cdef real* out
    cdef const Encoding* column
    cdef real clipped[MAX_VW]
    cdef vreal values, divisor
    for i in range(m):
        x = <const real*>x_ + i*ldx
        out = <real*>out_ + i*ldo
        for c in range(n):
            column = encoding_of(columns, c)
            if c%VW == 0:
                values = bounded(columns, c, vload_before(x + c, x + n), &divisor)
                vstore(clipped, values/vsqrt(divisor))
            if column.kind == NUMBER:
                out[column.at] = clipped[c%VW]
                encode_pieces(
                    column, numbers_at(columns, columns.numbers) + column.numbers,
                    numbers_at(columns, columns.scales)[c], x[c], out, ldo
                )
            elif column.kind == FLAG:
                out[column.at] = x[c]
            else:
                encode_code(column, code_of(column, x[c]), <const real*>table, out + column.at)


cdef inline real slope_of_piece(const Encoding* column, const real* edges, real x, const real* gradient) noexcept nogil:
    """The gradient through the piece in which x lies; at an edge, the one below it."""
    cdef Py_ssize_t j
    for j in range(column.n - 1):
        if edges[j] < x <= edges[j + 1]:
            return edges[column.n + j]*gradient[column.at + 1 + j]
    return 0


cdef void kernel_encode_backward(
        Py_ssize_t m, const Encodings* columns, const void* gradient_, Py_ssize_t ldg, const void* x_, Py_ssize_t ldx,
        void* out_, Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t n = columns.n, i, c
    cdef const real* x
    cdef const real* gradient
    cdef real* out
    cdef const Encoding* column
    cdef real slopes[MAX_VW]
    cdef vreal divisor
    for i in range(m):
        x = <const real*>x_ + i*ldx
        gradient = <const real*>gradient_ + i*ldg
        out = <real*>out_ + i*ldo
        for c in range(n):
            column = encoding_of(columns, c)
            if c%VW == 0:
                bounded(columns, c, vload_before(x + c, x + n), &divisor)
                vstore(slopes, vset(<real>1)/(divisor*vsqrt(divisor)))
            if column.kind == NUMBER:
                out[c] = slopes[c%VW]*gradient[column.at] + numbers_at(columns, columns.scales)[c]*slope_of_piece(
                    column, numbers_at(columns, columns.numbers) + column.numbers, x[c], gradient
                )
            else:
                out[c] = gradient[column.at] if column.kind == FLAG else 0


cdef void kernel_encode_backward_table(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const Encodings* columns, const void* gradient_,
        Py_ssize_t ldg, const void* x_, Py_ssize_t ldx, void* out_
) noexcept nogil:
    """Each number is a sum in row order, whichever others are computed with it."""
    cdef const Encoding* column
    cdef const real* gradient
    cdef real* out = <real*>out_
    cdef Py_ssize_t c, i, at, code, begin, n
    memset(out + first, 0, (last - first)*sizeof(real))
    for c in range(columns.n):
        column = encoding_of(columns, c)
        if column.kind != EMBEDDING or column.numbers >= last or column.numbers + column.codes*column.n <= first:
            continue
        for i in range(m):
            code = code_of(column, (<const real*>x_)[i*ldx + c])
            if code < 0:
                continue
            at = column.numbers + code*column.n
            begin = max(first - at, <Py_ssize_t>0)
            n = min(last - at, column.n) - begin
            if n > 0:
                gradient = <const real*>gradient_ + i*ldg + column.at + begin
                kernel_add(1, n, out + at + begin, n, gradient, n, out + at + begin, n)
