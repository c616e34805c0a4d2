# How many threads a run of steps uses, which is measured while it runs. Included by program.pyx.
#
# Results do not depend on the number of threads, so it may change between two steps. A run begins with a guess, tries
# the next smaller or larger number for a moment, and goes on with what is faster; now and then it looks again, because
# other programs come and go. Beside one, several threads may be fast for a few milliseconds, until the system lets the
# other program run. So a choice is watched, more closely at first, and left once it is slower than another one was.

cdef enum:
    MAX_CHOICES = 8  # the maximum, and the powers of two below it

cdef double TRIAL = 0.001    # seconds, at least: starting and releasing a team of two costs 3 % of that
cdef double TRIAL_STEPS = 4  # at least
cdef double LATER = 0.05     # seconds until a run that begins with fewer threads than it may use tries more
cdef double SETTLED = 0.5    # seconds until another number is tried again
cdef double MARGIN = 1.03    # by which it must be faster
cdef double LONG_CALL = 0.02  # seconds of a call that shares its work as it goes: it needs no choice
cdef double WATCH = 0.005    # seconds until a new choice is compared with the others; then twice that, and so on

cdef struct Crew:
    int n                       # choices
    int threads[MAX_CHOICES]    # of each choice, from the maximum down
    double rate[MAX_CHOICES]    # steps per second in the latest slice of time
    int64_t steps[MAX_CHOICES]  # done so far
    int settled, trying         # choices; the same unless another one is being tried
    int direction               # of the next trial: 1 is towards fewer threads
    double next_trial           # when
    double watch                # seconds until the choice is compared again
    # where each step is a call: the slice in progress
    int64_t calls
    double busy, length         # seconds in calls, and at most
    double latest               # seconds of the latest call


cdef int power_below(int n) noexcept:
    """Return the largest power of two below `n`: so many threads own chunks of rows."""
    cdef int power = 1
    while 2*power < n:
        power *= 2
    return power


cdef void enlist(Crew* crew, int most, int guess, bint fixed) noexcept:
    """Begin with the largest choice up to `guess`, or with `most`, the only choice, if the number is fixed."""
    memset(crew, 0, sizeof(Crew))
    crew.direction = 1
    crew.watch = WATCH
    while True:
        crew.threads[crew.n] = most
        crew.n += 1
        if most == 1 or fixed or crew.n == MAX_CHOICES:
            break
        if most > guess:
            crew.settled = crew.trying = crew.n
        most = power_below(most)
    if guess == 1:
        crew.next_trial = seconds_now() + LATER


cdef void begin_as(Crew* crew, const Crew* before) noexcept:
    """Begin with the number that was best in another run with the same choices."""
    if crew.n > 1 and crew.n == before.n and crew.threads[0] == before.threads[0]:
        crew.settled = crew.trying = before.settled
        crew.next_trial = before.next_trial
        crew.watch = before.watch


cdef int next_threads(Crew* crew, double now, double* length) noexcept:
    """Return the number of threads for the next slice of time, and its length."""
    if crew.n == 1:
        length[0] = INFINITY
        return crew.threads[0]
    if crew.rate[crew.settled] != 0 and now >= crew.next_trial:
        if not 0 <= crew.settled + crew.direction < crew.n:
            crew.direction = -crew.direction
        crew.trying = crew.settled + crew.direction
    length[0] = TRIAL
    if crew.trying != crew.settled:
        length[0] = max(TRIAL, TRIAL_STEPS/crew.rate[crew.settled])
    elif crew.rate[crew.settled] != 0:
        length[0] = min(crew.next_trial - now, crew.watch)
    return crew.threads[crew.trying]


cdef inline double rate_of(const Job* job, int64_t steps, double begin, double end) noexcept:
    """Return the steps per second of a slice, if there are several without the first, which waits for all threads."""
    return (steps - 1)/(end - job.began) if steps > 1 else steps/(end - begin)


cdef void leave_slow_choice(Crew* crew, double now) noexcept:
    """Go back to a choice that was faster when it was last used."""
    cdef int i, best = crew.settled
    for i in range(crew.n):
        if crew.rate[i] > crew.rate[best]:
            best = i
    if crew.rate[best] > MARGIN*crew.rate[crew.settled]:
        crew.settled = best
        crew.watch = WATCH
        crew.next_trial = now + SETTLED


cdef void learn_rate(Crew* crew, int64_t steps, double rate, double now) noexcept:
    """Take the measured speed into account."""
    cdef int tried = crew.trying
    crew.steps[tried] += steps
    if not 0 < rate < INFINITY or crew.n == 1:
        return
    crew.rate[tried] = rate
    if tried == crew.settled:
        crew.watch *= 2
        leave_slow_choice(crew, now)
    elif crew.rate[tried] > MARGIN*crew.rate[crew.settled]:
        crew.settled = tried  # and go on in this direction
        crew.watch = WATCH
    else:
        crew.direction = -crew.direction
        crew.next_trial = now + SETTLED
    crew.trying = crew.settled


# Where each step is a call of its own, as in a loop of `train_step`, a slice of time is some calls.

cdef int threads_of_call(Crew* crew, double now) noexcept:
    """Return the number of threads for the next call."""
    if crew.busy >= crew.length:
        learn_rate(crew, 0, crew.calls/crew.busy if crew.busy > 0 else 0, now)
        crew.calls, crew.busy = 0, 0
        next_threads(crew, now, &crew.length)
    return crew.threads[crew.trying]


cdef inline void count_call(Crew* crew, int threads, double seconds) noexcept:
    crew.latest = seconds
    if crew.n and crew.threads[crew.trying] == threads:  # a call under another limit doesn't count
        crew.calls += 1
        crew.busy += seconds
