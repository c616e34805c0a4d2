# Rows of numbers of any dtype, wherever they lie, as rows of reals: data are converted while a batch is gathered.
#
# Each number is rounded once, to the nearest, as NumPy's astype does. The memory need not be aligned. float16 is
# decoded with integers, so that its subnormal numbers are exact even where those of float32 are flushed to zero.
# Between float32 and float64, the caller's floating-point mode decides.

cdef extern from *:
    """
    INLINE float nnfast_half(uint16_t h) {
        uint32_t body = h & 0x7fff, bits, small;
        float tiny = (float)(int32_t)body * 0x1p-24f; /* a subnormal is a multiple of 2**-24, which is normal here */
        memcpy(&small, &tiny, sizeof small);
        bits = (body << 13) + (112u << 23) + (body >= 0x7c00 ? 112u << 23 : 0); /* infinity and NaN */
        bits = (body < 0x400 ? small : bits) | (uint32_t)(h & 0x8000) << 16;
        memcpy(&tiny, &bits, sizeof tiny);
        return tiny;
    }
    #define NNFAST_LOAD(name, type, value) \\
        INLINE real nnfast_##name(const char *p) { type v; memcpy(&v, p, sizeof v); return (real)(value); }
    NNFAST_LOAD(bool, uint8_t, v != 0)
    NNFAST_LOAD(int8, int8_t, v)
    NNFAST_LOAD(uint8, uint8_t, v)
    NNFAST_LOAD(int16, int16_t, v)
    NNFAST_LOAD(uint16, uint16_t, v)
    NNFAST_LOAD(int32, int32_t, v)
    NNFAST_LOAD(uint32, uint32_t, v)
    NNFAST_LOAD(int64, int64_t, v)
    NNFAST_LOAD(uint64, uint64_t, v)
    NNFAST_LOAD(float16, uint16_t, nnfast_half(v))
    NNFAST_LOAD(float32, float, v)
    NNFAST_LOAD(float64, double, v)
    """
    real nnfast_bool(const char*) nogil
    real nnfast_int8(const char*) nogil
    real nnfast_uint8(const char*) nogil
    real nnfast_int16(const char*) nogil
    real nnfast_uint16(const char*) nogil
    real nnfast_int32(const char*) nogil
    real nnfast_uint32(const char*) nogil
    real nnfast_int64(const char*) nogil
    real nnfast_uint64(const char*) nogil
    real nnfast_float16(const char*) nogil
    real nnfast_float32(const char*) nogil
    real nnfast_float64(const char*) nogil

cdef extern from * nogil:
    void prefetch "__builtin_prefetch" (const void*)

cdef enum:
    ROWS_DOWN = 64  # of a column that is read downwards: the cache keeps that many lines of the output


cdef inline real number_at(int number, const char* p) noexcept nogil:
    if number == BOOL:
        return nnfast_bool(p)
    if number == INT8:
        return nnfast_int8(p)
    if number == UINT8:
        return nnfast_uint8(p)
    if number == INT16:
        return nnfast_int16(p)
    if number == UINT16:
        return nnfast_uint16(p)
    if number == INT32:
        return nnfast_int32(p)
    if number == UINT32:
        return nnfast_uint32(p)
    if number == INT64:
        return nnfast_int64(p)
    if number == UINT64:
        return nnfast_uint64(p)
    if number == FLOAT16:
        return nnfast_float16(p)
    if number == FLOAT32:
        return nnfast_float32(p)
    return nnfast_float64(p)


cdef inline void convert_down(
        int number, Py_ssize_t m, Py_ssize_t n, const char* x, Py_ssize_t row_stride, Py_ssize_t column_stride,
        const int64_t* rows, real* out, Py_ssize_t ldo
) noexcept nogil:
    """Column by column; the numbers of the next one are asked for where rows are scattered."""
    cdef Py_ssize_t i, j
    for j in range(n):
        if rows == NULL:
            for i in range(m):
                out[i*ldo + j] = number_at(number, x + i*row_stride + j*column_stride)
        else:
            for i in range(m):
                prefetch(x + rows[i]*row_stride + (j + 1)*column_stride)
                out[i*ldo + j] = number_at(number, x + rows[i]*row_stride + j*column_stride)


cdef inline void convert_rows(
        int number, Py_ssize_t m, Py_ssize_t n, const char* x, Py_ssize_t row_stride, Py_ssize_t column_stride,
        const int64_t* rows, real* out, Py_ssize_t ldo
) noexcept nogil:
    """Row by row where the numbers of a row lie next to each other."""
    cdef Py_ssize_t i = 0, j, size = number_size(number), some
    cdef const char* row
    if column_stride == size and n > 1:
        for i in range(m):
            row = x + (i if rows == NULL else rows[i])*row_stride
            for j in range(n):
                out[i*ldo + j] = number_at(number, row + j*size)
        return
    while i < m:
        some = min(m - i, <Py_ssize_t>ROWS_DOWN)
        if rows != NULL:
            convert_down(number, some, n, x, row_stride, column_stride, rows + i, out + i*ldo, ldo)
        else:
            convert_down(number, some, n, x + i*row_stride, row_stride, column_stride, NULL, out + i*ldo, ldo)
        i += some


cdef void kernel_convert(
        int number, Py_ssize_t m, Py_ssize_t n, const void* x, Py_ssize_t row_stride, Py_ssize_t column_stride,
        const int64_t* rows, void* out, Py_ssize_t ldo
) noexcept nogil:
    cdef const char* at = <const char*>x
    cdef real* to = <real*>out
    if number == BOOL:
        convert_rows(BOOL, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == INT8:
        convert_rows(INT8, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == UINT8:
        convert_rows(UINT8, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == INT16:
        convert_rows(INT16, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == UINT16:
        convert_rows(UINT16, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == INT32:
        convert_rows(INT32, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == UINT32:
        convert_rows(UINT32, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == INT64:
        convert_rows(INT64, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == UINT64:
        convert_rows(UINT64, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == FLOAT16:
        convert_rows(FLOAT16, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == FLOAT32:
        convert_rows(FLOAT32, m, n, at, row_stride, column_stride, rows, to, ldo)
    elif number == FLOAT64:
        convert_rows(FLOAT64, m, n, at, row_stride, column_stride, rows, to, ldo)
    else:
        trap()
