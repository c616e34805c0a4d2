# Matrix multiplication, register-tiled: C[m, n] (+)= A[m, K] B[K, n].
#
# A tile of MR rows and NV vectors of C stays in registers while k runs over a block of K. Every element of C is one
# chain of multiply-adds in the order of k, whatever the tile and the block: the same row gives the same bits in any
# batch. A few columns that would leave a vector mostly empty are computed as dot products instead, depending on n and
# K: one chain per lane, and the lanes are added in a fixed order.

from libc.string cimport memcpy, memset

# Tile shapes by level: at most NV vectors wide, and for each width as many rows as fit in the registers (16, or 32
# with AVX-512).
cdef enum:
    MAX_NV = 4
    MAX_MR = 12
    MAX_ROW_NV = 8  # of a single row
    L1_BYTES = 32768
    L2_PART = 262144  # bytes of a block of A that stays in the cache while the panels of B pass by
    PACKED = 8192  # elements of L1_BYTES in float32, and more than that in float64
    A_BLOCK = 24576  # elements of a copied block of A: 96 rows of K_BLOCK
    FAR = 128  # stride of a column, in elements, from which on walking down it misses the cache
    WORTH_A_COPY = 96  # minimum columns of C, which share the cost of a copied block
    K_BLOCK = 256  # maximum rows of B in a packed block
    K_PART = 128  # and with 4 vectors of 64 bytes, as many as fit in the L1 cache


cdef inline void tiles(
        int MR, int NV, Py_ssize_t count, Py_ssize_t columns, Py_ssize_t K, const real* A, Py_ssize_t ar,
        Py_ssize_t ak, const real* B, Py_ssize_t bk, real* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    """Compute `count` tiles, one below the other. `columns` of each row are written, or all NV vectors if whole."""
    # Flat loops over the tile, without calls, inside the loop over tiles: GCC unrolls only such loops before it decides
    # which arrays can live in registers.
    cdef vreal c[MAX_MR*MAX_NV]
    cdef vreal b[MAX_NV]
    cdef real narrow[MAX_MR*MAX_NV*VW]
    cdef bint whole = columns == NV*VW
    cdef real* out
    cdef Py_ssize_t t, k, ldo = ldc if whole else NV*VW
    cdef const real* a
    cdef const real* row
    cdef int q
    for t in range(count):
        out = C if whole else narrow
        if accumulate and not whole:  # C may end with its last column
            for q in range(MR):
                memcpy(narrow + q*NV*VW, C + q*ldc, <size_t>columns*sizeof(real))
        if accumulate == CONTINUE:
            for q in range(MR*NV):
                c[q] = vload(out + q//NV*ldo + q%NV*VW)
        else:
            for q in range(MR*NV):
                c[q] = vzero()
        a = A
        row = B
        for k in range(K):
            for q in range(NV):
                b[q] = vload(row + q*VW)
            for q in range(MR*NV):
                c[q] = vfma(vset(a[q//NV*ar]), b[q%NV], c[q])
            a += ak
            row += bk
        if accumulate == ADD_SUM:
            for q in range(MR*NV):
                c[q] = vload(out + q//NV*ldo + q%NV*VW) + c[q]
        for q in range(MR*NV):
            vstore(out + q//NV*ldo + q%NV*VW, c[q])
        if not whole:
            for q in range(MR):
                memcpy(C + q*ldc, narrow + q*NV*VW, <size_t>columns*sizeof(real))
        A += MR*ar
        C += MR*ldc


cdef int panel_vectors(Py_ssize_t left) noexcept nogil:
    """Return the width of the next panel in vectors, given `left` vectors still to do."""
    if NNFAST_VECTOR_BYTES < 64:
        return 2 if left >= 2 else 1
    if left == 5 or left == 6:  # 3 + 3 and 3 + 2 beat 4 + 2 and 4 + 1
        return 3
    return 4 if left >= 4 else <int>left


cdef int tile_rows(int vectors, Py_ssize_t left) noexcept nogil:
    cdef int most
    if vectors == 4 or (vectors == 2 and NNFAST_VECTOR_BYTES < 64):
        most = 6
    elif vectors == 3:
        most = 8
    else:
        most = 12
    if left >= most:
        return most
    return 4 if left >= 4 else 2 if left >= 2 else 1


cdef void run_tiles(
        int rows, int vectors, Py_ssize_t count, Py_ssize_t columns, Py_ssize_t K, const real* A, Py_ssize_t ar,
        Py_ssize_t ak, const real* B, Py_ssize_t bk, real* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    if vectors == 4:
        if rows == 6 and NNFAST_VECTOR_BYTES == 64:
            tiles(6, 4, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 4 and NNFAST_VECTOR_BYTES == 64:
            tiles(4, 4, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 2:
            tiles(2, 4, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        else:
            tiles(1, 4, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
    elif vectors == 3 and NNFAST_VECTOR_BYTES == 64:
        if rows == 8: tiles(8, 3, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 4: tiles(4, 3, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 2: tiles(2, 3, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        else: tiles(1, 3, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
    elif vectors == 2:
        if rows == 12 and NNFAST_VECTOR_BYTES == 64: tiles(
            12, 2, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate
        )
        elif rows == 6 and NNFAST_VECTOR_BYTES < 64: tiles(
            6, 2, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate
        )
        elif rows == 4: tiles(4, 2, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 2: tiles(2, 2, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        else: tiles(1, 2, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
    else:
        if rows == 12: tiles(12, 1, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 4: tiles(4, 1, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        elif rows == 2: tiles(2, 1, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)
        else: tiles(1, 1, count, columns, K, A, ar, ak, B, bk, C, ldc, accumulate)


cdef void pack(
        Py_ssize_t K, Py_ssize_t columns, Py_ssize_t width, const real* B, Py_ssize_t bk, Py_ssize_t bc, real* packed
) noexcept nogil:
    """Copy a block of B to rows of whole vectors, transposing where its columns are not adjacent."""
    cdef vreal v[MAX_VW]
    cdef Py_ssize_t k, j
    cdef int q
    if bc == 1:
        for k in range(K):
            j = 0
            while j < columns:
                vstore(packed + k*width + j, vload(B + k*bk + j))
                j += VW
        return
    if bk != 1:
        for j in range(columns):
            for k in range(K):
                packed[k*width + j] = B[k*bk + j*bc]
        return
    j = 0
    while j < columns:
        k = 0
        while k < K:
            for q in range(VW):
                v[q] = vload(B + (j + q)*bc + k) if j + q < columns else vzero()
            vtranspose(v)
            for q in range(<int>min(<Py_ssize_t>VW, K - k)):
                vstore(packed + (k + q)*width + j, v[q])
            k += VW
        j += VW


cdef inline Py_ssize_t even_part(Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    """The size of parts of at most `most`. With the widest vectors they are about equal, because a small rest would
    cost as much as a whole part to begin and to end; measured, that does not pay with narrower ones."""
    cdef Py_ssize_t parts = (n + most - 1)//most
    if NNFAST_VECTOR_BYTES < 64:
        return min(n, most)
    return (n + parts - 1)//parts


cdef void panel(
        Py_ssize_t m, int vectors, Py_ssize_t left, Py_ssize_t K, const real* A, Py_ssize_t ar, Py_ssize_t ak,
        const real* B, Py_ssize_t bk, Py_ssize_t bc, real* C, Py_ssize_t room, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    """Compute a panel of C, `vectors` wide or the remaining `left` columns; a row has `room` elements to its end."""
    cdef real buffer[PACKED + 16]
    cdef real* packed = <real*>((<size_t>buffer + 63) & ~<size_t>63)
    cdef Py_ssize_t width = vectors*VW, columns = width if width <= room else left, k = 0, step, i, count
    cdef Py_ssize_t part = even_part(K, min(<Py_ssize_t>K_BLOCK, L1_BYTES//(width*<Py_ssize_t>sizeof(real))))
    cdef const real* b
    cdef int rows
    # a strided walk through a large B misses the cache and the TLB: with enough rows a copy pays
    cdef bint packs = bc != 1 or (m >= 24 and bk > 2*width and K*bk*<Py_ssize_t>sizeof(real) > L1_BYTES)
    while k < K:
        step = min(K - k, part) if packs else K
        b = B + k*bk
        if packs:
            pack(step, min(left, width), width, b, bk, bc, packed)
            b = packed
        i = 0
        while i < m:
            rows = tile_rows(vectors, m - i)
            count = (m - i)//rows
            run_tiles(
                rows, vectors, count, columns, step, A + i*ar + k*ak, ar, ak, b, width if packs else bk, C + i*ldc,
                ldc, accumulate or k > 0
            )
            i += rows*count
        k += step


cdef void turned(
        Py_ssize_t m, Py_ssize_t columns, Py_ssize_t K, const real* A, Py_ssize_t ak, const real* B, Py_ssize_t bk,
        real* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    """A few columns of C, for an A whose rows are adjacent: the tile is transposed, so that vectors run down the rows.

    A vector along so few columns would be mostly empty. The chains of multiply-adds are the same, and so are the bits.
    """
    cdef real t[MAX_MR*4*VW]
    cdef int few, vectors = 4 if NNFAST_VECTOR_BYTES == 64 else 2
    cdef Py_ssize_t i = 0, j, q, r, height = vectors*VW
    while i + height <= m:
        j = 0
        while j < columns:
            few = tile_rows(vectors, columns - j)
            if accumulate:
                for r in range(few):
                    for q in range(height):
                        t[r*height + q] = C[(i + q)*ldc + j + r]
            run_tiles(few, vectors, 1, height, K, B + j, 1, bk, A + i, ak, t, height, accumulate)
            for r in range(few):
                for q in range(height):
                    C[(i + q)*ldc + j + r] = t[r*height + q]
            j += few
        i += height
    panel(m - i, 1, columns, K, A + i, 1, ak, B, bk, 1, C + i*ldc, columns, ldc, accumulate)


cdef inline Py_ssize_t dotted_columns(Py_ssize_t K, Py_ssize_t n) noexcept nogil:
    """How many of the last columns of a product are dot products, where these take less time than a vector that is
    partly empty: depends on shapes only, because these sums have a different order."""
    cdef Py_ssize_t tail = n % VW
    if tail > VW//2 or K < VW or tail*(K + VW) > PACKED:
        return 0
    return tail if tail*(K + 4*VW) <= K*(VW - VW//4) else 0


cdef inline void dots(
        int MR, int T, Py_ssize_t count, Py_ssize_t K, const real* A, Py_ssize_t ar, const real* B, Py_ssize_t ldb,
        real* C, Py_ssize_t ldc
) noexcept nogil:
    """T columns of C by dot products, MR rows at a time, MR*T <= VW: vectors run along k. B holds the columns, padded
    with zeros."""
    cdef vreal c[MAX_VW]
    cdef real sums[MAX_VW]
    cdef Py_ssize_t r, k, whole = K//VW*VW
    cdef vint last = vbefore(K - whole)
    cdef int q
    for r in range(count):
        for q in range(VW):
            c[q] = vzero()
        k = 0
        while k < whole:
            for q in range(MR*T):
                c[q] = vfma(vload(A + q//T*ar + k), vload(B + q%T*ldb + k), c[q])
            k += VW
        if whole < K:
            for q in range(MR*T):  # lanes past the end keep the sign of a zero; A may end with its last row
                c[q] = vselect(
                    last, vfma(vload_part(A + q//T*ar + k, K - k, <real>0), vload(B + q%T*ldb + k), c[q]), c[q]
                )
        vstore(sums, vsums(c))
        for q in range(MR*T):
            C[q//T*ldc + q%T] = sums[q]
        A += MR*ar
        C += MR*ldc


cdef inline void few_columns(
        int T, Py_ssize_t m, Py_ssize_t K, const real* A, Py_ssize_t ar, const real* B, Py_ssize_t bk, real* C,
        Py_ssize_t ldc
) noexcept nogil:
    """T columns of C, as many rows at a time as have sums that fill a vector."""
    cdef real packed[PACKED]
    cdef int j, MR = VW//T if T <= VW else 1
    cdef Py_ssize_t blocks = m//MR, done = blocks*MR, ldb = (K + VW - 1)//VW*VW, k
    for j in range(T):
        vstore(packed + j*ldb + ldb - VW, vzero())
    for k in range(K):
        for j in range(T):
            packed[j*ldb + k] = B[k*bk + j]
    dots(MR, T, blocks, K, A, ar, packed, ldb, C, ldc)
    if MR > 1:
        dots(1, T, m - done, K, A + done*ar, ar, packed, ldb, C + done*ldc, ldc)


cdef void narrow_tail(
        Py_ssize_t m, int columns, Py_ssize_t K, const real* A, Py_ssize_t ar, const real* B, Py_ssize_t bk, real* C,
        Py_ssize_t ldc
) noexcept nogil:
    """The last few columns of C, where a vector along them would be mostly empty."""
    if columns == 1: few_columns(1, m, K, A, ar, B, bk, C, ldc)
    elif columns == 2: few_columns(2, m, K, A, ar, B, bk, C, ldc)
    elif columns == 3: few_columns(3, m, K, A, ar, B, bk, C, ldc)
    elif columns == 4: few_columns(4, m, K, A, ar, B, bk, C, ldc)
    elif columns == 5: few_columns(5, m, K, A, ar, B, bk, C, ldc)
    elif columns == 6: few_columns(6, m, K, A, ar, B, bk, C, ldc)
    elif columns == 7: few_columns(7, m, K, A, ar, B, bk, C, ldc)
    else: few_columns(8, m, K, A, ar, B, bk, C, ldc)


cdef inline void row_panel(
        int NV, Py_ssize_t n, Py_ssize_t K, const real* A, Py_ssize_t ak, const real* B, Py_ssize_t bk, real* C
) noexcept nogil:
    """One row of C, at most NV vectors wide, in registers."""
    cdef vreal c[MAX_ROW_NV]
    cdef vreal a
    cdef const real* b = B
    cdef Py_ssize_t k
    cdef int q
    for q in range(NV):
        c[q] = vzero()
    for k in range(K):
        a = vset(A[k*ak])
        for q in range(NV):
            c[q] = vfma(a, vload(b + q*VW), c[q])
        b += bk
    for q in range(NV - 1):
        vstore(C + q*VW, c[q])
    vstore_part(C + (NV - 1)*VW, c[NV - 1], n - (NV - 1)*VW)


cdef void one_row(
        Py_ssize_t n, Py_ssize_t K, const real* A, Py_ssize_t ak, const real* B, Py_ssize_t bk, real* C
) noexcept nogil:
    """One row of C: B is read once, in memory order. The chains, and so the bits, are the same as in a tile."""
    cdef Py_ssize_t vectors = (n + VW - 1)//VW
    if vectors == 1: row_panel(1, n, K, A, ak, B, bk, C)
    elif vectors == 2: row_panel(2, n, K, A, ak, B, bk, C)
    elif vectors == 3: row_panel(3, n, K, A, ak, B, bk, C)
    elif vectors == 4: row_panel(4, n, K, A, ak, B, bk, C)
    elif vectors == 5: row_panel(5, n, K, A, ak, B, bk, C)
    elif vectors == 6: row_panel(6, n, K, A, ak, B, bk, C)
    elif vectors == 7: row_panel(7, n, K, A, ak, B, bk, C)
    elif vectors == 8: row_panel(8, n, K, A, ak, B, bk, C)
    else: wide_row(n, K, A, ak, B, bk, C)


cdef void wide_row(
        Py_ssize_t n, Py_ssize_t K, const real* A, Py_ssize_t ak, const real* B, Py_ssize_t bk, real* C
) noexcept nogil:
    """The same where the row does not fit in the registers: four rows of B at a time."""
    cdef Py_ssize_t whole = n//VW*VW, k = 0, j
    cdef vreal a[4]
    cdef vreal c, last = vzero()
    cdef const real* b
    cdef int q
    memset(C, 0, <size_t>whole*sizeof(real))
    while k + 4 <= K:
        b = B + k*bk
        for q in range(4):
            a[q] = vset(A[(k + q)*ak])
        j = 0
        while j < whole:
            c = vload(C + j)
            for q in range(4):
                c = vfma(a[q], vload(b + q*bk + j), c)
            vstore(C + j, c)
            j += VW
        if whole < n:
            for q in range(4):
                last = vfma(a[q], vload(b + q*bk + whole), last)
        k += 4
    while k < K:
        b = B + k*bk
        j = 0
        while j < whole:
            vstore(C + j, vfma(vset(A[k*ak]), vload(b + j), vload(C + j)))
            j += VW
        if whole < n:
            last = vfma(vset(A[k*ak]), vload(b + whole), last)
        k += 1
    if whole < n:
        vstore_part(C + whole, last, n - whole)


cdef void one_term(
        Py_ssize_t m, Py_ssize_t n, const real* A, Py_ssize_t ar, const real* B, real* C, Py_ssize_t ldc
) noexcept nogil:
    """C for a single row of B: the weight gradient of one sample, which takes as long as writing it."""
    cdef Py_ssize_t i, j
    cdef vreal a
    for i in range(m):
        a = vset(A[i*ar])
        j = 0
        while j + VW <= n:
            vstore(C + i*ldc + j, vfma(a, vload(B + j), vzero()))
            j += VW
        if j < n:
            vstore_part(C + i*ldc + j, vfma(a, vload(B + j), vzero()), n - j)


cdef inline vreal add_square(
        vreal c, Py_ssize_t columns, Py_ssize_t few, const real* A, const real* B, Py_ssize_t bc
) noexcept nogil:
    """A vector of C plus `few` elements of A times a square block of a transposed B, which is transposed in
    registers."""
    cdef vreal v[MAX_VW]
    cdef int q
    for q in range(VW):
        if few == VW:
            v[q] = vload(B + q*bc) if q < columns else vzero()
        else:
            v[q] = vload_part(B + q*bc, few, <real>0) if q < columns else vzero()
    vtranspose(v)
    for q in range(VW):
        if q < few:
            c = vfma(vset(A[q]), v[q], c)
    return c


cdef void one_row_turned(
        Py_ssize_t n, Py_ssize_t K, const real* A, const real* B, Py_ssize_t bc, real* C
) noexcept nogil:
    """One row of C = A B for a B stored transposed; the chains, and so the bits, are the same as in a tile."""
    cdef Py_ssize_t j = 0, k, whole = K//VW*VW, columns
    cdef vreal c, d
    while j < n:
        columns = min(n - j, <Py_ssize_t>VW)
        c = d = vzero()
        k = 0
        if j + 2*VW <= n:  # two chains at once, because a single one would wait for each multiply-add
            while k < whole:
                c = add_square(c, VW, VW, A + k, B + j*bc + k, bc)
                d = add_square(d, VW, VW, A + k, B + (j + VW)*bc + k, bc)
                k += VW
            vstore(C + j + VW, add_square(d, VW, K - whole, A + whole, B + (j + VW)*bc + whole, bc))
        while k < whole:
            c = add_square(c, columns, VW, A + k, B + j*bc + k, bc)
            k += VW
        vstore_part(C + j, add_square(c, columns, K - whole, A + whole, B + j*bc + whole, bc), columns)
        j += 2*VW if j + 2*VW <= n else VW


cdef void matmul(
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const real* A, Py_ssize_t ar, Py_ssize_t ak, const real* B,
        Py_ssize_t bk, Py_ssize_t bc, real* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    cdef Py_ssize_t i, k = 0, r, rows, few, step, tail = n % VW, dotted
    if K == 0 and not accumulate:  # an empty sum
        for i in range(m):
            memset(C + i*ldc, 0, <size_t>n*sizeof(real))
        return
    if ar == 1 and bc == 1 and 0 < tail <= VW//2 and m >= 4*VW:
        n -= tail
        turned(m, tail, K, A, ak, B + n, bk, C + n, ldc, accumulate)
    elif ak == 1 and ar != 1 and bc == 1 and not accumulate:  # not in the weight gradient of a single input
        dotted = dotted_columns(K, n)
        n -= dotted
        if dotted:
            narrow_tail(m, <int>dotted, K, A, ar, B + n, bk, C + n, ldc)
    if K == 1 and bc == 1 and not accumulate:
        one_term(m, n, A, ar, B, C, ldc)
        return
    if m == 1 and bc == 1 and not accumulate:
        one_row(n, K, A, ak, B, bk, C)
        return
    if m == 1 and ak == 1 and bk == 1 and not accumulate:
        one_row_turned(n, K, A, B, bc, C)
        return
    cdef real block[A_BLOCK]
    # the transposed A of a weight gradient is read down its columns, one cache line per element
    cdef bint copies = ar == 1 and ak >= FAR and n >= WORTH_A_COPY and K >= 32
    if m*K*<Py_ssize_t>sizeof(real) <= L2_PART and not copies:
        panels(m, n, K, A, ar, ak, B, bk, bc, C, ldc, accumulate)
        return
    step = even_part(K, K_PART if NNFAST_VECTOR_BYTES == 64 else K_BLOCK)
    step *= K_BLOCK//step
    rows = (A_BLOCK if copies else L2_PART//<Py_ssize_t>sizeof(real))//min(step, K)//12*12
    rows = (even_part(m, rows) + 11)//12*12
    while k < K:
        step = min(step, K - k)
        i = 0
        while i < m:
            few = min(rows, m - i)
            if copies:
                for r in range(step):
                    memcpy(block + r*rows, A + i + (k + r)*ak, <size_t>few*sizeof(real))
                panels(few, n, step, block, 1, rows, B + k*bk, bk, bc, C + i*ldc, ldc, accumulate or k > 0)
            else:
                panels(
                    few, n, step, A + i*ar + k*ak, ar, ak, B + k*bk, bk, bc, C + i*ldc, ldc, accumulate or k > 0
                )
            i += rows
        k += step


cdef void panels(
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const real* A, Py_ssize_t ar, Py_ssize_t ak, const real* B,
        Py_ssize_t bk, Py_ssize_t bc, real* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    """All panels of C, for a block of A that stays in the cache."""
    cdef Py_ssize_t j = 0
    cdef int vectors
    while j < n:
        vectors = panel_vectors((n - j + VW - 1)//VW)
        panel(m, vectors, n - j, K, A, ar, ak, B + j*bc, bk, bc, C + j, ldc - j, ldc, accumulate)
        j += vectors*VW


cdef void kernel_matmul(
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const void* A, Py_ssize_t ar, Py_ssize_t ak, const void* B,
        Py_ssize_t bk, Py_ssize_t bc, void* C, Py_ssize_t ldc, int accumulate
) noexcept nogil:
    matmul(m, n, K, <const real*>A, ar, ak, <const real*>B, bk, bc, <real*>C, ldc, accumulate)
