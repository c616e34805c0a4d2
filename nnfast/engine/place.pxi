# The place of training in its epoch: the order in which rows are visited, how far it has come, and the sums for its
# record. Included by program.pyx.
#
# An epoch's order depends only on a number of 64 bits, drawn from the network's random stream when the epoch begins. So
# an epoch that was not finished can be continued: by another `fit`, in a copy of the network or from a file.

cdef extern from "numpy/random/bitgen.h" nogil:
    ctypedef struct bitgen_t:
        void* state
        uint64_t (*next_uint64)(void* state) noexcept nogil

cpdef enum Drawing:
    IN_ORDER
    SHUFFLED
    REPLACED  # each row of the epoch is drawn from all rows

cdef struct Patience:
    # Ends a training after more than `limit` epochs in a row whose loss was not below the best one by the tolerance,
    # and after an epoch whose loss is NaN.
    bint on, lost
    double tolerance, best
    int64_t waited, limit


cdef struct Epoch:
    Drawing drawing
    Py_ssize_t rows        # of the data
    Py_ssize_t n           # rows in an epoch
    Py_ssize_t batch
    const int64_t* subset  # the rows of the data to use, or NULL: all
    int64_t* order         # in which they are visited, or NULL: as they are
    bitgen_t* generator
    uint64_t seed          # of the order
    bint begun             # the order is set
    Py_ssize_t position    # rows that are done
    int64_t done           # epochs that are done in this run
    bint fed               # batches are fed one by one, and Python ends epochs
    bint counted           # by a schedule, which has seen so many before this run
    int64_t counted_before
    # the sums of losses times weights, of weights, and of each score
    double* sums           # in this epoch, or NULL
    double* totals         # in epochs that are done
    int n_sums
    Patience patience


cdef bitgen_t* generator_of(object bit_generator) except NULL:
    return <bitgen_t*>PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")


cdef int set_visits(Epoch* epoch, visits) except -1:
    """Set which rows make the mini-batches; nothing is done yet."""
    memset(epoch, 0, sizeof(Epoch))
    epoch.drawing = Drawing[visits.drawing]
    epoch.rows, epoch.n, epoch.batch = visits.rows, visits.n, visits.batch
    return 0


cdef void set_order(Epoch* epoch) noexcept nogil:
    """Put the rows into the order that the seed determines."""
    cdef Py_ssize_t i
    if epoch.drawing == REPLACED:
        draw_order(epoch.n, epoch.rows, epoch.order, epoch.seed)
        if epoch.subset != NULL:
            for i in range(epoch.n):
                epoch.order[i] = epoch.subset[epoch.order[i]]
    elif epoch.drawing == SHUFFLED:
        for i in range(epoch.rows):
            epoch.order[i] = i if epoch.subset == NULL else epoch.subset[i]
        shuffle_order(epoch.rows, epoch.order, epoch.seed)


cdef void begin_epoch(Epoch* epoch) noexcept nogil:
    """Draw the order of the next epoch, unless it has been drawn."""
    if epoch.begun:
        return
    epoch.begun = True
    if epoch.drawing != IN_ORDER:
        epoch.seed = epoch.generator.next_uint64(epoch.generator.state)
        set_order(epoch)


cdef void wait_once_more(Patience* patience, double loss) noexcept nogil:
    """Compare the loss of an epoch with the best one so far."""
    patience.waited = patience.waited + 1 if loss > patience.best - patience.tolerance else 0
    if loss < patience.best:
        patience.best = loss
    patience.lost = patience.waited > patience.limit or loss != loss


cdef void end_epoch(Epoch* epoch) noexcept nogil:
    """Store the sums of a completed epoch."""
    cdef int k
    if epoch.patience.on:
        wait_once_more(&epoch.patience, epoch.sums[0]/(epoch.sums[1] if epoch.sums[1] != 0 else 1))
    for k in range(epoch.n_sums):
        epoch.totals[epoch.done*epoch.n_sums + k] = epoch.sums[k]
        epoch.sums[k] = 0
    epoch.done += 1
    epoch.position = 0
    epoch.begun = False


cdef void count_step(Epoch* epoch, Py_ssize_t m, double loss, double weight, const double* scores) noexcept nogil:
    """Add a step of `m` rows to the epoch."""
    cdef int k
    epoch.sums[0] += loss*weight
    epoch.sums[1] += weight
    for k in range(2, epoch.n_sums):
        epoch.sums[k] += scores[k - 2]
    if epoch.fed:
        return
    epoch.position += m
    if epoch.position == epoch.n:
        end_epoch(epoch)


cdef class Place:
    """Where the last training on mini-batches has ended in its epoch.

    Attributes
    ----------
    epochs : int
        Epochs completed so far, in all trainings.
    """

    cdef Epoch epoch
    cdef int64_t before      # epochs completed before the run
    cdef readonly object sums, names  # of the epoch so far; the names of its scores

    def __cinit__(self):
        self.sums, self.names = np.zeros(2), ()

    cdef bint continues(self, const Epoch* epoch) noexcept:
        """Whether a run with such epochs continues the one that has begun."""
        return (
            self.epoch.begun and not self.epoch.fed and self.epoch.drawing == epoch.drawing
            and self.epoch.rows == epoch.rows and self.epoch.n == epoch.n and self.epoch.batch == epoch.batch
        )

    def steps_done(self, visits):
        """Return how many steps are done of the epoch that a run with such mini-batches continues; 0 if none."""
        cdef Epoch epoch
        set_visits(&epoch, visits)
        return self.epoch.position//self.epoch.batch if self.continues(&epoch) else 0

    cdef void adopt(self, const Epoch* epoch, sums, names):
        """Make a run's place that of the network."""
        self.before = self.epochs
        self.epoch = epoch[0]
        self.sums, self.names = sums, names

    cdef void keep(self, const Epoch* epoch) noexcept nogil:
        """Store the place after some steps."""
        self.epoch.begun, self.epoch.seed = epoch.begun, epoch.seed
        self.epoch.position, self.epoch.done = epoch.position, epoch.done

    @property
    def epochs(self):
        return self.before + self.epoch.done

    def state(self):
        """Return a description, which JSON can represent; None if nothing has been done."""
        if not self.epoch.begun or self.epoch.fed:
            return {"epochs": self.epochs} if self.epochs else None
        return {
            "epochs": self.epochs, "drawing": Drawing(self.epoch.drawing).name.lower(), "rows": self.epoch.rows,
            "n": self.epoch.n, "batch": self.epoch.batch, "seed": self.epoch.seed, "position": self.epoch.position,
            "sums": self.sums.tolist(), "names": list(self.names),
        }

    def restore(self, state):
        """Restore the place from a description that `checked_place` has accepted."""
        cdef Epoch epoch
        memset(&epoch, 0, sizeof(Epoch))
        self.before = state["epochs"]
        self.sums, self.names = np.zeros(2), ()
        if "drawing" in state:
            epoch.begun, epoch.drawing = True, Drawing[state["drawing"].upper()]
            epoch.rows, epoch.n, epoch.batch = state["rows"], state["n"], state["batch"]
            epoch.seed, epoch.position = state["seed"], state["position"]
            self.sums, self.names = np.array(state["sums"], np.float64), tuple(state["names"])
        self.epoch = epoch
