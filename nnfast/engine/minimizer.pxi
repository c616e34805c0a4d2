# L-BFGS for any function of a vector. Included by program.pyx.

include "linesearch.pxi"

cdef enum:
    MOST_TRIALS = 20  # steps of a line search, as in SciPy

cdef enum Task:
    TASK_EVALUATE
    TASK_ITERATED
    TASK_CONVERGED
    TASK_STUCK

TASKS = ("evaluate", "iterated", "converged", "stuck")  # their names in Python


cdef class Minimizer:
    """L-BFGS by reverse communication: it says where the function must be evaluated next.

    The methods return what is to be done:

    - "evaluate": evaluate the function at `point`, write its gradient to `gradient`, and call `take`;
    - "iterated": an iteration is done, and `point` has a lower value; call `go_on`;
    - "converged": the last iteration has lowered the function by too little, or the gradient is too small;
    - "stuck": no lower value was found in the direction of steepest descent.

    Parameters
    ----------
    point : ndarray of float64
        Where to begin. It is overwritten.
    gradient : ndarray of float64
        Memory for the gradient; first that at `point`.
    history_size : int
        The number of pairs of steps and changes of the gradient that are kept.
    tolerance : float
        Converged when an iteration lowers the function by no more than this fraction of it (of 1, if it is below 1).
    gradient_tolerance : float
        Converged when no element of the gradient is larger.

    Attributes
    ----------
    trials : int
        The number of values that `take` was given.

    Notes
    -----
    The direction is the two-loop recursion of Nocedal, "Updating quasi-Newton matrices with limited storage" (1980).
    Without bounds, Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization" (1995)
    computes the same one; the tests of convergence and the rule for leaving out a pair are those of that algorithm. All
    sums have an order that depends on the length alone.
    """

    cdef readonly object point, gradient
    cdef readonly int64_t trials
    cdef object memory
    cdef const Kernels* K
    cdef Py_ssize_t n, ld
    cdef Py_ssize_t slots, free, kept  # of pairs: a ring, in which the slot `free` follows the newest pair
    cdef double* x
    cdef double* g
    cdef double* x_before
    cdef double* steps
    cdef double* changes
    cdef double* products
    cdef double* shares
    cdef double tolerance, gradient_tolerance
    cdef double value, value_before, slope, curvature
    cdef bint iterated
    cdef int tried
    cdef LineSearch search

    def __cinit__(self, point, gradient, Py_ssize_t history_size, double tolerance, double gradient_tolerance):
        if history_size < 1:
            raise ValueError("history_size must be at least 1")
        shape = (len(point),)
        expect(point, "float64", shape, True)
        expect(gradient, "float64", shape, True)
        self.point, self.gradient = point, gradient
        self.tolerance, self.gradient_tolerance = tolerance, gradient_tolerance
        self.K = table(True)
        self.n, self.slots = cnp.PyArray_SIZE(<cnp.ndarray>point), history_size + 1
        self.ld = (self.n + 7)//8*8  # each vector begins a cache line
        self.memory = aligned_zeros((1 + 2*<object>self.slots)*self.ld + 2*self.slots, "float64")
        self.x, self.g = <double*>data(point), <double*>data(gradient)
        self.x_before = <double*>data(self.memory)
        self.steps = self.x_before + self.ld
        self.changes = self.steps + self.slots*self.ld
        self.products = self.changes + self.slots*self.ld
        self.shares = self.products + self.slots

    def begin(self, double value):
        """Take the value at the first point, whose gradient is in `gradient`."""
        cdef Task task
        self.value = value
        with nogil:
            task = TASK_CONVERGED if self.is_flat() else self.begin_line()
        return TASKS[task]

    def take(self, double value):
        """Take the value at `point`, whose gradient is in `gradient`."""
        cdef Task task
        with nogil:
            task = self.follow_line(value)
        return TASKS[task]

    def go_on(self):
        """Begin the next iteration."""
        cdef Task task
        with nogil:
            task = self.test()
            if task == TASK_EVALUATE:
                self.keep_pair()
                task = self.begin_line()
        return TASKS[task]

    cdef bint is_flat(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n):
            if not fabs(self.g[i]) <= self.gradient_tolerance:
                return False
        return True

    cdef Task test(self) noexcept nogil:
        """Test for convergence after an iteration."""
        cdef double size = max(max(fabs(self.value_before), fabs(self.value)), 1)
        if self.is_flat() or self.value_before - self.value <= self.tolerance*size:
            return TASK_CONVERGED
        return TASK_EVALUATE

    # ---- a line. The direction is in the free slot, which also keeps the gradient before the step: if the step becomes
    # a pair, it is there already.

    cdef Task begin_line(self) noexcept nogil:
        """Begin the line search in the quasi-Newton direction, or else in that of steepest descent."""
        cdef double* direction = self.steps + self.free*self.ld
        cdef double step = 1
        self.choose_direction(direction)
        self.slope = self.dot(self.g, direction)
        if not -INFINITY < self.slope < 0:
            return self.forget_pairs()
        memcpy(self.x_before, self.x, self.n*sizeof(double))
        memcpy(self.changes + self.free*self.ld, self.g, self.n*sizeof(double))
        if not self.iterated:  # nothing is known of the curvature
            step = min(1/sqrt(self.dot(direction, direction)), LONGEST)
        begin_search(&self.search, self.value, self.slope, step)
        self.tried = 0
        self.move()
        return TASK_EVALUATE

    cdef Task follow_line(self, double value) noexcept nogil:
        cdef double slope = self.dot(self.g, self.steps + self.free*self.ld), step
        self.trials += 1
        while self.tried < MOST_TRIALS:
            self.tried += 1
            step = self.search.step
            if end_search(&self.search, value, slope):
                self.value_before, self.value, self.slope = self.value, value, slope
                self.iterated = True
                return TASK_ITERATED
            if self.search.step != step and self.tried < MOST_TRIALS:
                self.move()
                return TASK_EVALUATE
        memcpy(self.x, self.x_before, self.n*sizeof(double))
        memcpy(self.g, self.changes + self.free*self.ld, self.n*sizeof(double))
        return self.forget_pairs()

    cdef Task forget_pairs(self) noexcept nogil:
        """Try again without the pairs, which have led nowhere."""
        if not self.kept:
            return TASK_STUCK
        self.kept = 0
        return self.begin_line()

    cdef void move(self) noexcept nogil:
        self.add(self.x_before, self.search.step, self.steps + self.free*self.ld, self.x)

    # ---- the approximation of the inverse Hessian

    cdef void choose_direction(self, double* d) noexcept nogil:
        """Compute minus the product of the approximate inverse Hessian and the gradient."""
        cdef const double* v = self.g
        cdef Py_ssize_t i, k
        cdef double share
        for k in range(1, self.kept + 1):  # from the newest pair
            i = (self.free + self.slots - k)%self.slots
            self.shares[i] = self.dot(self.steps + i*self.ld, v)/self.products[i]
            self.add(v, -self.shares[i], self.changes + i*self.ld, d)
            v = d
        self.K.rescale(-1/self.curvature if self.kept else -1, 0, 1, self.n, v, self.n, d, self.n)
        for k in range(self.kept, 0, -1):
            i = (self.free + self.slots - k)%self.slots
            share = self.dot(self.changes + i*self.ld, d)/self.products[i]
            self.add(d, -self.shares[i] - share, self.steps + i*self.ld, d)

    cdef void keep_pair(self) noexcept nogil:
        """Keep the last step and the change of the gradient, unless the curvature between them is not positive."""
        cdef double step = self.search.step
        cdef double* s = self.steps + self.free*self.ld
        cdef double* y = self.changes + self.free*self.ld
        cdef double product = (self.slope - self.search.slope)*step
        if not product > DBL_EPSILON*(-self.search.slope*step):
            return
        if step != 1:
            self.K.rescale(step, 0, 1, self.n, s, self.n, s, self.n)
        self.add(self.g, -1, y, y)
        self.products[self.free] = product
        self.curvature = self.dot(y, y)/product
        self.free = (self.free + 1)%self.slots
        self.kept = min(self.kept + 1, self.slots - 1)

    # ---- vectors

    cdef inline double dot(self, const double* x, const double* y) noexcept nogil:
        return self.K.dot(self.n, x, y)

    cdef inline void add(self, const double* x, double factor, const double* y, double* out) noexcept nogil:
        """out = x + factor y; out may be x or y."""
        cdef int64_t row = 0
        self.K.rank_one(1, self.n, x, self.n, &row, &factor, y, out, self.n)
