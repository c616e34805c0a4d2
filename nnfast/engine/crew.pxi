# How many threads a run of steps uses, which is measured while it runs. Included by program.pyx.
#
# Results do not depend on the number of threads, so it may change between two steps. A run begins with as many as it
# may use, tries half as many for a moment, and goes on with what is faster; now and then it looks again, because other
# programs come and go, and because the threads of a new team may land on other cores.

cdef enum:
    MAX_CHOICES = 8  # the maximum, half of it, ..., 1

cdef double TRIAL = 0.003    # seconds: starting and releasing a team of two costs a hundredth of that
cdef double SETTLED = 0.5    # seconds until another number is tried again
cdef double MARGIN = 1.03    # by which it must be faster

cdef struct Crew:
    int n                       # choices
    int threads[MAX_CHOICES]    # of each choice, from the maximum down
    double rate[MAX_CHOICES]    # steps per second in the latest slice of time
    int64_t steps[MAX_CHOICES]  # done so far
    int settled, trying         # choices; the same unless another one is being tried
    int direction               # of the next trial: 1 is towards fewer threads
    double next_trial           # when


cdef void enlist(Crew* crew, int most, bint fixed) noexcept:
    """Begin with the maximum, which is the only choice if the number is fixed."""
    memset(crew, 0, sizeof(Crew))
    crew.direction = 1
    while True:
        crew.threads[crew.n] = most
        crew.n += 1
        if most == 1 or fixed or crew.n == MAX_CHOICES:
            break
        most = most//2


cdef void begin_as(Crew* crew, const Crew* before) noexcept:
    """Begin with the number that was best in another run with the same choices."""
    if crew.n > 1 and crew.n == before.n and crew.threads[0] == before.threads[0]:
        crew.settled = crew.trying = before.settled
        crew.next_trial = seconds_now() + SETTLED


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
    if crew.rate[crew.settled] != 0 and crew.trying == crew.settled:
        length[0] = crew.next_trial - now
    return crew.threads[crew.trying]


cdef void learn_rate(Crew* crew, int64_t steps, double seconds, double now) noexcept:
    """Take the measured speed into account."""
    cdef int tried = crew.trying
    crew.steps[tried] += steps
    if steps == 0 or seconds <= 0 or crew.n == 1:
        return
    crew.rate[tried] = steps/seconds
    if tried == crew.settled:
        return
    if crew.rate[tried] > MARGIN*crew.rate[crew.settled]:
        crew.settled = tried  # and go on in this direction
    else:
        crew.direction = -crew.direction
        crew.next_trial = now + SETTLED
    crew.trying = crew.settled
