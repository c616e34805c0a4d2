# Steps of many networks at the same time. Included by program.pyx.
#
# In a *round*, a team of threads takes one network after another and runs its steps, until all have done what they
# should, or time is up. Only the caller's thread touches Python, and only between rounds: it prepares networks, records
# what they have done, validates and calls callbacks.

cdef extern from "Python.h" nogil:
    unsigned long thread_ident "PyThread_get_thread_ident" ()  # needs no GIL

cdef double GRACE = 0.125  # of the time since a round began: how long it goes on after the first thread without work

cdef struct Seat:
    void* training
    int threads      # that the steps of this network use
    int64_t before   # how many were done before this round
    double seconds   # that those of this round took

cdef struct Round:
    Seat* seats
    int64_t n
    int64_t next     # the first that no thread has taken
    int64_t idle     # threads that have no more work in this round
    int threads      # the maximum, of all networks together
    int share        # of each network
    bint more        # there is work as soon as Python has run
    bint interrupted
    double begin, end


cdef class Guards:
    """``with Guards(guards):`` marks several networks busy, or none of them if one already is."""

    cdef list guards

    def __cinit__(self, guards):
        self.guards = list(guards)

    def __enter__(self):
        cdef Py_ssize_t i, entered = 0
        try:
            for guard in self.guards:
                (<Guard>guard).__enter__()
                entered += 1
        except BaseException as error:
            for i in range(entered):
                (<Guard>self.guards[i]).__exit__(None, None, None)
            if isinstance(error, RuntimeError):
                raise RuntimeError(f"networks[{entered}]: {error}") from None
            raise
        return self

    def __exit__(self, kind, error, traceback):
        for guard in self.guards:
            (<Guard>guard).__exit__(None, None, None)


cdef void hold_state(Guard guard) noexcept nogil:
    """Like `Guard.hold`, in a thread that never touches Python."""
    if is_locked(&guard.turn) or not try_lock(&guard.state):
        while not try_lock(&guard.turn):
            nap()
        while not try_lock(&guard.state):
            nap()
        unlock(&guard.turn)
    guard.owner = thread_ident()
    guard.depth = 1


cdef void run_seat(Round* round, Seat* seat, Training training, int id) noexcept nogil:
    """Run the steps of one network, with pauses in which another thread may copy it."""
    cdef Job* job = &training.job
    cdef double begin
    # only the caller's thread may look for signals
    job.next_look = round.begin + SLICE if id == 0 else INFINITY
    while job.step < job.until:  # none, if a callback has stopped this network before its first step
        hold_state(training.program.guard)
        begin = seconds_now()
        training.program.running = job
        job.done = job.layer_by_layer = False  # the team before may have been of one
        begin_epoch(&job.epoch)
        run_team(seat.threads, run_stages, job)
        training.program.running = NULL
        training.program.keep(job)
        training.program.noise_steps = job.noise_steps
        seat.seconds += seconds_now() - begin
        training.program.guard.release()
        if job.interrupted or job.step == job.until or seconds_now() > job.deadline:
            return


cdef void end_by(Round* round, double deadline) noexcept nogil:
    """Let all networks end their steps then, or earlier if they would anyway."""
    cdef Job* job
    cdef int64_t i
    for i in range(round.n):
        job = &(<Training>round.seats[i].training).job
        if job.deadline > deadline:
            job.deadline = deadline


cdef void interrupt(Round* round) noexcept nogil:
    """End the round after Ctrl-C: with the current step, or in the middle of it where one thread runs it."""
    cdef int64_t i
    round.interrupted = True
    end_by(round, 0)
    for i in range(round.n):
        if round.seats[i].threads == 1:
            (<Training>round.seats[i].training).job.interrupted = True


cdef void wait_for_others(Round* round, int count) noexcept nogil:
    """Look for Ctrl-C while other threads are in a step that may take long."""
    cdef double next_look = seconds_now() + SLICE
    while fetch_add(&round.idle, 0) < count:
        nap()
        look_for_signals(0, &next_look, &round.interrupted)
        if round.interrupted:
            interrupt(round)
            return


cdef void run_round(void* argument, int id, int count) noexcept nogil:
    """Take one network after another, on one thread."""
    cdef Round* round = <Round*>argument
    cdef Seat* seat
    cdef Job* job
    cdef int64_t i, left
    cdef double now
    while not round.interrupted and seconds_now() < round.end:
        i = fetch_add(&round.next, 1)
        if i >= round.n:
            break
        seat = &round.seats[i]
        job = &(<Training>seat.training).job
        run_seat(round, seat, <Training>seat.training, id)
        if id == 0 and job.interrupted and not round.interrupted:
            interrupt(round)
        if job.step == job.until and job.step != (<Training>seat.training).total:
            round.more = True
    left = count - fetch_add(&round.idle, 1) - 1
    if left > 0 and (round.more or round.threads//left > round.share):  # there is work for this thread, or will be
        now = seconds_now()
        end_by(round, now + GRACE*(now - round.begin))
    if id == 0:
        wait_for_others(round, count)


cdef int allot(Training training, int most, bint fixed) except -1:
    """Let the steps of a network use up to `most` threads."""
    cdef ScoreMemory memory
    cdef Program program = training.program
    cdef int threads = min(most, <int>MAX_THREADS)
    if threads == training.crew.threads[0]:
        return 0
    memory = ScoreMemory(training.metrics, training.job.batch, training.weights is not None, threads)
    program.reserve_scratch(&program.ws, threads)
    program.reserve_to_learn(&program.ws, training.job.batch, threads, 0)
    training.earlier = training.threads
    training.memory, training.job.scores = memory, memory.scores
    enlist(&training.crew, threads, program.first_guess(training.job.batch, threads), fixed)
    return 0


def run_many(runs, int threads, bint fixed, bint more, double seconds=SLICE):
    """Run steps of many networks until the time is up, or each has done all of its steps, or a thread is without work
    and could have some: then `run_many` must be called again.

    Parameters
    ----------
    runs : list of (Training, int, Hyperparameters, bool)
        A run of steps, up to which step, and as for `Training.run` the optimizer and whether there is a schedule.
    threads : int
        The maximum number of threads, of all networks together.
    fixed : bool
        As for `Training`, where there are more threads than networks.
    more : bool
        Whether other networks wait for their turn.
    seconds : float
        The time.
    """
    cdef Round round
    cdef Training training
    cdef Seat* seat
    cdef Py_ssize_t i, n = len(runs)
    cdef int64_t steps
    cdef int share = 1 if more else max(1, threads//<int>min(n, threads))
    cdef double length
    memset(&round, 0, sizeof(Round))
    seats = np.zeros(n*sizeof(Seat), np.uint8)
    round.seats, round.n, round.more = <Seat*>data(seats), n, more
    round.threads, round.share = threads, share
    for i, (training, until, optimizer, scheduled) in enumerate(runs):
        allot(training, share, fixed)
        training.program.guard.hold()
        try:
            training.begin(until, optimizer, scheduled)
        finally:
            training.program.guard.release()
        round.seats[i].training, round.seats[i].before = <void*>training, training.job.step
    round.begin = seconds_now()
    round.end = round.begin + seconds
    for i in range(n):
        seat = &round.seats[i]
        seat.threads = next_threads(&(<Training>seat.training).crew, round.begin, &length)
        round.end = min(round.end, round.begin + length)
    for i in range(n):
        (<Training>round.seats[i].training).job.deadline = round.end
    with nogil:
        run_team(<int>min(n, threads), run_round, &round)
    for i in range(n):  # no Python before the exception of a signal handler is raised
        seat = &round.seats[i]
        training = <Training>seat.training
        steps = training.job.step - seat.before
        learn_rate(&training.crew, steps, steps/seat.seconds if seat.seconds > 0 else 0, seconds_now())
    raise_if(round.interrupted)
