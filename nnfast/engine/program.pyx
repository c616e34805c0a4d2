"""The program: a network as a flat array of stages over arenas, run without the GIL and without touching a Python
object.

Arenas: all parameters are one vector, the gradients a second, each moment of an optimizer another, running statistics
one more; a stage knows its offsets. Workspace: a row of activations and a row of gradients for each stage and sample,
what a stage keeps for the backward pass, and scratch memory for each thread, sized once for the training batch.

A training step has two phases. In the first, each thread runs its rows through the forward pass, the loss and the
backward pass, and sums the gradients of parameters over them where it owns whole chunks of rows (chunks.pxi); in the
second, it completes its share of each gradient and updates that share. Every sum has a fixed order, so results are
bitwise identical for any number of threads. Batch normalization, which needs the whole batch, divides the first phase:
all threads meet there.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.float cimport DBL_EPSILON
from libc.math cimport INFINITY, NAN, fabs, isfinite, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from nnfast.capi cimport (
    NNFAST_ABI_VERSION, NNFAST_CAPSULE, NNFAST_FLOAT32, NNFAST_FLOAT64, NNFAST_NO_MEMORY, NNFAST_BAD_POINTER, NNFAST_OK,
    NNFAST_OVERLAP, nnfast_predictor,
)
from nnfast.kernels.arrays cimport draw_order, fill_hyperparameters, shuffle_order
from nnfast.kernels.dispatch cimport table
from nnfast.kernels.table cimport (
    ADD_SUM, CONTINUE, FLOAT32, FLOAT64, IDENTITY, MAX_ADDED_TERMS, MAX_MOMENTS, NARROW, OVERWRITE, SGD, SUM_BLOCK,
    Encodings, Kernels, LossSpec, MetricSpec, Optimizer, SparseColumns, SparseRows, Targets, advance, from_logits,
    is_count, keeps, mixes, noise_key, number_size, over_classes, over_elements,
)

from math import prod

import numpy as np

from nnfast.kernels.arrays import ACTIVATIONS, LOSSES, METRICS, NUMBERS
from nnfast.kernels.packing import packed

cnp.import_array()

cdef extern from "Python.h":
    int check_signals "PyErr_CheckSignals" () noexcept  # the exception is raised after the threads have joined
    # as in cpython.pycapsule, where the destructor has an object, which no longer has references then
    ctypedef void (*capsule_destructor "PyCapsule_Destructor")(PyObject*) noexcept
    object new_capsule "PyCapsule_New" (void*, const char*, capsule_destructor)
    int set_context "PyCapsule_SetContext" (object, void*) except -1
    void* get_context "PyCapsule_GetContext" (PyObject*) noexcept

cdef extern from "sync.h" nogil:
    enum: MAX_THREADS
    ctypedef struct barrier:
        int generation
    ctypedef void (*team_work)(void* job, int id, int n) noexcept nogil
    void barrier_wait(barrier*, int)
    int pause_for(int turn)
    int usable_processors()
    void run_team(int, team_work, void*)
    void* aligned_memory(size_t)
    void free_memory(void*)
    double seconds_now()
    int64_t fetch_add(int64_t*, int64_t)
    void ask_for(const char*, size_t)
    bint try_lock(int*)
    bint is_locked(int*)
    void unlock(int*)
    void nap()
    void* exchange(void**, void*)
    uint64_t flush_subnormals()
    uint64_t subnormals_kept()
    void restore_subnormals(uint64_t)

cdef enum:
    ALIGNMENT = 64
    MAX_SIZE = 2147483647  # of an axis of data, as in nnfast._validation
    POOL = 16                  # idle tile buffers that are kept for `predict`
    TILE_BYTES = 196608         # activations of one layer in a tile of `predict`
    FLOPS_PER_THREAD = 2000000  # below this a thread costs more than it saves (33 us to start and release one)
    AHEAD_BYTES = 4096         # of rows that are asked for before they are copied
    PIECE_SAMPLES = 256        # in a piece of the weight gradients of a long step
    NORM_BLOCK = 16384         # gradients in a block of the sum of their squares
    COLUMN_GRAIN = 16          # minimum columns of a norm per thread
    FIRST_STEPS = 1024         # of a training without limit that there is room for, which grows
    MOST_FIRST_STEPS = 65536   # even if an epoch has more
    FUSED_ROWS = 16            # of a mini-batch whose gradients are used in pieces
    PIECE_BYTES = 16384        # approximate size of such a piece
    SCRATCH_BYTES = 65536      # maximum size of such a piece
    # Calls that measure how many threads are faster.
    STEP = 0
    GRADIENT = 1
    PREDICT = 2
    EVALUATE = 3
    CALLS = 4
    # What a call does, in this order.
    FORWARD = 1
    LOSS = 2
    BACKWARD = 4
    WEIGHTS = 8
    UPDATE = 16

cdef double SLICE = 0.1  # seconds between two checks for Ctrl-C
cdef double BLOCK_FLOPS = 1e9  # of rows between two checks of the clock: usual mini-batches fit in one block
cdef double PIECE_FLOPS = 2e8  # of weight gradients between two checks, in a long step
cdef double LONG_FLOPS = 1e9  # of a step whose weights change only after all its gradients are computed


include "guard.pxi"
include "place.pxi"
include "source.pxi"
include "plan.pxi"
include "sparse.pxi"
include "stages/common.pxi"
include "chunks.pxi"
include "stages/activation.pxi"
include "stages/dense.pxi"
include "stages/rescaling.pxi"
include "stages/noise.pxi"
include "stages/norms.pxi"
include "stages/scale.pxi"
include "stages/add.pxi"
include "stages/encoding.pxi"
include "scores.pxi"
include "crew.pxi"
include "own.pxi"
include "run.pxi"
include "tiles.pxi"
include "jacobian.pxi"
include "differences.pxi"
include "layout.pxi"
include "slot.pxi"

STAGES = stage_codes()


cdef int raise_if(bint interrupted) except -1:
    """Raise the exception set by a signal handler."""
    return -1 if interrupted else 0


def aligned_zeros(n, dtype):
    """Return a vector for an arena: aligned to a cache line, with one SIMD vector of readable memory after its end."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n*dtype.itemsize + 2*ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n*dtype.itemsize].view(dtype)


cdef inline char* data(object array):
    return <char*>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline bint has_layout(cnp.ndarray array, int ndim, int dtype) noexcept:
    """Whether the engine can read an array as it is."""
    return (
        cnp.PyArray_TYPE(array) == dtype and cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_ISCARRAY_RO(array)
    )


cdef inline bint is_plain(object array, int ndim, Py_ssize_t z) noexcept:
    """Whether this is an array, not of a subclass, of numbers of `z` bytes that the engine can read as it is."""
    return type(array) is np.ndarray and has_layout(
        <cnp.ndarray>array, ndim, cnp.NPY_FLOAT64 if z == 8 else cnp.NPY_FLOAT32
    )


cdef inline bint are_apart(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two contiguous arrays share no memory."""
    cdef char* first = <char*>cnp.PyArray_DATA(a)
    cdef char* second = <char*>cnp.PyArray_DATA(b)
    return first + cnp.PyArray_NBYTES(a) <= second or second + cnp.PyArray_NBYTES(b) <= first


cdef inline bint are_classes(const int64_t* labels, Py_ssize_t n, Py_ssize_t classes) noexcept nogil:
    """Whether all labels are from 0 to `classes` - 1: negative ones are huge without a sign."""
    cdef Py_ssize_t i
    cdef bint bad = False
    for i in range(n):
        bad |= <uint64_t>labels[i] >= <uint64_t>classes
    return not bad


cdef int expect(object array, object dtype, object shape, bint writes) except -1:
    """Raise an error unless the engine can use the array; `nnfast._validation` has raised better messages before."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        raise TypeError(f"expected an array of shape {shape} and dtype {dtype}")
    if not (cnp.PyArray_ISCARRAY(<cnp.ndarray>array) if writes else cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)):
        raise TypeError("expected a C-contiguous, aligned array")
    return 0


cdef int follow(Job* job, scheduled, double* rate, double* momentum) except -1:
    """Use this learning rate for one update, and this momentum unless it is None."""
    rate[0], second = scheduled
    job.scheduled = True
    job.rates = rate
    job.first_update = job.optimizer_steps
    if second is not None:
        momentum[0] = second
        job.momenta = momentum
    return 0


cdef class ActivationMemory:
    """Memory for the activations and gradients of a batch, for calls that would each allocate it."""

    cdef Workspace ws  # zeros

    def __dealloc__(self):
        free_workspace(&self.ws)


include "row.pxi"


cdef class Program(OneRow):
    """A compiled network.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    stages : list of dict
        Description of each stage: ``kind``, a name in `STAGES`; ``path``; ``input_shape`` and ``output_shape`` of a
        sample; ``arrays`` that it learns (with attributes name, path, shape, l1, l2, penalty and decays) and
        ``statistics`` that it keeps (name, path, shape and initial); and where they apply, ``function`` (the
        activation, a name in `ACTIVATIONS`) and its ``alpha``, ``numbers`` (a mapping specific to the stage),
        ``columns`` (of an encoding; each has a method ``encoding`` that returns what `nnfast.reference.columns` takes),
        ``frozen``, ``other`` (of an add: the number of the stage whose output is added, -1 for the input).
    loss : (str, tuple of float, ndarray or None, bool)
        A name in `LOSSES`; its parameters, at most two; its parameters per output, of `dtype`, or None: as in
        `LossSpec`; and whether the losses of a row's outputs are added up where the kernel would average them. None if
        `own` is given.
    seed : int
        Seed of dropout and noise, below 2**64.
    guard : Guard
        The network's guard.
    same : Program, optional
        A program of the same network, whose stages differ in ``frozen`` alone: both share the arenas and the slot.
    own : callable, (int, int, bool) or None
        Instead of `loss`: a Python function of the outputs, targets and weights (or None) of a batch that returns the
        loss and its gradient, an array like the outputs; or a compiled function of a row: its address, its user data,
        and whether it takes a label.

    Attributes
    ----------
    layout : list of (str, str, int, tuple)
        Name, path, offset and shape of each array of parameters.
    statistics_layout : list of (str, str, int, tuple)
        The same for running statistics.
    slot : Slot
        The state of the optimizer.
    place : Place
        The place in the epoch.
    """

    cdef Plan plan
    cdef Workspace ws
    cdef void* pool[POOL]
    cdef readonly Guard guard
    cdef Job* running         # the slice of a run in progress, or NULL
    cdef Py_ssize_t saved     # rows of the forward pass that awaits its backward pass; -1 if there is none
    cdef bint graded          # the gradients come from a backward pass
    cdef readonly object layout, gradients, statistics_layout
    cdef object constants     # memory that stages refer to; it does not change
    cdef object owners        # for each array in the layout: its stage, and its index among the stage's arrays
    cdef object per_output, own
    cdef public uint64_t seed
    cdef public int64_t noise_steps  # training passes so far; noise depends on it and the seed
    cdef Crew crew            # of the last run, from whose choice the next one begins
    cdef Py_ssize_t crew_batch
    cdef Crew callers[CALLS]  # of loops of calls alike
    cdef Py_ssize_t callers_rows[CALLS]
    cdef bint timed           # whether the call in progress is measured
    cdef readonly Slot slot
    cdef readonly Place place

    def __cinit__(self, dtype, stages, loss, seed, Guard guard not None, Program same=None, own=None):
        self.saved = -1
        self.guard = guard
        self.dtype = np.dtype(dtype)
        self.plan.K = table(self.dtype == np.float64)
        self.plan.z = self.dtype.itemsize
        self.plan.n_stages = len(stages)
        self.plan.stages = <Stage*>calloc(len(stages), sizeof(Stage))
        if self.plan.stages == NULL:
            raise MemoryError("no memory for the program")
        self.layout, self.owners, self.statistics_layout, self.constants = [], [], [], []
        lay_out(&self.plan, stages, self.layout, self.owners, self.statistics_layout, self.constants)
        self.fill_loss(("sum_squared_error", (), None, True) if loss is None else loss)
        self.fill_own(own)
        self.seed = seed
        self.make_arenas(stages) if same is None else self.share(same)
        fill_row(&self.row, &self.plan, data(self.parameters), data(self.statistics))

    cdef int make_arenas(self, stages) except -1:
        self.parameters = aligned_zeros(self.plan.n_parameters, self.dtype)
        self.gradients = aligned_zeros(self.plan.n_parameters, self.dtype)
        kept = [array for spec in stages for array in spec["statistics"]]
        self.statistics = aligned_zeros(sum([prod(array.shape) for array in kept]), self.dtype)
        for array, (_, _, at, shape) in zip(kept, self.statistics_layout):
            self.statistics[at : at + prod(shape)] = array.initial
        self.slot = Slot(self.parameters, self.plan.n_parameters//NORM_BLOCK + self.plan.n_stages, self.guard)
        self.place = Place()
        return 0

    cdef int share(self, Program other) except -1:
        if (self.layout, self.statistics_layout) != (other.layout, other.statistics_layout):
            raise ValueError("the programs are not of the same network")
        self.parameters, self.gradients, self.statistics = other.parameters, other.gradients, other.statistics
        self.slot, self.place, self.noise_steps = other.slot, other.place, other.noise_steps
        return 0

    cdef fill_loss(self, description):
        cdef LossSpec* loss = &self.plan.loss
        kind, numbers, per_output, summed = description
        if len(numbers) > 2:
            raise ValueError(f"a loss has at most 2 numbers, got {len(numbers)}")
        loss.kind = LOSSES[kind]
        loss.a, loss.b = (*numbers, 0, 0)[:2]
        if per_output is not None:
            loss.period = len(per_output)
            if loss.period == 0:
                raise ValueError("expected at least one parameter for the outputs")
            self.per_output = np.resize(np.asarray(per_output, self.dtype), loss.period + SUM_BLOCK)
            loss.per_output = data(self.per_output)
        self.plan.from_logits = from_logits(loss.kind)
        self.plan.over_elements = over_elements(loss.kind) and not summed

    cdef fill_own(self, own):
        self.own = own
        self.plan.own.in_python = callable(own)
        if own is not None and not self.plan.own.in_python:
            address, user_data, self.plan.own.takes_labels = own
            self.plan.own.compiled, self.plan.own.user_data = <void*><size_t>address, <void*><size_t>user_data
            self.plan.scratch = max(self.plan.scratch, bytes_for_own(&self.plan))

    def __dealloc__(self):
        cdef int i
        for i in range(POOL):
            free_memory(self.pool[i])
        free_workspace(&self.ws)
        free(self.plan.stages)

    # ---- memory

    cdef int reserve(self, Workspace* ws, rows, int threads, bint inputs=True, Py_ssize_t target_bytes=0) except -1:
        """Make the workspace large enough for `rows` rows, with or without their inputs, and `threads` threads; on
        failure it is unchanged.

        `target_bytes`: of a row of targets, if they may be larger than the outputs."""
        cdef const Plan* plan = &self.plan
        self.reserve_scratch(ws, threads)
        target_bytes = max(target_bytes, plan.n_out*plan.z, <Py_ssize_t>sizeof(int64_t))
        if rows <= ws.rows and target_bytes <= ws.target_bytes and (ws.inputs or not inputs):
            return 0
        rows = max(rows, ws.rows)
        sizes = [
            rows*plan.n_in*plan.z if inputs else 0,
            rows*plan.width*plan.z,
            rows*plan.width*plan.z,
            rows*plan.keep_width*plan.z,
            plan.column_width*plan.z,
            rows*target_bytes,
            rows*sizeof(double),
            rows*sizeof(double),
        ]
        sizes = [-(-size//ALIGNMENT)*ALIGNMENT + ALIGNMENT for size in sizes]
        cdef char* memory = NULL
        if sum(sizes) < 2**62:
            memory = <char*>aligned_memory(sum(sizes))
        if memory == NULL:
            raise MemoryError(f"no memory for the activations of {rows} rows: {sum(sizes)} bytes")
        free_memory(ws.memory)
        if ws == &self.ws:  # the saved forward pass is lost
            self.saved = -1
        ws.memory = memory
        ws.rows, ws.inputs, ws.target_bytes = rows, inputs, target_bytes
        ws.x = memory
        ws.a = ws.x + <size_t>sizes[0]
        ws.g = ws.a + <size_t>sizes[1]
        ws.keep = ws.g + <size_t>sizes[2]
        ws.columns = ws.keep + <size_t>sizes[3]
        ws.targets = ws.columns + <size_t>sizes[4]
        ws.weights = <double*>(ws.targets + <size_t>sizes[5])
        ws.row_loss = <double*>(<char*>ws.weights + <size_t>sizes[6])
        return 0

    cdef int reserve_sparse(self, Job* job, x, order, bint repeated=False) except -1:
        """Make room for the mini-batches of a job whose first stage takes sparse rows: those with the numbers in
        `order`, or all. `repeated`: a mini-batch may have a row several times."""
        if not job.sparse:
            return 0
        cdef Py_ssize_t rows = job.batch
        cdef Py_ssize_t stored = rows*x.most_stored(1, order) if repeated else x.most_stored(rows, order)
        cdef SparseBatch* batch = &job.ws.sparse
        cdef char* memory
        if batch.memory != NULL and rows <= batch.rows and stored <= batch.stored:
            return 0
        rows, stored = max(rows, batch.rows), max(stored, batch.stored)
        if stored > MAX_SIZE:
            raise MemoryError(f"no memory for {stored} stored elements of {rows} rows: at most {MAX_SIZE}")
        memory = <char*>aligned_memory(sparse_bytes(&self.plan, rows, stored, True))
        if memory == NULL:
            raise MemoryError(f"no memory for {stored} stored elements of {rows} rows")
        free_memory(batch.memory)
        batch.memory, batch.rows, batch.stored = memory, rows, stored
        lay_out_sparse(&self.plan, memory, rows, stored, True, batch)
        return 0

    cdef bint takes_as_sparse(self, x):
        """Whether the first stage computes with the rows of `x` as sparse ones."""
        return type(x) is Source and (<Source>x).source.is_sparse and takes_sparse(&self.plan)

    cdef int reserve_scratch(self, Workspace* ws, int threads) except -1:
        """Make the scratch memory of the workspace large enough for `threads` threads."""
        cdef char* memory
        if threads <= ws.threads:
            return 0
        memory = <char*>aligned_memory(<size_t>threads*<size_t>self.plan.scratch + ALIGNMENT)
        if memory == NULL:
            raise MemoryError(f"no scratch memory for {threads} threads: {threads*self.plan.scratch} bytes")
        free_memory(ws.scratch)
        ws.scratch, ws.threads = memory, threads
        return 0

    cdef int reserve_to_learn(self, Workspace* ws, Py_ssize_t rows, int threads, int more) except -1:
        """Make room for the sums over chunks of rows, and for `more` arenas like them."""
        cdef int n = sums_needed(&self.plan, rows, threads) + more
        cdef char* memory
        if n <= ws.n_sums:
            return 0
        memory = <char*>aligned_memory(<size_t>n*<size_t>(self.plan.n_parameters*self.plan.z) + ALIGNMENT)
        if memory == NULL:
            raise MemoryError(f"no memory for the gradients of {n} parts of a mini-batch")
        free_memory(ws.sums)
        ws.sums, ws.n_sums = memory, n
        return 0

    cdef int threads_for(self, double rows, int most):
        cdef double useful = self.plan.flops_per_row*rows/FLOPS_PER_THREAD
        return max(1, min(most, <int>min(useful, <double>MAX_THREADS)))

    cdef int first_guess(self, Py_ssize_t batch, int most):
        """Return with how many threads a run of steps begins: twice as many as a single step would pay for."""
        return min(self.threads_for(2.0*batch, most), usable_processors())

    cdef int threads_to_call(self, int which, Py_ssize_t rows, int threads, bint fixed):
        """Return the number of threads for one of many calls alike; large ones measure which is faster."""
        cdef Crew* crew = &self.callers[which]
        cdef double work = rows/3.0 if which >= PREDICT else rows  # forward alone is a third of a step
        threads = min(threads, <int>MAX_THREADS) if fixed else self.threads_for(work, threads)
        self.timed = threads > 1 and not fixed
        if not self.timed:
            return threads
        if crew.threads[0] != threads or self.callers_rows[which] != rows:
            enlist(crew, threads, usable_processors(), False)
            self.callers_rows[which] = rows
        elif which >= PREDICT and crew.latest > LONG_CALL:  # a thread that another program slows down takes fewer tiles
            return min(threads, usable_processors())
        return threads_of_call(crew, seconds_now())

    cdef inline double time_of_call(self) noexcept:
        """Return the time if this call is measured."""
        return seconds_now() if self.timed else 0

    cdef inline void end_call(self, int which, int threads, double start) noexcept:
        if self.timed and start:
            count_call(&self.callers[which], threads, seconds_now() - start)

    # ---- running

    cpdef void settle(self) noexcept:
        """Store the state of the run in progress: at the end of a slice, or when a signal handler copies the network
        in the middle of one."""
        if self.running != NULL:
            self.keep(self.running)
            self.noise_steps = self.running.noise_steps

    cdef void keep(self, const Job* job) noexcept nogil:
        """Store the state of the optimizer, and the place in the epoch."""
        self.slot.keep(job)
        self.place.keep(&job.epoch)
        if job.epoch.counted:
            self.slot.epochs = job.epoch.counted_before + job.epoch.done

    cdef Py_ssize_t expect_rows(self, x) except -1:
        """Check the rows of `x`; return their number."""
        if type(x) is Source:
            if x.dtype != self.dtype or x.shape[1] != self.plan.n_in:
                raise TypeError(f"expected rows of {self.plan.n_in} numbers for {self.dtype}")
            return (<Source>x).source.n
        if not (self.is_plain(x, 2) and cnp.PyArray_DIM(x, 1) == self.plan.n_in):
            expect(x, self.dtype, (x.shape[0], self.plan.n_in), False)
        return cnp.PyArray_DIM(x, 0)

    cdef Py_ssize_t take_rows(self, x, const char** at, const SourceBlocks** source) except -1:
        """Set where the rows of `x` lie: plain ones, or a source; return their number."""
        cdef Py_ssize_t n = self.expect_rows(x)
        at[0], source[0] = NULL, NULL
        if type(x) is Source:
            source[0] = &(<Source>x).source
        else:
            at[0] = data(x)
        return n

    cdef int expect_matrix(self, array, Py_ssize_t n, Py_ssize_t columns, bint writes) except -1:
        """Check a matrix of the network's dtype with one row for each of `n` samples."""
        if not (
            self.is_plain(array, 2) and cnp.PyArray_DIM(array, 0) == n and cnp.PyArray_DIM(array, 1) == columns
            and (not writes or cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array))
        ):
            expect(array, self.dtype, (n, columns), writes)
        return 0

    cdef bint expect_targets(self, targets, Py_ssize_t n) except -1:
        """Check the targets of `n` rows; return whether they are labels."""
        cdef bint labels = False
        if type(targets) is np.ndarray and has_layout(targets, 1, cnp.NPY_INT64) and cnp.PyArray_DIM(targets, 0) == n:
            labels = True
        elif targets.ndim == 1:
            expect(targets, np.dtype(np.int64), (n,), False)
            labels = True
        else:
            shape = targets.shape[1:] if self.plan.own.in_python else (self.plan.n_out,)
            expect(targets, self.dtype, (n, *shape), False)
        if self.plan.own.compiled != NULL and self.plan.own.takes_labels != labels:
            raise TypeError("the compiled loss takes other targets")
        return labels

    cdef int set_targets(self, Job* job, targets) except -1:
        """Set the targets of all rows, an array that must outlive the job."""
        job.labels = self.expect_targets(targets, job.n)
        job.targets = data(targets)
        job.target_bytes = self.bytes_of_target(targets)
        job.program, job.given_targets = <void*>self, <void*>targets
        return 0

    cdef Py_ssize_t bytes_of_target(self, targets) noexcept:
        """Return the bytes of a row of targets."""
        cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(<cnp.ndarray>targets)
        cdef int axis
        for axis in range(1, cnp.PyArray_NDIM(<cnp.ndarray>targets)):
            size *= cnp.PyArray_DIM(<cnp.ndarray>targets, axis)
        return size

    cdef const double* expect_weights(self, weights, n) except? NULL:
        """Check the weights of `n` rows; return NULL if they are None."""
        if weights is None:
            return NULL
        expect(weights, np.dtype(np.float64), (n,), False)
        return <const double*>data(weights)

    cdef int fill(self, Job* job, Workspace* ws, int work, x, targets, weights) except -1:
        memset(job, 0, sizeof(Job))
        job.plan = &self.plan
        job.ws = ws
        job.work = work
        job.parameters = data(self.parameters)
        job.gradients = data(self.gradients)
        job.statistics = data(self.statistics)
        job.seed = self.seed
        job.noise_steps = self.noise_steps
        job.lowest = self.plan.first_trained if work & UPDATE else self.plan.first_learned
        job.from_logits = self.plan.from_logits and work & LOSS
        job.until = 1
        job.deadline = INFINITY
        job.next_look = seconds_now() + SLICE
        if x is not None:
            job.n = job.batch = self.take_rows(x, &job.x, &job.source)
            job.sparse = self.takes_as_sparse(x)
        job.flops_per_row = flops_of(job)
        if targets is not None:
            self.set_targets(job, targets)
        job.weights = self.expect_weights(weights, job.n)
        return 0

    def predict(self, x, out, int threads, bint fixed, bint fused=False):
        """Write the outputs for the rows of `x` to `out`; with `fused`, the values that the loss is computed from."""
        self.write_outputs(x, out, threads, fixed, fused)

    def predict_rows(self, x, out, int threads, bint fixed):
        """Return the outputs for rows, in `out` unless that is None; None if the arrays need conversion or checks
        first."""
        cdef cnp.npy_intp shape[2]
        if not self.accepts_rows(x) or cnp.PyArray_DIM(x, 0) == 0:
            return None
        shape[0], shape[1] = cnp.PyArray_DIM(x, 0), self.plan.n_out
        if out is None:
            out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT64 if self.plan.z == 8 else cnp.NPY_FLOAT32, 0)
        elif not (
            self.accepts_outputs(out, shape[0]) and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
            and are_apart(x, out) and are_apart(self.parameters, out)
        ):
            return None
        self.write_outputs(x, out, threads, fixed, False)
        return out

    cdef int write_outputs(self, x, out, int threads, bint fixed, bint fused) except -1:
        cdef TileJob job
        memset(&job, 0, sizeof(TileJob))
        job.n = self.take_rows(x, &job.x, &job.source)
        job.sparse = self.takes_as_sparse(x)
        expect(out, self.dtype, (job.n, self.plan.n_out), True)
        job.work = predict_tile
        job.last = self.plan.n_stages - 1
        job.out = data(out)
        job.linear = fused and self.plan.from_logits
        self.walk(&job, x, PREDICT, self.threads_to_call(PREDICT, job.n, threads, fixed))

    def predict_stage(self, x, out, int stage, int threads, bint fixed):
        """Write the outputs of one stage for the rows of `x` to `out`, with the bits that `predict` computes."""
        cdef TileJob job
        if not 0 <= stage < self.plan.n_stages:
            raise ValueError(f"there is no stage {stage} of {self.plan.n_stages}")
        memset(&job, 0, sizeof(TileJob))
        job.n = self.take_rows(x, &job.x, &job.source)
        job.sparse = self.takes_as_sparse(x)
        expect(out, self.dtype, (job.n, self.plan.stages[stage].n_out), True)
        job.work = predict_tile
        job.last = stage
        job.out = data(out)
        if not fixed:
            threads = self.threads_for(job.n/3.0, threads)
        self.timed = False  # `predict` alone measures how many are faster
        self.walk(&job, x, PREDICT, threads)

    def evaluate(self, x, targets, weights, metrics, int threads, bint fixed, order=None):
        """Return the loss, and the total of each metric over rows, whose scores are multiplied by their weights.

        `metrics`: a sequence of `nnfast.metrics.Scoring`. `order`: the rows, whose weights `weights` are, if not all.
        """
        cdef TileJob job
        cdef ScoreMemory memory
        memset(&job, 0, sizeof(TileJob))
        job.work = evaluate_tile
        job.last = self.plan.n_stages - 1
        job.n = self.take_rows(x, &job.x, &job.source)
        job.sparse = self.takes_as_sparse(x)
        job.labels = self.expect_targets(targets, job.n)
        job.targets = data(targets)
        job.target_bytes = self.bytes_of_target(targets)
        if order is not None:
            job.n = len(order)
            expect(order, np.dtype(np.int64), (job.n,), False)
            job.order = <const int64_t*>data(order)
        job.weights = self.expect_weights(weights, job.n)
        row_loss = np.empty(job.n)
        job.row_loss = <double*>data(row_loss)
        if self.plan.own.in_python:
            outputs = np.empty((job.n, self.plan.n_out), self.dtype)
            job.out = data(outputs)
        totals = np.zeros(len(metrics))
        threads = self.threads_to_call(EVALUATE, job.n, threads, fixed)
        if metrics:
            memory = ScoreMemory(metrics, job.n, weights is not None, threads)
            job.scores = memory.scores
        self.walk(&job, x, EVALUATE, threads, order)
        add_scores(&job.scores, job.n, threads, <double*>data(totals))
        cdef double total, weight = sum_of_weights(job.weights, job.n)
        if not self.plan.own.in_python:
            total = averaged(&self.plan, sum_of_rows(job.row_loss, job.n), weight)
        else:
            total = self.own(outputs, targets if order is None else targets[order], weights)[0] if weight != 0 else 0
        return total + penalties(&self.plan, job.parameters, share_in_average(weight)), totals

    cdef int walk(self, TileJob* job, x, int which, int threads, order=None) except -1:
        cdef double start = self.time_of_call()
        job.plan = &self.plan
        job.pool = self.pool
        job.parameters = data(self.parameters)
        job.statistics = data(self.statistics)
        if job.order != NULL or job.source != NULL:
            if job.sparse:
                job.stored = x.most_stored(self.plan.tile_rows, order)
            gathered = aligned_zeros(min(threads, MAX_THREADS)*gathered_bytes(job), np.uint8)
            job.gathered = data(gathered)
        while job.next*self.plan.tile_rows < job.n:
            job.deadline = seconds_now() + SLICE
            with nogil:
                run_team(threads, walk_tiles, job)
            if job.failed:
                raise MemoryError(f"no memory for a tile of {self.plan.tile_rows} rows")
            PyErr_CheckSignals()
        self.end_call(which, threads, start)
        return 0

    cdef bint is_plain(self, object array, int ndim) noexcept:
        """Whether this is an array, not of a subclass, of the network's dtype that the engine can read as it is."""
        return is_plain(array, ndim, self.plan.z)

    cpdef bint accepts_rows(self, object x) noexcept:
        """Return whether rows need neither conversion nor further checks."""
        return (
            self.is_plain(x, 2) and cnp.PyArray_DIM(x, 1) == self.plan.n_in and cnp.PyArray_DIM(x, 0) <= MAX_SIZE
        )

    cpdef bint accepts_outputs(self, object outputs, Py_ssize_t n) noexcept:
        """The same for `n` rows like the network's outputs."""
        return self.is_plain(outputs, 2) and cnp.PyArray_DIM(outputs, 0) == n and (
            cnp.PyArray_DIM(outputs, 1) == self.plan.n_out
        )

    def accepts(self, x, targets, bint any_targets):
        """Return whether rows and targets need neither conversion nor further checks: those that a step trains on.

        `any_targets`: the loss takes any numbers, so that an array of targets needs no look at its values."""
        if not self.accepts_rows(x):
            return False
        cdef Py_ssize_t n = cnp.PyArray_DIM(x, 0)
        if n == 0:
            return False
        if any_targets and self.accepts_outputs(targets, n):
            return True
        if type(targets) is not np.ndarray or not has_layout(targets, 1, cnp.NPY_INT64):
            return False
        if self.plan.n_out < 2 or not over_classes(self.plan.loss.kind) or cnp.PyArray_DIM(targets, 0) != n:
            return False
        return are_classes(<const int64_t*>data(targets), n, self.plan.n_out)

    def gradient(
            self, x, targets, weights, out, gx, int threads, bint fixed, bint training=False, metrics=(), scores=None,
            outputs=None, ActivationMemory memory=None
    ):
        """Write the gradient of the loss to `out`, a vector like the arena of parameters, and the gradient with respect
        to the input to `gx` unless that is None; return the loss. `training`: with the dropout and noise of the next
        training step, and the statistics of this batch. Writes the totals of `metrics` to `scores`, and the outputs to
        `outputs` unless that is None. `memory`: for many calls alike."""
        expect(out, self.dtype, (self.plan.n_parameters,), True)
        cdef Job job
        cdef ScoreMemory score_memory
        cdef Workspace* ws
        cdef double loss = 0, start
        memory = memory or ActivationMemory()
        ws = &memory.ws
        threads = self.threads_to_call(GRADIENT, x.shape[0], threads, fixed)
        self.reserve(ws, x.shape[0], threads, not self.takes_as_sparse(x))
        self.reserve_to_learn(ws, x.shape[0], threads, 0)
        self.fill(&job, ws, FORWARD | LOSS | BACKWARD | WEIGHTS, x, targets, weights)
        self.reserve_sparse(&job, x, None)
        job.training = training
        job.gradients = data(out)
        if gx is not None:
            expect(gx, self.dtype, (job.n, self.plan.n_in), True)
            job.gx = data(gx)
        if metrics:
            expect(scores, np.dtype(np.float64), (len(metrics),), True)
            score_memory = ScoreMemory(metrics, job.n, weights is not None, threads)
            job.scores, job.step_scores = score_memory.scores, <double*>data(scores)
        self.write_training_outputs(&job, outputs)
        job.step_loss = &loss
        start = self.time_of_call()
        with nogil:
            run_team(threads, run_stages, &job)
        self.end_call(GRADIENT, threads, start)
        raise_if(job.interrupted)
        return loss

    cdef int write_training_outputs(self, Job* job, outputs) except -1:
        """Let a job write the outputs to an array, unless that is None."""
        if outputs is not None:
            expect(outputs, self.dtype, (job.n, self.plan.n_out), True)
            job.outputs = data(outputs)
        return 0

    def jacobian(self, x, out, int threads, bint fixed):
        """Write the derivatives of the outputs for each row of `x` with respect to that row to `out`, of shape (rows,
        outputs, inputs)."""
        cdef Job base
        cdef JacobianJob job
        cdef Workspace ws
        n = x.shape[0]
        expect(out, self.dtype, (n, self.plan.n_out, self.plan.n_in), True)
        threads = min(threads, MAX_THREADS) if fixed else self.threads_for(n*(1.0 + self.plan.n_out)/3, threads)
        job.rows = max(1, min(min(self.plan.tile_rows, <Py_ssize_t>JACOBIAN_ROWS), -(-n//threads)))
        memset(&ws, 0, sizeof(Workspace))
        try:
            self.reserve(&ws, threads*job.rows, threads)
            self.fill(&base, &ws, FORWARD | BACKWARD, x, None, None)
            gx = np.empty((threads*job.rows, self.plan.n_in), self.dtype)
            base.gx = data(gx)
            job.base = &base
            job.x, job.out, job.n, job.next = base.x, data(out), n, 0
            with nogil:
                run_team(threads, walk_jacobian, &job)
            raise_if(base.interrupted)
        finally:
            free_workspace(&ws)

    def training_loss(
            self, x, targets, weights, metrics, int threads, bint lasting=False, outputs=None,
            ActivationMemory memory=None
    ):
        """Like `evaluate`, for one batch as in a training step; `lasting`: with the side effects of the step's forward
        pass. Writes the outputs to `outputs` unless that is None. `memory`: for many calls alike."""
        cdef Job job
        cdef ScoreMemory score_memory
        cdef Workspace* ws
        cdef double loss = 0
        totals = np.zeros(len(metrics))
        memory = memory or ActivationMemory()
        ws = &memory.ws
        threads = self.threads_for(x.shape[0]/3.0, threads)
        self.reserve(ws, x.shape[0], threads, not self.takes_as_sparse(x))
        self.fill(&job, ws, FORWARD | LOSS, x, targets, weights)
        self.reserve_sparse(&job, x, None)
        job.training, job.lasting = True, lasting
        job.step_loss, job.step_scores = &loss, <double*>data(totals)
        self.write_training_outputs(&job, outputs)
        if metrics:
            score_memory = ScoreMemory(metrics, job.n, weights is not None, threads)
            job.scores = score_memory.scores
        with nogil:
            run_team(threads, run_stages, &job)
        raise_if(job.interrupted)
        if lasting:
            self.noise_steps = job.noise_steps
        return loss, totals

    def forward(self, x, out, int threads):
        """Write the outputs for the rows of `x` to `out`; keep what `backward` needs."""
        cdef Job job
        cdef const Stage* last = &self.plan.stages[self.plan.n_stages - 1]
        cdef Py_ssize_t n = self.expect_rows(x)
        threads = self.threads_for(n/3.0, threads)
        self.reserve(&self.ws, n, threads)
        self.fill(&job, &self.ws, FORWARD, x, None, None)
        job.training = job.lasting = True
        self.expect_matrix(out, n, self.plan.n_out, True)
        cdef char* to = data(out)
        self.guard.hold()
        try:
            if job.n:  # the caller may change x before `backward`
                memcpy(self.ws.x, job.x, <size_t>(job.n*self.plan.n_in*self.plan.z))
            with nogil:
                run_team(threads, run_stages, &job)
                copy_rows(
                    &self.plan, n, self.plan.n_out, activations(&self.plan, &self.ws, last, 0), last.ld, to,
                    self.plan.n_out
                )
            self.saved = -1 if job.interrupted else job.n
            self.noise_steps = job.noise_steps
        finally:
            self.guard.release()
        raise_if(job.interrupted)

    @property
    def saved_rows(self):
        """Rows of the forward pass that awaits its backward pass; -1 if there is none."""
        return self.saved

    @property
    def has_gradients(self):
        """Whether the gradients come from a backward pass that no update has used yet."""
        return self.graded

    def backward(self, gout, gx, bint parameters, bint accumulate, int threads):
        """Compute the gradients with respect to the parameters and the input from that with respect to the outputs."""
        cdef Job job
        cdef const Stage* last = &self.plan.stages[self.plan.n_stages - 1]
        self.fill(&job, &self.ws, BACKWARD | (WEIGHTS if parameters else 0), None, None, None)
        job.training = True
        job.n = job.batch = self.saved
        self.expect_matrix(gout, job.n, self.plan.n_out, False)
        self.expect_matrix(gx, job.n, self.plan.n_in, True)
        job.x = self.ws.x
        job.gx = data(gx)
        job.accumulate = accumulate and self.graded  # to gradients, not to what an update or a train_step left
        threads = self.threads_for(job.n, threads)
        self.reserve_scratch(&self.ws, threads)
        self.reserve_to_learn(&self.ws, job.n, threads, job.accumulate)
        cdef const char* from_ = data(gout)
        with nogil:
            copy_rows(
                &self.plan, job.n, self.plan.n_out, from_, self.plan.n_out, gradients(&self.plan, &self.ws, last, 0),
                last.ld
            )
            run_team(threads, run_stages, &job)
        self.saved = -1
        self.graded = not job.interrupted and (self.graded or parameters)
        raise_if(job.interrupted)

    def chunks(self, Py_ssize_t rows):
        """Return for each stage the number of chunks of a mini-batch in which its gradients are summed; 0 if it has no
        parameters."""
        cdef int s
        return [
            chunks_of(&self.plan.stages[s], rows) if has_arrays(&self.plan.stages[s]) else 0
            for s in range(self.plan.n_stages)
        ]

    @property
    def learns(self):
        """Whether there are parameters that training changes."""
        return self.plan.first_trained < self.plan.n_stages

    def update(self, optimizer, scheduled=None):
        """Do one step of the optimizer with the current gradients.

        `scheduled`: the learning rate of a schedule for this update, and the momentum or None."""
        cdef Job job
        cdef double rate, momentum
        moments = self.slot.moments_for(optimizer)
        self.fill(&job, &self.ws, UPDATE, None, None, None)
        self.guard.hold()
        try:
            self.slot.fill(&job, optimizer, moments)
            if scheduled is not None:
                follow(&job, scheduled, &rate, &momentum)
            job.n = job.batch = 1
            with nogil:
                run_team(1, run_stages, &job)
            self.slot.keep(&job)
            self.forget()
        finally:
            self.guard.release()

    def train_step(self, x, targets, weights, optimizer, int threads, bint fixed, scheduled=None):
        """Do one training step on one mini-batch; return its loss. `scheduled`: as for `update`."""
        cdef Job job
        cdef double loss = 0, rate, momentum, start
        cdef Py_ssize_t n = self.expect_rows(x)
        moments = self.slot.moments_for(optimizer)
        threads = self.threads_to_call(STEP, n, threads, fixed)
        self.reserve(&self.ws, n, threads, not self.takes_as_sparse(x))
        self.reserve_to_learn(&self.ws, n, threads, 0)
        self.fill(&job, &self.ws, FORWARD | LOSS | BACKWARD | WEIGHTS | UPDATE, x, targets, weights)
        self.reserve_sparse(&job, x, None)
        self.guard.hold()
        try:
            self.slot.fill(&job, optimizer, moments)
            job.training = job.lasting = True
            if scheduled is not None:
                follow(&job, scheduled, &rate, &momentum)
            job.step_loss = &loss
            start = self.time_of_call()
            with nogil:
                run_team(threads, run_stages, &job)
            self.end_call(STEP, threads, start)
            self.slot.keep(&job)
            self.noise_steps = job.noise_steps
            self.forget()
        finally:
            self.guard.release()
        raise_if(job.interrupted)
        return loss

    cpdef void forget(self) noexcept:
        """Discard the saved forward pass and mark the gradients as invalid."""
        self.saved = -1
        self.graded = False


include "training.pxi"
include "many.pxi"
include "minimizer.pxi"
include "numerical.pxi"
