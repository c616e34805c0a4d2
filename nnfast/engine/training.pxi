# A training on mini-batches, which Python runs in slices of time. Included by program.pyx.


cdef class Training:
    """A run of mini-batch steps, which can stop and continue at any step.

    Parameters
    ----------
    program : Program
        Marked busy by the caller.
    x : ndarray, Source or None
        The samples; if None, `feed` receives each mini-batch.
    targets, weights : ndarray or None
        In the form the program expects; weights may be None.
    visits : nnfast.training.visits.Visits
        Which rows make a mini-batch, and how many there are.
    optimizer : Hyperparameters
        Returned by `Optimizer.values`; as for `Program.train_step`.
    bit_generator : BitGenerator
        From which the order of each epoch is drawn.
    metrics : sequence of nnfast.metrics.Scoring
        Computed from the outputs of each step, before its update.
    names : sequence of str
        Of these metrics.
    threads : int
        The maximum number of threads.
    fixed : bool
        Whether to use this number instead of measuring which one is faster.
    rows : ndarray of int64 or None
        The rows of the data to train on; None means all. They are read one mini-batch at a time, not copied.
    keep_outputs : bool
        Whether to keep the outputs of an epoch.

    Attributes
    ----------
    first : int
        Steps that an earlier run has done in the first epoch.
    total : int
        The number of steps; -1 if there is no limit.
    step_loss : ndarray of shape (capacity,)
        The loss of each step.
    step_scores : ndarray of shape (capacity, metrics)
        The total of each metric over the rows of each step, whose scores are multiplied by their weights.
    outputs : ndarray of shape (rows in an epoch, n_out) or None
        Of the epoch so far; from the row `first_output` on.
    order : ndarray of int64 or None
        In which the rows of the epoch are visited.
    """

    cdef Job job
    cdef readonly Program program
    cdef Crew crew
    cdef object subset, bit_generator, metrics, sums, totals, names, optimizer, moments
    cdef dict earlier         # steps by threads, of earlier crews
    cdef ScoreMemory memory
    cdef Py_ssize_t fed_rows  # memory for so many
    cdef bint started
    cdef bint placed          # the run's place is the network's
    cdef int64_t capacity
    cdef readonly int64_t first, total
    cdef readonly Py_ssize_t first_output
    cdef readonly object x, targets, weights, step_loss, step_scores, rates, momenta, order, outputs

    def __init__(
        self, Program program, x, targets, weights, visits, optimizer, bit_generator, metrics, names, int threads,
        bint fixed=False, rows=None, bint keep_outputs=False
    ):
        # all memory first, then changes
        self.metrics, self.names, self.earlier = metrics, tuple(names), {}
        self.program, self.x, self.targets, self.weights = program, x, targets, weights
        self.bit_generator, self.subset = bit_generator, rows
        cdef Epoch* epoch = &self.job.epoch
        cdef Epoch plan
        cdef bint fed = x is None
        cdef int64_t per_epoch = visits.per_epoch
        set_visits(&plan, visits)
        plan.fed = fed
        plan.n_sums = 2 + <int>len(metrics)
        self.optimizer, self.moments = optimizer, program.slot.moments_for(optimizer)
        threads = min(threads, <int>MAX_THREADS)
        enlist(&self.crew, threads, program.first_guess(plan.batch, threads), fixed)
        if plan.batch == program.crew_batch:
            begin_as(&self.crew, &program.crew)
        self.memory = ScoreMemory(metrics, plan.batch, weights is not None or fed, threads)
        program.fill(&self.job, &program.ws, FORWARD | LOSS | BACKWARD | WEIGHTS | UPDATE, x, targets, weights)
        epoch[0] = plan
        self.set_subset()
        self.join_epoch(program.place)
        self.total = -1
        if visits.steps is not None:
            self.total = visits.steps
        elif visits.epochs is not None:
            self.total = visits.epochs*per_epoch - self.first
        self.job.scores = self.memory.scores
        self.reserve_steps(self.total if self.total >= 0 else min(max(2*per_epoch, FIRST_STEPS), MOST_FIRST_STEPS))
        if keep_outputs:
            self.outputs = np.empty((plan.n, program.plan.n_out), program.dtype)
            self.job.outputs = data(self.outputs)
        program.reserve(
            &program.ws, plan.batch, threads, not (fed or program.takes_as_sparse(x)),
            0 if fed else program.bytes_of_target(targets)
        )
        program.reserve_to_learn(&program.ws, plan.batch, threads, 0)
        self.job.n, self.job.batch, self.job.order = plan.n, plan.batch, epoch.order
        program.reserve_sparse(&self.job, x, self.subset, plan.drawing == REPLACED)
        self.job.asked = &program.guard.turn
        self.job.training = self.job.lasting = True

    def start(self, optimizer):
        """Make the state of the network's optimizer ready for the first step."""
        cdef Program program = self.program
        if self.started:
            return
        program.guard.hold()
        try:
            program.slot.fill(
                &self.job, optimizer,
                self.moments if optimizer is self.optimizer else program.slot.moments_for(optimizer)
            )
            program.forget()
            self.started = True
            self.moments = None
        finally:
            program.guard.release()

    cdef int set_subset(self) except -1:
        """Set the rows to choose among, and the memory for their order."""
        cdef Epoch* epoch = &self.job.epoch
        if self.subset is not None:
            expect(self.subset, np.dtype(np.int64), (epoch.rows,), False)
            self.subset = self.subset.copy()
            epoch.subset = <const int64_t*>data(self.subset)
        if epoch.drawing != IN_ORDER:
            self.order = np.empty(epoch.n if epoch.drawing == REPLACED else epoch.rows, np.int64)
            epoch.generator = generator_of(self.bit_generator)
        else:
            self.order = self.subset
        if self.order is not None:
            epoch.order = <int64_t*>data(self.order)
        return 0

    cdef int join_epoch(self, Place place) except -1:
        """Continue the epoch in which an earlier run has ended, if it is of the same kind."""
        cdef Epoch* epoch = &self.job.epoch
        cdef const Epoch* other = &place.epoch
        cdef bint joins = not epoch.fed and place.continues(epoch)
        self.sums = np.zeros(epoch.n_sums)
        if joins:
            epoch.begun, epoch.seed, epoch.position = True, other.seed, other.position
            set_order(epoch)
            self.first = epoch.position//epoch.batch
            self.first_output = epoch.position
            if place.names == self.names:
                self.sums[:] = place.sums
        elif other.begun and other.position == 0 and IN_ORDER not in (epoch.drawing, other.drawing):
            epoch.begun, epoch.seed = True, other.seed  # which nothing has used
            set_order(epoch)
        epoch.sums = <double*>data(self.sums)
        self.job.position = epoch.position
        return 0

    def feed(self, x, targets, weights):
        """Hand over the next mini-batch."""
        cdef Program program = self.program
        cdef Job* job = &self.job
        cdef Py_ssize_t n = program.take_rows(x, &job.x, &job.source)
        cdef int threads = self.crew.threads[0]
        cdef bint first = self.x is None
        if self.outputs is not None and n > len(self.outputs):
            self.outputs = np.empty((n, program.plan.n_out), program.dtype)
            job.outputs = data(self.outputs)
        if n > self.fed_rows:
            self.memory = ScoreMemory(self.metrics, n, True, threads)
            job.scores = self.memory.scores
            program.reserve_to_learn(&program.ws, n, threads, 0)
            self.fed_rows = n
        job.n = job.batch = n
        job.sparse = program.takes_as_sparse(x)
        job.flops_per_row = flops_of(job)
        program.reserve(&program.ws, n, threads, not job.sparse)
        program.reserve_sparse(job, x, None)
        program.set_targets(job, targets)
        job.weights = program.expect_weights(weights, n)
        self.x, self.targets, self.weights = x, targets, weights
        if first and self.crew.n > 1:
            enlist(&self.crew, threads, program.first_guess(n, threads), False)

    def be_patient(self, double tolerance, int64_t limit, double best, int64_t waited):
        """End after more than `limit` epochs in a row whose loss was not below the best one by the tolerance.

        `best` is the best loss so far, and `waited` counts the epochs since it has improved.
        """
        self.job.epoch.patience = Patience(True, False, tolerance, best, waited, limit)

    def end_epoch(self):
        """Count an epoch whose mini-batches were fed."""
        end_epoch(&self.job.epoch)
        self.program.keep(&self.job)

    def count_epochs(self, bint counted, int64_t before):
        """Let the optimizer's slot count epochs, or not: for a schedule that has seen so many before this run."""
        self.job.epoch.counted, self.job.epoch.counted_before = counted, before

    cdef int reserve_steps(self, int64_t steps) except -1:
        """Make room for the record of so many steps."""
        cdef int64_t n = self.job.step
        cdef Py_ssize_t epochs
        if steps <= self.capacity:
            return 0
        if self.capacity:
            steps = max(steps, 2*self.capacity)
        epochs = self.job.epoch.done + (self.first + steps - n)//max(self.per_epoch, 1) + 2
        loss, rates, totals = np.empty(steps), np.empty(steps), np.empty((epochs, self.job.epoch.n_sums))
        scores = np.zeros((steps, len(self.metrics)))
        momenta = None if self.momenta is None else np.empty(steps)
        if self.capacity:
            loss[:n], rates[:n], scores[:n] = self.step_loss[:n], self.rates[:n], self.step_scores[:n]
            totals[:self.job.epoch.done] = self.totals[:self.job.epoch.done]
        self.step_loss, self.rates, self.step_scores = loss, rates, scores
        self.totals, self.momenta, self.capacity = totals, momenta, steps
        self.job.step_loss = <double*>data(loss)
        self.job.rates = <double*>data(rates)
        self.job.step_scores = <double*>data(scores)
        self.job.epoch.totals = <double*>data(totals)
        return 0

    @property
    def per_epoch(self):
        """Steps in an epoch."""
        return -(-self.job.epoch.n//self.job.epoch.batch)

    @property
    def step(self):
        """Steps done so far."""
        return self.job.step

    @property
    def epochs(self):
        """Epochs completed so far."""
        return self.job.epoch.done

    @property
    def within_epoch(self):
        """Whether the current epoch has some steps."""
        return self.job.epoch.position > 0 or (self.job.epoch.fed and self.sums[1] > 0)

    @property
    def finished(self):
        """Whether all steps are done, or the loss has not improved for too long."""
        return self.job.step == self.total or self.job.epoch.patience.lost

    def seen(self, bint current):
        """Return outputs, targets and weights of the epoch that was completed last or, with `current`, of the current
        one so far; only as far as this run has visited it."""
        cdef Py_ssize_t last = self.job.epoch.position if current else self.job.epoch.n
        cdef bint joined = self.job.epoch.done == (0 if current else 1)
        part = slice(self.first_output if joined else 0, last)
        rows = part if self.order is None else self.order[part]
        return self.outputs[part], self.targets[rows], None if self.weights is None else self.weights[rows]

    def averages(self, Py_ssize_t first, Py_ssize_t last, per_row, bint current=False):
        """Return the averages of the loss and of each metric, a tuple for each epoch from `first` up to `last`.

        `per_row`: for each metric, the contribution of a row to the denominator. `current`: also of the current epoch.
        """
        cdef Py_ssize_t i, n = self.job.epoch.n_sums
        cdef const double* sums
        cdef double weight
        found = []
        for i in range(first, last + current):
            sums = self.job.epoch.sums if i == self.job.epoch.done else self.job.epoch.totals + i*n
            weight = sums[1] if sums[1] != 0 else 1  # its losses are zero then
            found.append((sums[0]/weight, *[sums[2 + k]/(weight*unit) for k, unit in enumerate(per_row)]))
        return found

    def schedule(self, rates, momenta):
        """Set the learning rates and, unless they are None, the momenta of the next steps."""
        cdef int64_t step = self.job.step
        self.reserve_steps(step + <int64_t>len(rates))
        self.rates[step : step + len(rates)] = rates
        if momenta is not None:
            if self.momenta is None:
                self.momenta = np.empty(len(self.rates))
            self.momenta[step : step + len(rates)] = momenta
        self.job.momenta = NULL if momenta is None else <const double*>data(self.momenta)

    cdef int go_on(self, optimizer, bint scheduled) except -1:
        """Set up the optimizer for the next updates."""
        cdef Slot slot = self.program.slot
        self.start(optimizer)
        self.program.guard.keep()
        slot.fill(&self.job, optimizer, slot.moments_for(optimizer))
        self.job.first_update = self.job.optimizer_steps - self.job.step
        self.job.scheduled = scheduled
        return 0

    cdef void join(self):
        """Make the run's place that of the network, before its first step."""
        if not self.placed:
            self.placed = True
            self.program.place.adopt(&self.job.epoch, self.sums, self.names)

    cdef int begin(self, until, optimizer, bint scheduled) except -1:
        """Set up the next steps; the caller holds the state."""
        self.reserve_steps(until)
        self.join()
        self.job.until = until
        self.go_on(optimizer, scheduled)
        self.job.interrupted = False
        return 0

    def run(self, until, optimizer, bint scheduled=False, double seconds=SLICE):
        """Continue until `until` steps are done, the time is up or another thread waits for a consistent state; return
        the steps done so far.

        With `scheduled`, use the rates and momenta set by `schedule`."""
        cdef Program program = self.program
        program.guard.hold()
        try:
            self.begin(until, optimizer, scheduled)
            program.running = &self.job
            self.run_slices(seconds)
            program.settle()
        finally:
            program.running = NULL
            program.guard.release()
        raise_if(self.job.interrupted)
        return self.job.step

    cdef int run_slices(self, double seconds) except -1:
        """Run slices of time, each with the number of threads that seems best, or that is being tried."""
        cdef double now = seconds_now(), end = now + seconds, begin, length
        cdef int64_t before
        cdef int threads
        while self.job.step < self.job.until:  # at least one step, even if there is no time
            threads = next_threads(&self.crew, now, &length)
            before = self.job.step
            self.job.done = self.job.layer_by_layer = False  # the team before may have been of one
            self.job.deadline = min(end, now + length)
            self.job.began = 0
            begin = now
            with nogil:
                begin_epoch(&self.job.epoch)
                run_team(threads, run_stages, &self.job)
            now = seconds_now()
            learn_rate(&self.crew, self.job.step - before, rate_of(&self.job, self.job.step - before, begin, now), now)
            if self.job.interrupted or is_locked(self.job.asked) or now >= end:
                break
        self.program.crew, self.program.crew_batch = self.crew, self.job.batch
        return 0

    @property
    def threads(self):
        """How many steps were done with each number of threads."""
        found = dict(self.earlier)
        for i in range(self.crew.n):
            if self.crew.steps[i]:
                found[self.crew.threads[i]] = found.get(self.crew.threads[i], 0) + self.crew.steps[i]
        return found

    @property
    def meetings(self):
        """How often all threads of a team, if there were several, have waited for each other."""
        return self.job.meeting.generation

    @property
    def rows(self):
        """The rows of the next step."""
        cdef Epoch* epoch = &self.job.epoch
        self.program.guard.hold()
        try:  # an order that was drawn is not lost if this step does not end
            self.join()
            begin_epoch(epoch)
            self.program.place.keep(epoch)
        finally:
            self.program.guard.release()
        rows = slice(epoch.position, min(epoch.position + epoch.batch, epoch.n))
        return rows if self.order is None else self.order[rows]

    def take(self, gradient, double loss, scores, optimizer, bint scheduled, outputs=None):
        """Do one step with a gradient computed elsewhere; Ctrl-C never leaves it half done."""
        self.program.guard.hold()
        try:
            self.reserve_steps(self.job.step + 1)
            self.join()
            self.go_on(optimizer, scheduled)
            self.program.gradients[:] = gradient
            self.job.step_loss[self.job.step] = loss
            self.step_scores[self.job.step] = scores
            if outputs is not None:
                self.outputs[self.job.position : self.job.position + len(outputs)] = outputs
            self.job.work = UPDATE
            self.job.lasting = False  # the forward pass was done elsewhere
            self.job.until = self.job.step + 1
            with nogil:
                run_team(1, run_stages, &self.job)
            self.program.keep(&self.job)
        finally:
            self.program.guard.release()
