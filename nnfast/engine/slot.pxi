# The optimizer's slot: what an optimizer remembers from step to step. Included by program.pyx.

cdef class Slot:
    """The state of the optimizer that last trained a network; one of the same kind continues with it.

    Parameters
    ----------
    parameters : ndarray
        The arena of parameters.
    norm_parts : int
        The number of sums of squares that make up the norm of all gradients.
    guard : Guard
        The network's guard.

    Attributes
    ----------
    kind : str or None
        The kind of optimizer, or None if there is no state.
    steps : int
        The updates made so far.
    moments : list of ndarray or None
        `MAX_MOMENTS` vectors like the parameters; those that the optimizer does not keep are None.
    product : float
        The product of the momenta so far, for NAdam.
    average : ndarray or None
        The average of the parameters, if the optimizer keeps one.
    averaged : bool
        Whether averaging has begun.
    epochs : int
        Epochs of fits with this kind of optimizer, for schedules by epoch.
    plateau : dict or None
        The state of a schedule that waits for a plateau.
    """

    cdef readonly object kind, moments, average
    cdef readonly int64_t steps
    cdef readonly double product
    cdef readonly bint averaged
    cdef readonly int64_t epochs
    cdef public object plateau
    cdef object parameters
    cdef Guard guard
    cdef object hyperparameters  # the values in `optimizer` and in the three below
    cdef Optimizer optimizer
    cdef double average_decay, clip_norm
    cdef bint decays_biases
    cdef object norm_parts       # space for sums of squares

    def __cinit__(self, parameters, norm_parts, Guard guard not None):
        self.parameters, self.guard = parameters, guard
        self.norm_parts = np.empty(norm_parts)
        self.clear()

    cdef int clear(self) except -1:
        self.restore(None, 0, 0, 1.0, [None]*MAX_MOMENTS, None, None)
        return 0

    cdef object like_parameters(self):
        return aligned_zeros(len(self.parameters), self.parameters.dtype)

    cdef object moments_for(self, hyperparameters):
        """Return the slot's moments, and new ones where it has none of this kind: memory is allocated before anything
        changes."""
        if hyperparameters is self.hyperparameters:
            return self.moments
        mine = self.moments if hyperparameters.kind == self.kind else [None]*MAX_MOMENTS
        moments = []
        for moment, initial in zip(mine, hyperparameters.moments):
            if initial is None:
                moment = None
            elif moment is None:
                moment = self.like_parameters()
                if initial:
                    moment[:] = initial
            moments.append(moment)
        average = None
        if hyperparameters.average_decay is not None:
            average = self.average if hyperparameters.kind == self.kind else None
            if average is None:
                average = self.like_parameters()
                average[:] = self.parameters  # frozen ones keep this value
        return [*moments, average]

    cdef int fill(self, Job* job, hyperparameters, moments) except -1:
        """Continue with the slot's state, or reset it for another kind, with the moments from `moments_for`."""
        cdef int k
        if hyperparameters is not self.hyperparameters:
            self.adopt(hyperparameters, moments)
        job.optimizer = self.optimizer
        job.optimizer.product = self.product
        job.optimizer_steps = self.steps
        for k in range(MAX_MOMENTS):
            job.moments[k] = NULL if self.moments[k] is None else data(self.moments[k])
        job.average = NULL if self.average is None else data(self.average)
        job.averaged = self.averaged
        job.average_decay = self.average_decay
        job.clip_norm = self.clip_norm
        job.decays_biases = self.decays_biases
        job.norm_parts = <double*>data(self.norm_parts)
        return 0

    cdef int adopt(self, values, moments) except -1:
        if values.kind != self.kind:
            self.kind = values.kind
            self.steps = self.epochs = 0
            self.plateau = None
        if any([new is not None and new is not mine for mine, new in zip(self.moments, moments)]):
            self.product = 1
        *self.moments, average = moments
        self.averaged = self.averaged and average is self.average
        self.average = average
        self.average_decay = values.average_decay or 0
        self.clip_norm = values.clip_norm
        self.decays_biases = values.decay_biases
        self.hyperparameters = values
        fill_hyperparameters(&self.optimizer, values)
        return 0

    cdef void keep(self, const Job* job) noexcept nogil:
        """Store the state after a run."""
        self.steps = job.optimizer_steps
        self.product = job.optimizer.product
        self.averaged = job.averaged

    def steps_of(self, kind):
        """Return the updates made so far by an optimizer of this kind that continues with the slot's state."""
        return self.steps if kind == self.kind else 0

    def reset(self):
        """Clear the state."""
        self.guard.hold()
        try:
            self.clear()
        finally:
            self.guard.release()

    def restore(self, kind, steps, epochs, product, moments, average, plateau):
        """Restore the state from a copy or a file."""
        mine = [None if moment is None else self.like_parameters() for moment in moments]
        for k, moment in enumerate(moments):
            if moment is not None:
                mine[k][:] = moment
        self.average, self.averaged = None, average is not None
        if average is not None:
            self.average = self.like_parameters()
            self.average[:] = average
        self.hyperparameters, self.plateau, self.epochs = None, plateau, epochs
        self.kind, self.steps, self.product, self.moments = kind, steps, product, mine
