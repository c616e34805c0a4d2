# Columns of a table, encoded: numbers clipped smoothly and by pieces (Gorishniy et al. 2022), codes of categories
# one-hot or as rows of a learned table. A code that is not one of the column's is unknown: it gives zeros.
#
# Outputs are written by ascending column, a vector at a time: what a column writes past its end the next one
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


cdef inline void encode_number(
        const Encoding* column, const real* edges, real x, real clipped, real* out, Py_ssize_t ldo
) noexcept nogil:
    cdef const real* inverses = edges + column.n
    cdef vreal scale = vset(<real>column.scale), value = vset(x), t
    cdef Py_ssize_t at = column.at + 1, end = column.at + column.n, j = 0
    out[column.at] = clipped
    while at < end:
        t = (value - vload(edges + j))*vload(inverses + j)
        t = vselect(vlt(t, vzero()), vzero(), t)
        t = vselect(vlt(vset(<real>1), t), vset(<real>1), t)
        store_columns(out, at, end, ldo, scale*t)
        at += VW
        j += VW


cdef inline void encode_code(
        const Encoding* column, Py_ssize_t code, const real* table, real* out, Py_ssize_t ldo
) noexcept nogil:
    cdef Py_ssize_t end = column.at + column.n, at = column.at
    cdef bint copies = column.kind == EMBEDDING and code >= 0
    cdef const real* row = table + column.numbers + code*column.n if copies else NULL
    while at < end:
        store_columns(out, at, end, ldo, vload(row + at - column.at) if copies else vzero())
        at += VW
    if column.kind == ONE_HOT and code >= 0:
        if column.n == 1:
            out[column.at] = <real>(2*code - 1)
        else:
            out[column.at + code] = 1


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
                encode_number(
                    column, numbers_at(columns, columns.numbers) + column.numbers, x[c], clipped[c%VW], out, ldo
                )
            elif column.kind == FLAG:
                out[column.at] = x[c]
            else:
                encode_code(column, code_of(column, x[c]), <const real*>table, out, ldo)


cdef inline real slope_of_pieces(
        const Encoding* column, const real* edges, real x, const real* gradient
) noexcept nogil:
    """The part of the gradient that comes through the piece in which x lies; at an edge, the one below it."""
    cdef const real* inverses = edges + column.n
    cdef vreal total = vzero(), value = vset(x), slope
    cdef vint inside
    cdef Py_ssize_t at = column.at + 1, end = column.at + column.n, j = 0
    while at < end:
        inside = vlt(vload(edges + j), value) & vle(value, vload(edges + j + 1))
        slope = vload(inverses + j)*vload_before(gradient + at, gradient + end)  # 0 past the end
        total = total + vselect(inside, slope, vzero())
        at += VW
        j += VW
    return vsum(total)*<real>column.scale


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
                out[c] = slopes[c%VW]*gradient[column.at] + slope_of_pieces(
                    column, numbers_at(columns, columns.numbers) + column.numbers, x[c], gradient
                )
            else:
                out[c] = gradient[column.at] if column.kind == FLAG else 0


cdef void kernel_encode_backward_table(
        Py_ssize_t first, Py_ssize_t last, Py_ssize_t m, const Encodings* columns, const void* gradient_,
        Py_ssize_t ldg, const void* x_, Py_ssize_t ldx, void* out_
) noexcept nogil:
    """Each number is a sum in row order, whichever others are computed with it."""
    cdef const real* gradient
    cdef real* out = <real*>out_
    cdef const Encoding* column
    cdef Py_ssize_t c, i, j, at, code
    for at in range(first, last):
        out[at] = 0
    for c in range(columns.n):
        column = encoding_of(columns, c)
        if column.kind != EMBEDDING or column.numbers >= last or column.numbers + column.codes*column.n <= first:
            continue
        for i in range(m):
            code = code_of(column, (<const real*>x_)[i*ldx + c])
            at = column.numbers + code*column.n
            if code >= 0 and at < last:
                gradient = <const real*>gradient_ + i*ldg + column.at
                for j in range(max(first - at, <Py_ssize_t>0), min(last - at, column.n)):
                    out[at + j] += gradient[j]
