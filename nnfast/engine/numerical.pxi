# Numerical gradients as Python sees them. Included by program.pyx after `Program`.

cdef class Differences:
    """Finite differences of the loss, in slices of time.

    Parameters
    ----------
    program : Program
        A float64 program, whose parameters must not change meanwhile.
    x, targets, weights : ndarray
        The data, in the form the program expects; at least one row. Weights may be None.
    arrays : list of int
        Arrays to differentiate with respect to: indices into `Program.layout`, and -1 for the input.
    h : float
        The difference.
    training : bool
        Whether to use the loss of the next training step.
    structured : bool
        If False, take the generic path for all parameters, even where a structured one exists.

    Attributes
    ----------
    slopes : ndarray of shape (numbers, 2)
        To the right and to the left of each number: for all parameters, zero for those not in `arrays`, then for the
        input if it is.
    done : float
        The fraction of the work that is done.
    """

    cdef DifferenceJob job
    cdef Job base
    cdef Workspace ws
    cdef Program program
    cdef int threads
    cdef double count
    cdef bint defined
    cdef object x, targets, weights, sums

    def __init__(
        self, Program program, x, targets, weights, arrays, double h, int threads, bint training=False,
        bint structured=True
    ):
        cdef Plan* plan = &program.plan
        cdef double loss = 0
        n = x.shape[0]
        if plan.own.in_python:
            raise TypeError("a loss in Python is a function of the whole batch, and not a sum over rows")
        expect(x, np.dtype(np.float64), (n, plan.n_in), False)
        self.program, self.x, self.targets, self.weights = program, x, targets, weights
        self.sums = np.zeros((plan.n_parameters + (n*plan.n_in if -1 in arrays else 0), 2))
        self.threads = program.threads_for(2.0*n*self.sums.shape[0]/3, threads)
        program.reserve(&self.ws, n, self.threads)
        program.fill(&self.base, &self.ws, FORWARD | LOSS, x, targets, weights)
        self.base.training = training
        self.base.step_loss = &loss
        self.job.plan = plan
        self.job.base = &self.base
        self.job.x = <const double*>data(x)
        self.job.n = n
        self.job.h = h
        self.job.sums = <double*>data(self.sums)
        self.job.segments = <Segment*>calloc(len(arrays) + 1, sizeof(Segment))
        if self.job.segments == NULL:
            raise MemoryError(f"no memory for the differences of {n} rows")
        for array in arrays:
            self.add_segment(array, structured)
        all_rows = last_from_batch(&self.base, plan.n_stages) >= 0
        self.job.capacity = max(plan.tile_rows, n) if all_rows else plan.tile_rows
        self.job.words = words_for(plan, n, self.job.capacity, self.job.generic)
        self.job.memory = <double*>aligned_memory(self.threads*self.job.words*sizeof(double))
        if self.job.memory == NULL:
            raise MemoryError(f"no memory for the differences of {n} rows")
        self.count = sum_of_weights(self.base.weights, n)*(plan.n_out if plan.over_elements else 1)
        self.pass_unchanged()
        self.defined = loss - loss == 0

    cdef int pass_unchanged(self) except -1:
        self.base.next_look = self.job.next_look = seconds_now() + SLICE
        with nogil:
            run_team(self.threads, run_stages, &self.base)
        raise_if(self.base.interrupted)
        with nogil:
            run_team(self.threads, compute_all_unchanged, &self.job)
        raise_if(self.job.interrupted)
        self.job.next = 0
        return 0

    cdef int add_segment(self, int number, bint structured) except -1:
        cdef DifferenceJob* job = &self.job
        cdef Segment* segment = &job.segments[job.n_segments]
        segment.first = job.items
        segment.inputs = segment.chunks = 1
        if number < 0:
            segment.layer, segment.inputs, segment.slot = -1, job.n, job.plan.n_parameters
        else:
            _, _, segment.slot, shape = self.program.layout[number]
            segment.layer, segment.array = self.program.owners[number]
            segment.path = job.plan.stages[segment.layer].kind.paths[segment.array] if structured else GENERIC
            if segment.path == GENERIC:
                segment.chunks = prod(shape)
                job.generic = True
            else:
                if segment.path == ONE_OUTPUT_BY_INPUT:
                    segment.inputs = shape[0]
                segment.units = max(1, ITEM_ROWS//2//job.n)
                segment.chunks = -(-shape[len(shape) - 1]//segment.units)
        job.items += segment.inputs*segment.chunks
        job.n_segments += 1
        return 0

    def __dealloc__(self):
        free_workspace(&self.ws)
        free_memory(self.job.memory)
        free(self.job.segments)

    @property
    def done(self):
        return min(1.0, self.job.next/<double>self.job.items) if self.job.items else 1.0

    @property
    def slopes(self):
        count = self.count or 1.0  # a total weight of zero: the sums are zero too
        both = self.sums/count/np.array([self.job.h, -self.job.h])
        if not self.defined:  # the loss is not finite, so no difference is defined, not even where no row changed
            both[:self.job.plan.n_parameters] = np.nan
        return both

    def run(self, double seconds=SLICE):
        """Continue until all work is done or the time is up; return whether all is done."""
        self.job.next_look = seconds_now() + SLICE
        self.job.deadline = seconds_now() + seconds
        self.job.ended = 0
        with nogil:
            run_team(self.threads, run_differences, &self.job)
        raise_if(self.job.interrupted)
        return self.job.next >= self.job.items
