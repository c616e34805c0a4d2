# The prediction of one row, which Python and compiled code call: the struct that nnfast.h declares, with what it needs
# behind it. Included by program.pyx.

cdef enum:
    STACK_BYTES = 32768  # of a row's activations: more are allocated

cdef struct RowPredictor:
    nnfast_predictor seen  # first: compiled code has its address
    Plan plan              # with tiles of one row, and without a loss
    const char* parameters
    const char* statistics
    size_t bytes           # of a tile


cdef void fill_row(RowPredictor* row, const Plan* plan, const char* parameters, const char* statistics) noexcept:
    row.plan = plan[0]
    row.plan.tile_rows, row.plan.turned_rows = 1, 0
    memset(&row.plan.loss, 0, sizeof(LossSpec))
    memset(&row.plan.own, 0, sizeof(OwnLoss))
    row.parameters, row.statistics = parameters, statistics
    row.bytes = <size_t>scratch_in_tile(&row.plan)
    row.seen.abi_version, row.seen.struct_size = NNFAST_ABI_VERSION, sizeof(nnfast_predictor)
    row.seen.dtype = NNFAST_FLOAT64 if plan.z == 8 else NNFAST_FLOAT32
    row.seen.n_inputs, row.seen.n_outputs = plan.n_in, plan.n_out
    row.seen.predict_one = predict_row


cdef int predict_row(const nnfast_predictor* self, const void* x, void* y) noexcept nogil:
    """Write the output for the row `x` to `y`; return a status."""
    cdef const RowPredictor* row = <const RowPredictor*>self
    cdef size_t z = <size_t>row.plan.z, first = <size_t>x, second = <size_t>y
    if x == NULL or y == NULL or (first | second) & (z - 1):
        return NNFAST_BAD_POINTER
    if first < second + <size_t>row.plan.n_out*z and second < first + <size_t>row.plan.n_in*z:
        return NNFAST_OVERLAP
    if row.bytes <= STACK_BYTES:
        predict_on_stack(row, <const char*>x, <char*>y)
        return NNFAST_OK
    cdef char* tile = <char*>aligned_memory(row.bytes)
    if tile == NULL:
        return NNFAST_NO_MEMORY
    predict_in_tile(row, <const char*>x, tile, <char*>y)
    free_memory(tile)
    return NNFAST_OK


cdef void predict_on_stack(const RowPredictor* row, const char* x, char* y) noexcept nogil:
    cdef char memory[STACK_BYTES + ALIGNMENT]
    cdef char* tile = memory + (-<size_t>memory & (ALIGNMENT - 1))
    predict_in_tile(row, x, tile, y)


cdef inline void predict_in_tile(const RowPredictor* row, const char* x, char* tile, char* y) noexcept nogil:
    cdef uint64_t mode = flush_subnormals()
    forward_tile(
        &row.plan, row.parameters, row.statistics, row.plan.n_stages - 1, False, 1, x, NULL, tile, y, row.plan.n_out
    )
    restore_subnormals(mode)


cdef class OneRow:
    """What predicts one row.

    Attributes
    ----------
    dtype : dtype
    parameters, statistics : ndarray
        What it predicts with.
    """

    cdef RowPredictor row
    cdef readonly object dtype, parameters, statistics

    cdef bint is_row(self, object array, Py_ssize_t n) noexcept:
        return is_plain(array, 1, self.row.plan.z) and cnp.PyArray_DIM(array, 0) == n

    cdef int predict_into(self, object x, object out) except -1:
        """Write the output for one row; ValueError if the arrays overlap."""
        cdef const char* from_ = data(x)
        cdef char* to = data(out)
        cdef int status
        with nogil:
            status = predict_row(&self.row.seen, from_, to)
        if status == NNFAST_OVERLAP:
            raise ValueError("out must not overlap the row")
        if status != NNFAST_OK:
            raise MemoryError("no memory for one row")
        return 0

    def predict_row(self, x):
        """Return the output for one row; None if the row needs conversion or checks first."""
        cdef cnp.npy_intp n = self.row.plan.n_out
        if not self.is_row(x, self.row.plan.n_in):
            return None
        out = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64 if self.row.plan.z == 8 else cnp.NPY_FLOAT32, 0)
        self.predict_into(x, out)
        return out

    def predict_one(self, x, out):
        """Write the output for one row to `out`; return False if the arrays need conversion or checks first."""
        if not (self.is_row(x, self.row.plan.n_in) and self.is_row(out, self.row.plan.n_out)
                and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)):
            return False
        if not are_apart(self.parameters, out):
            raise ValueError("out must not overlap the network's parameters")
        self.predict_into(x, out)
        return True


cdef class Snapshot(OneRow):
    """A copy of what a program predicts, which never changes; the caller holds the guard.

    Attributes
    ----------
    address, function_address : int
        Of the struct that nnfast.h declares, and of its function.
    """

    cdef Stage* stages
    cdef object constants     # memory that the stages refer to

    def __cinit__(self, Program program not None):
        cdef size_t size = program.plan.n_stages*sizeof(Stage)
        self.stages = <Stage*>malloc(size)
        if self.stages == NULL:
            raise MemoryError("no memory for the stages of the network")
        memcpy(self.stages, program.plan.stages, size)
        self.dtype, self.constants = program.dtype, program.constants
        self.parameters, self.statistics = aligned_copy(program.parameters), aligned_copy(program.statistics)
        fill_row(&self.row, &program.plan, data(self.parameters), data(self.statistics))
        self.row.plan.stages = self.stages

    def __dealloc__(self):
        free(self.stages)

    @property
    def address(self):
        return <size_t>&self.row.seen

    @property
    def function_address(self):
        return <size_t>self.row.seen.predict_one

    @property
    def capsule(self):
        """A new capsule with the address, which keeps this object alive."""
        capsule = new_capsule(&self.row.seen, NNFAST_CAPSULE, release_snapshot)
        set_context(capsule, <void*>self)
        Py_INCREF(self)
        return capsule


cdef void release_snapshot(PyObject* capsule) noexcept:
    cdef void* snapshot = get_context(capsule)
    if snapshot != NULL:
        Py_DECREF(<object>snapshot)


cdef object aligned_copy(object vector):
    """Return a copy of a vector of an arena, with the memory after its end."""
    copy = aligned_zeros(len(vector), vector.dtype)
    copy[:] = vector
    return copy
