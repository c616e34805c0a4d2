# Who may change a network, and when others may copy it. Included by program.pyx.

import os
from weakref import ref

_guards = set()  # weak references to all guards
_held = []       # by a fork in progress
cdef int forking = 0


cdef int wait_for(int* lock, bint signals) except -1:
    """Acquire a lock. Its holder mostly runs C code that may take long, so there is no spinning."""
    while not try_lock(lock):
        with nogil:
            nap()
        if signals:
            PyErr_CheckSignals()
    return 0


cdef class Guard:
    """The locks of a network.

    ``with guard:`` marks the network busy: one call trains it at a time, and others raise RuntimeError. Within it each
    step holds the *state* (parameters, statistics, the optimizer's slot, random streams), which is whole whenever it is
    free: ``with guard.whole:`` waits for that, and no step begins inside it. Steps and copies take turns fairly:
    whoever waits holds `turn`, which ends a slice of steps early and makes the next one wait.

    A fork waits until all states are whole, so that they are whole in the child, too; there, where no other thread
    continues, no network is busy.
    """

    cdef int busy, state, turn
    cdef unsigned long trainer  # the thread that holds `busy`; 0 if none does
    cdef unsigned long owner    # the thread that holds the state
    cdef int depth              # how many times: signal handlers run in the middle of steps
    cdef bint torn              # the state is not whole while the owner runs Python code
    cdef object __weakref__

    def __cinit__(self):
        _guards.add(ref(self, _guards.discard))

    # A `with` statement cannot be interrupted between acquiring the lock and its release. The release must also work
    # without free memory: no tuple of arguments.

    def __enter__(self):
        """Mark the network busy; RuntimeError if it is."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.owner == me or not try_lock(&self.busy):
            self.raise_busy()
        self.trainer = me
        return self

    def __exit__(self, kind, error, traceback):
        if self.trainer == PyThread_get_thread_ident():  # not if a fork has ended it
            self.trainer = 0
            unlock(&self.busy)

    cdef int raise_busy(self) except -1:
        raise RuntimeError("the network is busy: another fit, train_step, backward or update has not returned yet")

    cdef int keep(self) except -1:
        """Continue a training that a callback has forked, in the child, where the fork has ended it."""
        if self.trainer != PyThread_get_thread_ident():
            if not try_lock(&self.busy):
                self.raise_busy()
            self.trainer = PyThread_get_thread_ident()
        return 0

    cdef int hold(self, bint signals=True) except -1:
        """Wait until the state is whole, and acquire it."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.owner != me:
            if is_locked(&self.turn) or not try_lock(&self.state):
                wait_for(&self.turn, signals)
                try:
                    wait_for(&self.state, signals)
                finally:
                    unlock(&self.turn)
            self.owner = me
        self.depth += 1
        return 0

    cdef void release(self) noexcept nogil:
        self.depth -= 1
        if self.depth == 0:
            self.owner = 0
            unlock(&self.state)

    @property
    def whole(self):
        """A context in which the state is whole and does not change."""
        return Holding(self, False)

    @property
    def change(self):
        """A context in which the state changes."""
        return Holding(self, True)

    cdef void forget_threads(self) noexcept:
        """Free what other threads held: after a fork, they do not continue."""
        self.busy = self.turn = 0
        self.trainer = 0
        if self.owner != PyThread_get_thread_ident():
            self.owner = self.state = self.depth = 0
            self.torn = False


cdef class Holding:
    """A context in which a thread holds the state of a network, with pauses in which the state is whole."""

    cdef Guard guard
    cdef bint changes, held

    def __cinit__(self, Guard guard, bint changes):
        self.guard, self.changes = guard, changes

    def __enter__(self):
        self.resume()
        return self

    def __exit__(self, kind, error, traceback):
        self.release()

    def resume(self):
        cdef Guard guard = self.guard
        if self.held:
            return
        if guard.torn and guard.owner == PyThread_get_thread_ident():
            raise RuntimeError(
                "the network is in the middle of a step of this same thread, and its state is incomplete: "
                "copy it in a callback of fit or in another thread, not in a signal handler or initializer"
            )
        guard.hold()
        self.held = True
        guard.torn = guard.torn or self.changes

    def pause(self):
        self.release()

    cdef void release(self) noexcept:
        if self.held:
            self.held = False
            if self.changes:
                self.guard.torn = False
            self.guard.release()


def _before_fork():
    """Acquire all states. An exception would be lost here, so Ctrl-C has to wait."""
    cdef Guard guard
    wait_for(&forking, False)  # two forks that each hold some would wait for each other forever
    while True:
        guards = [weak() for weak in list(_guards)]
        guards = [guard for guard in guards if guard is not None and guard not in _held]
        if not guards:
            return
        for guard in guards:
            guard.hold(False)
            _held.append(guard)


def _after_fork():
    cdef Guard guard
    for guard in _held:
        guard.release()
    _held.clear()
    unlock(&forking)


def _after_fork_in_child():
    cdef Guard guard
    _after_fork()
    for weak in list(_guards):
        guard = weak()
        if guard is not None:
            guard.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
