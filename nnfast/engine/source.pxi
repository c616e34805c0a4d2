# Samples as they lie in memory: of any dtype, with any strides, in one piece or by columns. They are converted when a
# mini-batch or a tile is gathered, so that no copy of the whole exists. Included by program.pyx.

cdef enum:
    COLUMN_ROWS = 64   # that are gathered together from several blocks
    LOOKED_AT = 65536  # numbers that are converted at a time to look for those that are not finite

cdef struct SourceBlock:  # neighbouring columns, evenly spaced
    const char* at        # of row 0
    int number            # the dtype
    Py_ssize_t row_stride, column_stride  # in bytes
    Py_ssize_t first, n   # columns

cdef struct SparseData:  # rows of which only some elements are stored (CSR)
    const char* values
    int number            # their dtype
    const char* columns
    bint wide_columns     # 64-bit integers, else 32-bit ones
    const int64_t* starts

cdef struct SourceBlocks:
    const Kernels* K      # of the dtype that the rows are converted to
    SourceBlock* blocks
    Py_ssize_t n_blocks
    Py_ssize_t n, n_in    # rows and columns
    Py_ssize_t piece      # bytes of a row, if it is one piece of memory, else 0
    bint is_sparse        # rows are in `sparse`, and there are no blocks
    SparseData sparse
    bint subnormal        # whether subnormal numbers appear or disappear on the way between float32 and float64


cdef inline void ask_for_rows(
        const SourceBlock* block, const int64_t* rows, Py_ssize_t m, Py_ssize_t bytes
) noexcept nogil:
    """Let the processor fetch the first bytes of some rows of a block."""
    cdef Py_ssize_t i
    for i in range(m):
        ask_for(block.at + rows[i]*block.row_stride, bytes)


cdef void convert_source(
        const SourceBlocks* source, const int64_t* rows, Py_ssize_t first, Py_ssize_t m, char* to
) noexcept nogil:
    """Write `m` rows, converted: those with the numbers in `rows`, or if it is NULL those from `first` on. Scattered
    rows, or their next columns, are prefetched."""
    cdef const SourceBlock* block
    cdef Py_ssize_t some = m, r = 0, b, row_bytes = source.n_in*source.K.itemsize
    cdef uint64_t mode = subnormals_kept() if source.subnormal else 0
    if source.is_sparse:
        write_sparse(source, rows, first, m, to)
        r = m
    elif rows != NULL:
        some = 1 + AHEAD_BYTES//source.piece if source.piece else COLUMN_ROWS
    while r < m:
        some = min(some, m - r)
        if rows != NULL and source.piece:
            ask_for_rows(source.blocks, rows + r + some, min(some, m - r - some), source.piece)
        for b in range(source.n_blocks):
            block = &source.blocks[b]
            if rows != NULL and b + 1 < source.n_blocks:
                ask_for_rows(block + 1, rows + r, some, 1)
            source.K.convert(
                block.number, some, block.n, block.at if rows != NULL else block.at + (first + r)*block.row_stride,
                block.row_stride, block.column_stride, NULL if rows == NULL else rows + r,
                to + r*row_bytes + block.first*source.K.itemsize, source.n_in
            )
        r += some
    if source.subnormal:
        restore_subnormals(mode)


cdef inline bint changes_subnormals(int number, Py_ssize_t itemsize) noexcept:
    return (number == FLOAT64 or number == FLOAT32) and number_size(number) != itemsize


cdef inline bint continues(const SourceBlock* block, const SourceBlock* next) noexcept:
    """Whether the columns of the next block lie as those of a block do; one column lies like any other."""
    cdef Py_ssize_t stride = next.at - block.at
    if block.n > 1:
        stride = block.column_stride
    return (
        next.number == block.number and next.row_stride == block.row_stride
        and next.at == block.at + block.n*stride and (next.n == 1 or next.column_stride == stride)
    )


cdef inline int64_t given_column(const SparseData* sparse, int64_t e) noexcept nogil:
    """Return the column of a stored element, as it is given."""
    if sparse.wide_columns:
        return (<const int64_t*>sparse.columns)[e]
    return (<const int32_t*>sparse.columns)[e]


cdef class Source:
    """Samples as rows of numbers that the engine converts while it gathers them.

    Parameters
    ----------
    dtype : dtype
        Of the network: what the numbers are converted to.
    arrays : sequence of ndarray
        Matrices with the same number of rows, whose columns follow each other; of the dtypes in
        `nnfast.kernels.arrays.NUMBERS` in native byte order, with any strides. Their memory is used as it is.
        If `columns` is given, the three vectors of a CSR matrix: stored values; their columns, int32 or int64 and
        ascending in each row; and where each row starts, with the end of the last one, int64.
    columns : int, optional
        The number of columns of a CSR matrix.

    Attributes
    ----------
    dtype : dtype
        As above.
    arrays : tuple of ndarray
        As above.
    shape : tuple of int
        Rows and columns.
    """

    cdef SourceBlocks source
    cdef readonly object dtype
    cdef readonly tuple arrays

    def __cinit__(self, dtype, arrays, columns=None):
        cdef SourceBlocks* source = &self.source
        cdef SourceBlock block
        self.dtype, self.arrays = np.dtype(dtype), tuple(arrays)
        source.K = table(self.dtype == np.float64)
        if columns is not None:
            self.fill_sparse(columns)
            return
        source.blocks = <SourceBlock*>calloc(len(self.arrays), sizeof(SourceBlock))
        if source.blocks == NULL:
            raise MemoryError(f"no memory for the places of {len(self.arrays)} arrays")
        source.n = len(self.arrays[0])
        for array in self.arrays:
            if type(array) is not np.ndarray or array.ndim != 2 or len(array) != source.n or not array.dtype.isnative:
                raise TypeError(f"expected matrices of {source.n} rows in native byte order")
            block.at, block.number = data(array), NUMBERS[array.dtype.name]
            block.row_stride, block.column_stride = array.strides
            block.first, block.n = source.n_in, array.shape[1]
            self.add(&block)

    cdef int fill_sparse(self, Py_ssize_t n_in) except -1:
        cdef SourceBlocks* source = &self.source
        cdef SparseData* sparse = &source.sparse
        values, columns, starts = self.arrays
        for array in (values, columns, starts):
            if type(array) is not np.ndarray or array.ndim != 1 or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array):
                raise TypeError("expected vectors of a CSR matrix")
        if columns.dtype not in (np.int32, np.int64) or starts.dtype != np.int64:
            raise TypeError(f"expected columns and starts of int64, got {columns.dtype} and {starts.dtype}")
        if not len(starts) or starts[0] != 0 or starts[len(starts) - 1] > min(len(values), len(columns)):
            raise ValueError("expected starts that fit the number of values")
        if (starts[1:] < starts[:-1]).any():
            raise ValueError("expected starts that do not descend")
        source.is_sparse, source.n, source.n_in = True, len(starts) - 1, n_in
        sparse.values, sparse.number = data(values), NUMBERS[values.dtype.name]
        sparse.columns, sparse.wide_columns = data(columns), columns.dtype == np.int64
        sparse.starts = <const int64_t*>data(starts)
        source.subnormal = changes_subnormals(sparse.number, source.K.itemsize)
        return 0

    cdef int add(self, const SourceBlock* block) except -1:
        """Add columns: to the last block if they continue it."""
        cdef SourceBlocks* source = &self.source
        cdef SourceBlock* last = &source.blocks[source.n_blocks - 1] if source.n_blocks else NULL
        cdef Py_ssize_t size = number_size(block.number)
        source.n_in += block.n
        source.subnormal |= changes_subnormals(block.number, source.K.itemsize)
        if last != NULL and continues(last, block):
            if last.n == 1:
                last.column_stride = block.at - last.at
            last.n += block.n
        else:
            source.blocks[source.n_blocks] = block[0]
            source.n_blocks += 1
        last = &source.blocks[0]
        source.piece = last.n*size if source.n_blocks == 1 and last.column_stride == size else 0
        return 0

    def __dealloc__(self):
        free(self.source.blocks)

    @property
    def shape(self):
        return self.source.n, self.source.n_in

    @property
    def blocks(self):
        """The number of pieces in which the columns are read."""
        return self.source.n_blocks

    def __len__(self):
        return self.source.n

    def __getitem__(self, rows):
        """Return rows, selected by a slice or by an array of row numbers, as a matrix of `dtype`."""
        cdef const int64_t* order = NULL
        cdef Py_ssize_t first = 0, m
        cdef char* to
        if isinstance(rows, slice):
            first, stop, step = rows.indices(self.source.n)
            if step != 1:
                return self[np.arange(first, stop, step)]
            m = max(0, stop - first)
        else:
            rows = np.require(rows, np.int64, ("C", "A"))
            m = len(rows)
            if rows.ndim != 1 or (m and not 0 <= rows.min() <= rows.max() < self.source.n):
                raise IndexError(f"expected row numbers from 0 to {self.source.n - 1}")
            order = <const int64_t*>data(rows)
        out = np.empty((m, self.source.n_in), self.dtype)
        to = data(out)
        with nogil:
            convert_source(&self.source, order, first, m, to)
        return out

    @property
    def is_sparse(self):
        """Whether these are the rows of a CSR matrix."""
        return self.source.is_sparse

    def first_disorder(self):
        """Return the first row whose columns are not ascending or out of range; -1 if there is none."""
        cdef const SparseData* sparse = &self.source.sparse
        cdef Py_ssize_t i, n_in = self.source.n_in
        cdef int64_t e, j, before
        with nogil:
            for i in range(self.source.n):
                before = -1
                for e in range(sparse.starts[i], sparse.starts[i + 1]):
                    j = given_column(sparse, e)
                    if not before < j < n_in:
                        with gil:
                            return i
                    before = j
        return -1

    def most_stored(self, Py_ssize_t rows, order=None):
        """Return the maximum number of stored elements of so many rows: of those with the numbers in `order`, each as
        often as it occurs, or of all."""
        starts = self.arrays[2]
        if order is None and rows >= self.source.n:
            return int(starts[len(starts) - 1])
        counts = np.diff(starts) if order is None else starts[order + 1] - starts[order]
        if rows < len(counts):
            counts.partition(len(counts) - rows)
        return int(counts[max(0, len(counts) - rows) :].sum())

    @property
    def looked_at(self):
        """The number of rows that `not_finite` looks at together."""
        return max(1, <Py_ssize_t>LOOKED_AT//self.source.n_in)

    def not_finite(self, Py_ssize_t first):
        """Return the first row, from `first` on, of `looked_at` rows with a number that is not finite after its
        conversion; -1 if there is none."""
        cdef const SourceBlocks* source = &self.source
        cdef Py_ssize_t m, step = self.looked_at
        cdef bint found = False
        cdef double deadline
        rows = np.empty((step, source.n_in), self.dtype)
        cdef char* to = data(rows)
        while first < source.n and not found:
            deadline = seconds_now() + SLICE
            with nogil:
                while first < source.n and seconds_now() < deadline:
                    m = min(step, source.n - first)
                    convert_source(source, NULL, first, m, to)
                    if not source.K.all_finite(m*source.n_in, to):
                        found = True
                        break
                    first += m
            PyErr_CheckSignals()
        return first if found else -1
