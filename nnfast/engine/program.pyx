"""The program: a network as a flat array of steps over arenas, run without the GIL and without touching a Python
object.

Arenas. All parameters are one vector, the gradients a second, each moment of an optimizer another; a step knows its
offsets. Workspace. A row of activations and a row of gradients for each step and sample, sized once for the training
batch.

A training step has two phases. In the first each thread takes its rows through forward, loss and back to the input; in
the second it sums its share of each weight gradient over all rows and updates that share. Every sum has one order,
whatever the number of threads: the bits are the same.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport pow
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from nnfast.kernels.arrays cimport bitgen_t, generator_of, shuffle_order
from nnfast.kernels.dispatch cimport table
from nnfast.kernels.table cimport ADAM, IDENTITY, SOFTMAX, Kernels, Optimizer, Targets, from_logits, over_elements

import numpy as np

from nnfast.kernels.arrays import ACTIVATIONS, LOSSES, OPTIMIZERS

cnp.import_array()

cdef extern from "Python.h":
    int check_signals "PyErr_CheckSignals" () noexcept  # the exception is raised after the threads have joined

cdef extern from "sync.h" nogil:
    enum: MAX_THREADS
    ctypedef struct barrier:
        pass
    ctypedef void (*team_work)(void* job, int id, int n) noexcept nogil
    void barrier_wait(barrier*, int)
    int pause_for(int turn)
    void run_team(int, team_work, void*)
    void* aligned_memory(size_t)
    void free_memory(void*)
    double seconds_now()
    int64_t fetch_add(int64_t*, int64_t)
    bint try_lock(int*)
    void unlock(int*)
    void* exchange(void**, void*)
    uint64_t subnormals_kept()
    void restore_subnormals(uint64_t)

cdef enum:
    ALIGNMENT = 64
    POOL = 16                  # idle tile buffers that are kept for `predict`
    TILE_BYTES = 196608         # of activations of one layer in a tile of `predict`
    FLOPS_PER_THREAD = 2000000  # below this a thread costs more than it saves (33 us to enlist and dismiss one)
    PIECE_SAMPLES = 256        # in a piece of a long step's weight gradients
    FUSED_ROWS = 16            # of a mini-batch whose gradients are used in pieces
    PIECE_BYTES = 16384        # of such a piece, about
    SCRATCH_BYTES = 65536      # of such a piece, at most
    # What a call does, in this order.
    FORWARD = 1
    LOSS = 2
    BACKWARD = 4
    WEIGHTS = 8
    UPDATE = 16

cdef double SLICE = 0.1  # seconds between two looks for Ctrl-C
cdef double BLOCK_FLOPS = 1e9  # of rows between two looks at the clock: usual mini-batches are done in one
cdef double PIECE_FLOPS = 2e8  # of weight gradients between two looks, in a long step
cdef double LONG_FLOPS = 1e9  # of a step whose weights are not changed before all its gradients are there


include "steps.pxi"
include "tiles.pxi"
include "differences.pxi"


cdef int raise_if(bint interrupted) except -1:
    """Raise what a look for signals has left behind."""
    return -1 if interrupted else 0


def aligned_zeros(n, dtype):
    """A vector for an arena: on a cache line, with a vector's width of readable memory behind it."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n*dtype.itemsize + 2*ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n*dtype.itemsize].view(dtype)


cdef inline char* data(object array):
    return <char*>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef int expect(object array, object dtype, object shape, bint writes) except -1:
    """Raise unless the array is one that the engine may touch; `nnfast._validation` gives better messages before."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        raise TypeError(f"expected an array of shape {shape} and dtype {dtype}")
    if not (cnp.PyArray_ISCARRAY(<cnp.ndarray>array) if writes else cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)):
        raise TypeError("expected a C-contiguous, aligned array")
    return 0


cdef int follow(Job* job, scheduled, double* rate, double* momentum) except -1:
    """Let one update have this rate, and this momentum unless it is None."""
    rate[0], second = scheduled
    job.scheduled = True
    job.rates = rate
    job.first_update = job.optimizer_steps
    if second is not None:
        momentum[0] = second
        job.momenta = momentum
    return 0


cdef class Program:
    """A compiled network.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    steps : list of (int, int, str, bool)
        Inputs, outputs, activation and whether there is a bias, for each dense layer.
    loss : str
        A name in `LOSSES`.
    """

    cdef Plan plan
    cdef Workspace ws
    cdef void* pool[POOL]
    cdef int lock
    cdef Py_ssize_t saved     # rows of the forward pass that waits for its backward; -1 without one
    cdef bint graded          # the gradients are those of a backward pass
    cdef readonly object dtype, layout, parameters, gradients, optimizer_kind, moments
    cdef readonly int64_t optimizer_steps
    cdef public object plateau  # the state of a schedule that waits for one, or None

    def __cinit__(self, dtype, steps, loss):
        self.saved = -1
        self.dtype = np.dtype(dtype)
        self.plan.K = table(self.dtype == np.float64)
        self.plan.z = self.dtype.itemsize
        self.plan.n_steps = len(steps)
        self.plan.steps = <Step*>calloc(len(steps), sizeof(Step))
        if self.plan.steps == NULL:
            raise MemoryError("no memory for the program")
        self.lay_out(steps)
        self.plan.loss = LOSSES[loss]
        self.plan.from_logits = from_logits(self.plan.loss)
        self.plan.over_elements = over_elements(self.plan.loss)
        self.parameters = aligned_zeros(self.plan.n_parameters, self.dtype)
        self.gradients = aligned_zeros(self.plan.n_parameters, self.dtype)
        self.moments = []

    cdef lay_out(self, steps):
        """Fill the steps and the offsets; sizes are counted in Python's integers, which do not overflow."""
        cdef Plan* plan = &self.plan
        cdef Step* step
        vector = plan.K.vector_width
        self.layout = []
        offset = width = flops = 0
        for s, (n_in, n_out, activation, use_bias) in enumerate(steps):
            ld = -(-n_out//vector)*vector
            if ld*plan.z % 1024 == 0:  # or a column's elements would all fall into a few sets of the caches
                ld += ALIGNMENT//plan.z
            bytes_needed = (offset + n_in*n_out + n_out)*plan.z
            if bytes_needed > 2**62 or width + ld > 2**40:
                raise MemoryError(f"layer {s} needs {n_in} x {n_out} weights")
            step = &plan.steps[s]
            step.function = ACTIVATIONS[activation]
            step.n_in, step.n_out, step.ld = n_in, n_out, ld
            step.at = width
            step.W, step.b = offset, -1
            self.layout.append((s, "W", offset, (n_in, n_out)))
            offset += n_in*n_out
            if use_bias:
                step.b = offset
                self.layout.append((s, "b", offset, (n_out,)))
                offset += n_out
            width += ld
            flops += 6*n_in*n_out
            plan.tile_ld = max(plan.tile_ld, ld)
        plan.n_in = steps[0][0]
        plan.n_out = n_out
        plan.n_parameters = offset
        plan.width = width
        plan.flops_per_row = flops
        plan.tile_rows = min(max(TILE_BYTES//(plan.tile_ld*plan.z)//12*12, 12), 240)

    def __dealloc__(self):
        cdef int i
        for i in range(POOL):
            free_memory(self.pool[i])
        free_memory(self.ws.memory)
        free(self.plan.steps)

    # ---- who may write

    # `with program:` around all that writes. A `with` statement cannot be interrupted between the lock and its release.

    def __enter__(self):
        """Mark the network busy; RuntimeError if it is."""
        if not try_lock(&self.lock):
            raise RuntimeError("the network is busy: another fit, train_step, backward or update has not returned yet")
        return self

    def __exit__(self, *exception):
        unlock(&self.lock)

    # ---- memory

    cdef int reserve(self, Workspace* ws, rows) except -1:
        """Make the workspace hold `rows` rows; on failure it is as it was."""
        cdef const Plan* plan = &self.plan
        if rows <= ws.rows:
            return 0
        sizes = [
            rows*plan.n_in*plan.z,
            rows*plan.width*plan.z,
            rows*plan.width*plan.z,
            rows*max(plan.n_out*plan.z, <Py_ssize_t>sizeof(int64_t)),
            rows*sizeof(double),
        ]
        sizes = [-(-size//ALIGNMENT)*ALIGNMENT + ALIGNMENT for size in sizes]
        cdef char* memory = NULL
        if sum(sizes) < 2**62:
            memory = <char*>aligned_memory(sum(sizes))
        if memory == NULL:
            raise MemoryError(f"no memory for the activations of {rows} rows: {sum(sizes)} bytes")
        free_memory(ws.memory)
        if ws == &self.ws:  # what waited for its backward is gone
            self.saved = -1
        ws.memory = memory
        ws.rows = rows
        ws.x = memory
        ws.a = ws.x + <size_t>sizes[0]
        ws.g = ws.a + <size_t>sizes[1]
        ws.targets = ws.g + <size_t>sizes[2]
        ws.row_loss = <double*>(ws.targets + <size_t>sizes[3])
        return 0

    cdef int threads_for(self, double rows, int most):
        cdef double useful = self.plan.flops_per_row*rows/FLOPS_PER_THREAD
        return max(1, min(most, <int>min(useful, <double>MAX_THREADS)))

    # ---- the optimizer's slot

    cdef object moments_for(self, optimizer):
        """The slot's moments, or new ones for another kind: what may want memory comes before any change."""
        if optimizer[0] == self.optimizer_kind:
            return self.moments
        return [aligned_zeros(self.plan.n_parameters, self.dtype) for _ in range(optimizer[1])]

    cdef int fill_optimizer(self, Job* job, optimizer, own_moments) except -1:
        """Go on with the slot's state, or start it afresh for another kind, with what `moments_for` returned.
        `optimizer`: kind, moments, rate, beta1, beta2, epsilon."""
        kind, moments, rate, beta1, beta2, epsilon = optimizer
        job.optimizer.kind = OPTIMIZERS[kind]
        if kind != self.optimizer_kind:
            self.moments = own_moments
            self.optimizer_kind = kind
            self.optimizer_steps = 0
            self.plateau = None
        job.optimizer.learning_rate = rate
        job.optimizer.beta1 = beta1
        job.optimizer.beta2 = beta2
        job.optimizer.epsilon = epsilon
        job.moment1 = data(self.moments[0]) if moments > 0 else NULL
        job.moment2 = data(self.moments[1]) if moments > 1 else NULL
        job.optimizer_steps = self.optimizer_steps
        return 0

    def reset_optimizer(self):
        self.optimizer_kind = None
        self.optimizer_steps = 0
        self.moments = []
        self.plateau = None

    def restore_optimizer(self, kind, steps, moments, plateau):
        """Fill the slot from a copy or a file."""
        self.optimizer_kind = kind
        self.optimizer_steps = steps
        self.plateau = plateau
        self.moments = [aligned_zeros(self.plan.n_parameters, self.dtype) for _ in moments]
        for mine, theirs in zip(self.moments, moments):
            mine[:] = theirs

    # ---- running

    cdef bint expect_targets(self, targets, n) except -1:
        """Check the targets of `n` rows; return whether they are labels."""
        if targets.ndim == 1:
            expect(targets, np.dtype(np.int64), (n,), False)
            return True
        expect(targets, self.dtype, (n, self.plan.n_out), False)
        return False

    cdef int fill(self, Job* job, Workspace* ws, int work, x, targets) except -1:
        memset(job, 0, sizeof(Job))
        job.plan = &self.plan
        job.ws = ws
        job.work = work
        job.parameters = data(self.parameters)
        job.gradients = data(self.gradients)
        job.from_logits = self.plan.from_logits and work & LOSS
        job.until = job.total = 1
        job.deadline = float("inf")
        job.next_look = seconds_now() + SLICE
        if x is not None:
            expect(x, self.dtype, (x.shape[0], self.plan.n_in), False)
            job.n = job.batch = x.shape[0]
            job.x = data(x)
        if targets is not None:
            job.labels = self.expect_targets(targets, job.n)
            job.targets = data(targets)
        return 0

    def predict(self, x, out, int threads, bint fused=False):
        """Write the outputs for the rows of `x` to `out`; with `fused`, what the loss is computed from."""
        expect(x, self.dtype, (x.shape[0], self.plan.n_in), False)
        expect(out, self.dtype, (x.shape[0], self.plan.n_out), True)
        cdef TileJob job
        memset(&job, 0, sizeof(TileJob))
        job.out = data(out)
        job.linear = fused and self.plan.from_logits
        self.walk(&job, x, threads)

    def evaluate(self, x, targets, counts, int threads):
        """Return the loss and, if asked to count, how many are right. `counts`: None, "classes", or a threshold."""
        cdef TileJob job
        memset(&job, 0, sizeof(TileJob))
        job.n = x.shape[0]
        job.labels = self.expect_targets(targets, job.n)
        expect(x, self.dtype, (job.n, self.plan.n_in), False)
        job.targets = data(targets)
        job.counts = counts is not None
        job.classes = counts == "classes"
        job.threshold = 0 if job.classes or counts is None else counts
        row_loss = np.empty(job.n)
        job.row_loss = <double*>data(row_loss)
        self.walk(&job, x, threads)
        cdef double total = 0
        cdef Py_ssize_t r
        for r in range(job.n):
            total += job.row_loss[r]
        return total/(job.n*self.plan.n_out if self.plan.over_elements else job.n), job.correct

    cdef int walk(self, TileJob* job, x, int threads) except -1:
        job.plan = &self.plan
        job.pool = self.pool
        job.parameters = data(self.parameters)
        job.x = data(x)
        job.n = x.shape[0]
        threads = self.threads_for(job.n/3.0, threads)  # forward alone is a third of a step
        while job.next*self.plan.tile_rows < job.n:
            job.deadline = seconds_now() + SLICE
            with nogil:
                run_team(threads, walk_tiles, job)
            if job.failed:
                raise MemoryError(f"no memory for a tile of {self.plan.tile_rows} rows")
            PyErr_CheckSignals()
        return 0

    def predict_one(self, x, out):
        """Write the output for one row to `out`, allocating nothing; False if the arrays need the gate first."""
        if not (type(x) is np.ndarray and type(out) is np.ndarray):
            return False
        cdef cnp.ndarray row = x, result = out
        cdef int dtype = cnp.NPY_FLOAT64 if self.plan.z == 8 else cnp.NPY_FLOAT32
        if not (cnp.PyArray_TYPE(row) == dtype and cnp.PyArray_TYPE(result) == dtype
                and cnp.PyArray_NDIM(row) == 1 and cnp.PyArray_NDIM(result) == 1
                and cnp.PyArray_DIM(row, 0) == self.plan.n_in and cnp.PyArray_DIM(result, 0) == self.plan.n_out
                and cnp.PyArray_ISCARRAY_RO(row) and cnp.PyArray_ISCARRAY(result)):
            return False
        cdef const char* from_ = cnp.PyArray_BYTES(row)
        cdef char* to = cnp.PyArray_BYTES(result)
        cdef const char* parameters = data(self.parameters)
        if from_ < to + self.plan.n_out*self.plan.z and to < from_ + self.plan.n_in*self.plan.z:
            raise ValueError("out must not overlap the row")
        if parameters < to + self.plan.n_out*self.plan.z and to < parameters + self.plan.n_parameters*self.plan.z:
            raise ValueError("out must not overlap the network's parameters")
        cdef TileJob job
        cdef bint failed = False
        job.plan = &self.plan
        job.pool = self.pool
        job.parameters = parameters
        job.linear = False
        job.x = from_
        job.out = to
        job.n = 1
        job.next = 0
        job.deadline = 0
        job.failed = False
        with nogil:
            run_team(1, walk_tiles, &job)
            failed = job.failed
        if failed:
            raise MemoryError("no memory for one row")
        return True

    def gradient(self, x, targets, out, gx, int threads):
        """Write the gradient of the loss to `out`, a vector like the arena of parameters, and unless it is None that of
        the input to `gx`; return the loss."""
        expect(out, self.dtype, (self.plan.n_parameters,), True)
        cdef Job job
        cdef Workspace ws
        cdef double loss = 0
        memset(&ws, 0, sizeof(Workspace))
        self.reserve(&ws, x.shape[0])
        try:
            self.fill(&job, &ws, FORWARD | LOSS | BACKWARD | WEIGHTS, x, targets)
            job.gradients = data(out)
            if gx is not None:
                expect(gx, self.dtype, (job.n, self.plan.n_in), True)
                job.gx = data(gx)
            job.step_loss = &loss
            threads = self.threads_for(job.n, threads)
            with nogil:
                run_team(threads, run_steps, &job)
            raise_if(job.interrupted)
        finally:
            free_memory(ws.memory)
        return loss

    def forward(self, x, out, int threads):
        """Outputs for the rows of `x`, keeping what `backward` needs."""
        cdef Job job
        cdef const Step* last = &self.plan.steps[self.plan.n_steps - 1]
        cdef Py_ssize_t r, row_bytes = self.plan.n_out*self.plan.z
        self.reserve(&self.ws, x.shape[0])
        self.fill(&job, &self.ws, FORWARD, x, None)
        expect(out, self.dtype, (job.n, self.plan.n_out), True)
        if job.n:  # the caller may change x before `backward`
            memcpy(self.ws.x, job.x, <size_t>(job.n*self.plan.n_in*self.plan.z))
        threads = self.threads_for(job.n/3.0, threads)
        cdef char* to = data(out)
        with nogil:
            run_team(threads, run_steps, &job)
            for r in range(job.n):
                memcpy(to + r*row_bytes, activations(&self.plan, &self.ws, last, r), row_bytes)
        self.saved = -1 if job.interrupted else job.n
        raise_if(job.interrupted)

    @property
    def saved_rows(self):
        """Rows of the forward pass that waits for its backward; -1 without one."""
        return self.saved

    @property
    def has_gradients(self):
        """Whether the gradients are those of a backward pass that no update has used."""
        return self.graded

    def backward(self, gout, gx, bint parameters, bint accumulate, int threads):
        """From the gradient of the outputs to those of the parameters and of the input."""
        cdef Job job
        cdef const Step* last = &self.plan.steps[self.plan.n_steps - 1]
        cdef Py_ssize_t r, row_bytes = self.plan.n_out*self.plan.z
        self.fill(&job, &self.ws, BACKWARD | (WEIGHTS if parameters else 0), None, None)
        job.n = job.batch = self.saved
        expect(gout, self.dtype, (job.n, self.plan.n_out), False)
        expect(gx, self.dtype, (job.n, self.plan.n_in), True)
        job.x = self.ws.x
        job.gx = data(gx)
        job.accumulate = accumulate and self.graded  # to gradients, not to what an update or a train_step left
        threads = self.threads_for(job.n, threads)
        cdef const char* from_ = data(gout)
        with nogil:
            for r in range(job.n):
                memcpy(gradients(&self.plan, &self.ws, last, r), from_ + r*row_bytes, row_bytes)
            run_team(threads, run_steps, &job)
        self.saved = -1
        self.graded = not job.interrupted and (self.graded or parameters)
        raise_if(job.interrupted)

    def steps_of(self, kind):
        """Updates that an optimizer of this kind has made, if it goes on with the slot's state."""
        return self.optimizer_steps if kind == self.optimizer_kind else 0

    def update(self, optimizer, scheduled=None):
        """One step of the optimizer with the gradients as they are.

        `scheduled`: the learning rate that a schedule gives this update, and the momentum or None."""
        cdef Job job
        cdef double rate, momentum
        self.fill(&job, &self.ws, UPDATE, None, None)
        self.fill_optimizer(&job, optimizer, self.moments_for(optimizer))
        if scheduled is not None:
            follow(&job, scheduled, &rate, &momentum)
        job.n = job.batch = 1
        with nogil:
            run_team(1, run_steps, &job)
        self.optimizer_steps = job.optimizer_steps
        self.forget()

    def train_step(self, x, targets, optimizer, int threads, scheduled=None):
        """Forward, loss, backward and update on one mini-batch; return its loss. `scheduled`: as for `update`."""
        cdef Job job
        cdef double loss = 0, rate, momentum
        moments = self.moments_for(optimizer)
        self.reserve(&self.ws, x.shape[0])
        self.fill(&job, &self.ws, FORWARD | LOSS | BACKWARD | WEIGHTS | UPDATE, x, targets)
        self.fill_optimizer(&job, optimizer, moments)
        if scheduled is not None:
            follow(&job, scheduled, &rate, &momentum)
        job.step_loss = &loss
        threads = self.threads_for(job.n, threads)
        with nogil:
            run_team(threads, run_steps, &job)
        self.optimizer_steps = job.optimizer_steps
        self.forget()
        raise_if(job.interrupted)
        return loss

    cpdef void forget(self) noexcept:
        """No forward pass waits any more, and the gradients are nobody's."""
        self.saved = -1
        self.graded = False


cdef class Training:
    """A run of mini-batch steps, which can stop and go on at any step.

    Parameters
    ----------
    program : Program
        Marked busy by the caller.
    x, targets : ndarray
        The data, as the program takes it.
    batch, total : int
        Rows of a mini-batch (the last of an epoch may be smaller); steps in all.
    optimizer : tuple
        As for `Program.train_step`.
    bit_generator : BitGenerator or None
        Shuffles the rows before each epoch; None keeps their order.
    counts : None, "classes" or float
        How right answers are counted, if at all.
    """

    cdef Job job
    cdef readonly Program program
    cdef int threads
    cdef object order, bit_generator
    cdef readonly object x, targets, step_loss, step_correct, rates, momenta

    def __init__(self, Program program, x, targets, batch, total, optimizer, bit_generator, counts, int threads):
        # all memory first, then changes
        self.step_loss = np.empty(total)
        self.rates = np.empty(total)
        self.step_correct = np.zeros(0 if counts is None else total, np.int64)
        self.order = None if bit_generator is None else np.arange(x.shape[0], dtype=np.int64)
        moments = program.moments_for(optimizer)
        program.reserve(&program.ws, batch)
        program.forget()
        program.fill(&self.job, &program.ws, FORWARD | LOSS | BACKWARD | WEIGHTS | UPDATE, x, targets)
        program.fill_optimizer(&self.job, optimizer, moments)
        self.program, self.x, self.targets, self.bit_generator = program, x, targets, bit_generator
        self.job.batch = batch
        self.job.total = total
        self.job.counts = counts is not None
        self.job.classes = counts == "classes"
        self.job.threshold = 0 if self.job.classes or counts is None else counts
        self.job.step_loss = <double*>data(self.step_loss)
        self.job.rates = <double*>data(self.rates)
        self.job.step_correct = <int64_t*>data(self.step_correct)
        self.threads = program.threads_for(batch, threads)
        if bit_generator is not None:
            self.job.order = <int64_t*>data(self.order)
            self.job.generator = generator_of(bit_generator)
            with bit_generator.lock:
                shuffle_order(self.job.n, self.job.order, self.job.generator)

    @property
    def step(self):
        """Steps done so far."""
        return self.job.step

    def schedule(self, rates, momenta):
        """Set the learning rates of the next steps and, unless they are None, the momenta."""
        cdef int64_t step = self.job.step
        self.rates[step : step + len(rates)] = rates
        if momenta is not None:
            if self.momenta is None:
                self.momenta = np.empty(len(self.rates))
            self.momenta[step : step + len(rates)] = momenta
        self.job.momenta = NULL if momenta is None else <const double*>data(self.momenta)

    cdef int go_on(self, optimizer, bint scheduled) except -1:
        """What an update needs to know."""
        self.program.fill_optimizer(&self.job, optimizer, self.program.moments_for(optimizer))
        self.job.first_update = self.job.optimizer_steps - self.job.step
        self.job.scheduled = scheduled
        return 0

    def run(self, until, optimizer, bint scheduled=False, double seconds=SLICE):
        """Go on until `until` steps are done or the time is up; return the steps done so far.

        With `scheduled`, their rates and momenta are those that `schedule` has set."""
        self.job.until = until
        self.job.done = False
        self.go_on(optimizer, scheduled)
        self.job.interrupted = False
        self.job.deadline = seconds_now() + seconds
        if self.job.step < self.job.until:
            with nogil:
                run_team(self.threads, run_steps, &self.job)
        self.program.optimizer_steps = self.job.optimizer_steps
        raise_if(self.job.interrupted)
        return self.job.step

    @property
    def rows(self):
        """Which rows the next step is about."""
        rows = slice(self.job.position, self.job.position + self.job.batch)
        return rows if self.order is None else self.order[rows]

    def take(self, gradient, double loss, int64_t correct, optimizer, bint scheduled):
        """One step with a gradient that was computed elsewhere; whole, whenever Ctrl-C comes."""
        self.go_on(optimizer, scheduled)
        self.program.gradients[:] = gradient
        self.job.step_loss[self.job.step] = loss
        if self.job.counts:
            self.job.step_correct[self.job.step] = correct
        self.job.work = UPDATE
        self.job.until = self.job.step + 1
        with nogil:
            run_team(1, run_steps, &self.job)
        self.program.optimizer_steps = self.job.optimizer_steps


cdef class Differences:
    """Finite differences of the loss, in slices of time.

    Parameters
    ----------
    program : Program
        In float64. Its parameters must not change meanwhile.
    x, targets : ndarray
        The data, as the program takes it; at least one row.
    arrays : list of int
        With respect to what: numbers of arrays in `Program.layout`, and -1 for the input.
    h : float
        The step.

    Attributes
    ----------
    slopes : ndarray of shape (numbers, 2)
        To the right and to the left of each number: of all parameters, zero where they are not asked for, then of the
        input, if it is.
    done : float
        The part of the work that is done.
    """

    cdef DifferenceJob job
    cdef Workspace ws
    cdef Program program
    cdef int threads
    cdef double count
    cdef bint defined
    cdef object x, targets, sums

    def __init__(self, Program program, x, targets, arrays, double h, int threads):
        cdef Plan* plan = &program.plan
        n = x.shape[0]
        expect(x, np.dtype(np.float64), (n, plan.n_in), False)
        self.program, self.x, self.targets = program, x, targets
        self.job.labels = program.expect_targets(targets, n)
        self.sums = np.zeros((plan.n_parameters + (n*plan.n_in if -1 in arrays else 0), 2))
        program.reserve(&self.ws, n)
        self.job.plan = plan
        self.job.ws = &self.ws
        self.job.parameters = data(program.parameters)
        self.job.x = <const double*>data(x)
        self.job.targets = data(targets)
        self.job.n = n
        self.job.h = h
        self.job.sums = <double*>data(self.sums)
        self.job.segments = <Segment*>calloc(len(arrays) + 1, sizeof(Segment))
        self.threads = program.threads_for(2.0*n*self.sums.shape[0]/3, threads)
        self.job.words = words_for(plan, n)
        self.job.memory = <double*>aligned_memory(self.threads*self.job.words*sizeof(double))
        if self.job.segments == NULL or self.job.memory == NULL:
            raise MemoryError(f"no memory for the differences of {n} rows")
        for array in arrays:
            self.add_segment(array)
        self.count = n*plan.n_out if plan.over_elements else n
        self.job.next_look = seconds_now() + SLICE
        with nogil:
            run_team(self.threads, forward_unchanged, &self.job)
        raise_if(self.job.interrupted)
        self.job.next = 0
        cdef double loss = 0
        cdef Py_ssize_t r
        for r in range(self.job.n):
            loss += self.ws.row_loss[r]
        self.defined = loss - loss == 0

    cdef int add_segment(self, int array) except -1:
        cdef DifferenceJob* job = &self.job
        cdef Segment* segment = &job.segments[job.n_segments]
        segment.first = job.items
        segment.chunks = 1
        if array < 0:
            segment.kind, segment.inputs, segment.slot = INPUT, job.n, job.plan.n_parameters
        else:
            layer, name, segment.slot, shape = self.program.layout[array]
            segment.layer = layer
            segment.kind = WEIGHT if name == "W" else BIAS
            segment.inputs = shape[0] if segment.kind == WEIGHT else 1
            segment.units = max(1, ITEM_ROWS//2//job.n)
            segment.chunks = -(-shape[len(shape) - 1]//segment.units)
        job.items += segment.inputs*segment.chunks
        job.n_segments += 1
        return 0

    def __dealloc__(self):
        free_memory(self.ws.memory)
        free_memory(self.job.memory)
        free(self.job.segments)

    @property
    def done(self):
        return min(1.0, self.job.next/<double>self.job.items) if self.job.items else 1.0

    @property
    def slopes(self):
        both = self.sums/self.count/np.array([self.job.h, -self.job.h])
        if not self.defined:  # not even where no row was changed
            both[:self.job.plan.n_parameters] = np.nan
        return both

    def run(self, double seconds=SLICE):
        """Go on until all is done or the time is up; return whether all is done."""
        self.job.next_look = seconds_now() + SLICE
        self.job.deadline = seconds_now() + seconds
        self.job.ended = 0
        with nogil:
            run_team(self.threads, run_differences, &self.job)
        raise_if(self.job.interrupted)
        return self.job.next >= self.job.items
