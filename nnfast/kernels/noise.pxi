# Counter-based noise: the number of an element is a hash of (key, row, column) and of nothing else, so it is the same
# at every level, in both dtypes and on any number of threads.
#
# SplitMix64 of key and row gives each row 64 bits. They enter the hash of a column in two halves, one before each
# multiplication: the hash is `lowbias32` by Chris Wellons (hash-prospector, 2018), and with one half in its middle no
# two rows contain the same sequence of numbers at different positions.

cdef inline vuint vhash(vuint column, uint64_t row_key) noexcept nogil:
    """32 random bits for each column."""
    cdef vuint x = column + vuset(<uint32_t>row_key)
    x = x ^ (x >> 16)
    x = x*vuset(0x7feb352dU)
    x = x ^ (x >> 15) ^ vuset(<uint32_t>(row_key >> 32))
    x = x*vuset(0x846ca68bU)
    return x ^ (x >> 16)


cdef void kernel_dropout(
        double rate, uint64_t key, Py_ssize_t row0, Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx,
        void* keep_, Py_ssize_t ldk, void* y_, Py_ssize_t ldy
) noexcept nogil:
    cdef vuint threshold = vuset(<uint32_t>(rate*4294967296.0)), column, count = vucount(0)
    cdef vreal kept, scale = vset(<real>(1/(1 - rate)))
    cdef uint64_t row_key, base = mix64(key)
    cdef Py_ssize_t i, j
    cdef const real* x
    cdef real* keep
    cdef real* y
    for i in range(m):
        x = <const real*>x_ + i*ldx
        keep = <real*>keep_ + i*ldk
        y = <real*>y_ + i*ldy
        row_key = mix64(base + <uint64_t>(row0 + i))
        column = count
        j = 0
        while j < n:
            kept = vselect(vuge(vhash(column, row_key), threshold), scale, vzero())
            if j + VW <= n:
                vstore(keep + j, kept)
                vstore(y + j, vload(x + j)*kept)
            else:
                store_columns(keep, j, n, ldk, kept)
                store_columns(y, j, n, ldy, vload_before(x + j, x + n)*kept)
            column = column + vuset(VW)
            j += VW


cdef inline vreal vsinpi(vreal x) noexcept nogil:
    """sin(pi x) for |x| <= 1/2, by polynomials with minimax relative error: 6e-9 in float32, 3e-19 in float64."""
    cdef vreal u = x*x, p
    if sizeof(real) == 4:
        p = vset(<real>0.07756038745603793574)
        p = vfma(p, u, vset(<real>-0.59824212669085630018))
        p = vfma(p, u, vset(<real>2.5500697263871117636))
        p = vfma(p, u, vset(<real>-5.1677096848024983791))
        p = vfma(p, u, vset(<real>3.141592636895433859))
    else:
        p = vset(<real>7.6947273535109158889e-7)
        p = vfma(p, u, vset(<real>-2.1903185426403838879e-5))
        p = vfma(p, u, vset(<real>4.6629968877782109137e-4))
        p = vfma(p, u, vset(<real>-7.3704304787873164716e-3))
        p = vfma(p, u, vset(<real>0.082145886569892996467))
        p = vfma(p, u, vset(<real>-0.59926452931873825815))
        p = vfma(p, u, vset(<real>2.5501640398772939403))
        p = vfma(p, u, vset(<real>-5.1677127800499695287))
        p = vfma(p, u, vset(<real>3.1415926535897932377))
    return x*p


cdef inline vreal vnormal(vuint column, uint64_t row_key) noexcept nogil:
    """Standard normal numbers (Box and Muller 1958), at most 5.77 in size: sqrt(-2 log(u)) sin(pi v).

    u in (0, 1] and v in [-1/2, 1/2] are multiples of 2**-24, exact in both dtypes. sin(pi v) has the distribution of
    the cosine of a uniform angle.
    """
    cdef vreal u = vfma(vupper(vhash(column, row_key)), vset(<real>(2.0**-24)), vset(<real>(0.5 + 2.0**-24)))
    cdef vreal v = vupper(vhash(column, mix64(row_key)))*vset(<real>(2.0**-24))
    return vsqrt(vlog(u)*vset(<real>-2))*vsinpi(v)


cdef void kernel_gaussian_noise(
        double deviation, uint64_t key, Py_ssize_t row0, Py_ssize_t m, Py_ssize_t n, const void* x_, Py_ssize_t ldx,
        void* y_, Py_ssize_t ldy
) noexcept nogil:
    cdef vreal scale = vset(<real>deviation), normal
    cdef vuint column, count = vucount(0)
    cdef uint64_t row_key, base = mix64(key)
    cdef Py_ssize_t i, j
    cdef const real* x
    cdef real* y
    for i in range(m):
        x = <const real*>x_ + i*ldx
        y = <real*>y_ + i*ldy
        row_key = mix64(base + <uint64_t>(row0 + i))
        column = count
        j = 0
        while j < n:
            normal = vnormal(column, row_key)
            if j + VW <= n:
                vstore(y + j, vfma(scale, normal, vload(x + j)))
            else:
                store_columns(y, j, n, ldy, vfma(scale, normal, vload_before(x + j, x + n)))
            column = column + vuset(VW)
            j += VW
