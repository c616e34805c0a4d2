# A search along a line: Moré and Thuente, "Line search algorithms with guaranteed sufficient decrease" (ACM
# Transactions on Mathematical Software 20, 1994). Included by program.pyx.
#
# With phi(t) the loss at step t in a direction of descent, it looks for a step with
#     phi(t) <= phi(0) + DECREASE t phi'(0)   and   |phi'(t)| <= FLATNESS |phi'(0)|.
# It narrows an interval whose end `best` has the lowest value so far, and whose end `other` lies in the direction of
# descent from there. As long as no step satisfies the first condition with a slope that is not negative, the interval
# is updated with psi(t) = phi(t) - phi(0) - DECREASE t phi'(0) where that helps (section 2 of the paper), then with phi
# (section 3). Cubic, quadratic and linear interpolation determine the next step (section 4). The numbers below are
# those of L-BFGS-B.

cdef double DECREASE = 1e-3
cdef double FLATNESS = 0.9
cdef double RELATIVE_WIDTH = 0.1  # of an interval in which the search ends
cdef double LONGEST = 1e10        # step
cdef double SHORT_STRIDE = 1.1    # before a minimum is bracketed, the next step goes on by at least this many strides
cdef double LONG_STRIDE = 4       # and at most this many
cdef double SHRINKING = 0.66      # an interval that does not shrink to this part in two steps is bisected

cdef struct Sample:  # of a function of the step
    double at, value, slope

cdef struct LineSearch:
    double step               # to evaluate next
    double value, slope       # at step 0
    Sample best, other        # the ends of the interval
    bint bracketed            # there is a minimum between them
    bint of_loss              # the interval is updated with phi, no longer with psi
    double lowest, highest    # bounds of the next step
    double width, width_before


cdef void begin_search(LineSearch* s, double value, double slope, double step) noexcept nogil:
    """Begin at step 0 with the loss and its slope there; `step` is the first one to try."""
    s.step, s.value, s.slope = step, value, slope
    s.best.at, s.best.value, s.best.slope = 0, value, slope
    s.other = s.best
    s.bracketed = s.of_loss = False
    s.lowest, s.highest = 0, (1 + LONG_STRIDE)*step
    s.width, s.width_before = LONGEST, 2*LONGEST


cdef bint end_search(LineSearch* s, double value, double slope) noexcept nogil:
    """Take the loss and its slope at `step`; return whether the search ends there, else determine the next step."""
    cdef Sample new
    cdef double required = DECREASE*s.slope
    cdef double ceiling = s.value + s.step*required
    new.at, new.value, new.slope = s.step, value, slope
    s.of_loss = s.of_loss or (value <= ceiling and slope >= 0)
    if value <= ceiling and fabs(slope) <= -FLATNESS*s.slope:
        return True
    if s.bracketed and is_narrow(s):
        return True
    if s.step == LONGEST and value <= ceiling and slope <= required:
        return True
    if s.step == 0 and (value > ceiling or slope >= required):
        return True
    if not s.of_loss and ceiling < value <= s.best.value:
        tilt(&s.best, -required)
        tilt(&s.other, -required)
        tilt(&new, -required)
        narrow(s, new)
        tilt(&s.best, required)
        tilt(&s.other, required)
    else:
        narrow(s, new)
    bound_step(s)
    return False


cdef inline bint is_narrow(const LineSearch* s) noexcept nogil:
    """Whether the step cannot get better by much: it lies on the border of the interval, or this is short."""
    return not s.lowest < s.step < s.highest or s.highest - s.lowest <= RELATIVE_WIDTH*s.highest


cdef inline void tilt(Sample* p, double slope) noexcept nogil:
    """Add a linear function of the step."""
    p.value += slope*p.at
    p.slope += slope


cdef void bound_step(LineSearch* s) noexcept nogil:
    """Keep the next step within bounds that follow from the interval."""
    cdef double width
    if s.bracketed:
        width = fabs(s.other.at - s.best.at)
        if width >= SHRINKING*s.width_before:
            s.step = s.best.at + 0.5*(s.other.at - s.best.at)
        s.width_before, s.width = s.width, width
        s.lowest, s.highest = min(s.best.at, s.other.at), max(s.best.at, s.other.at)
    else:
        s.lowest = s.step + SHORT_STRIDE*(s.step - s.best.at)
        s.highest = s.step + LONG_STRIDE*(s.step - s.best.at)
    s.step = min(max(s.step, 0), LONGEST)
    if s.bracketed and is_narrow(s):
        s.step = s.best.at


cdef void narrow(LineSearch* s, Sample new) noexcept nogil:
    """Determine the next step, and the interval that contains it."""
    s.step = next_step(s, &new)
    if new.value > s.best.value:
        s.other = new
        return
    if opposite(&s.best, &new):
        s.other = s.best
    s.best = new


cdef inline bint opposite(const Sample* a, const Sample* b) noexcept nogil:
    return b.slope > 0 if a.slope < 0 else b.slope < 0


cdef double next_step(LineSearch* s, const Sample* new) noexcept nogil:
    """Return the next step; the four cases are those of the paper."""
    cdef const Sample* best = &s.best
    cdef double root, cubic, other
    if new.value > best.value:
        s.bracketed = True
        cubic = best.at + cubic_share(best, new, &root)*(new.at - best.at)
        other = best.at + 0.5*(new.at - best.at)*best.slope/(
            best.slope - (new.value - best.value)/(new.at - best.at)
        )
        return cubic if fabs(cubic - best.at) < fabs(other - best.at) else cubic + 0.5*(other - cubic)
    if opposite(best, new):
        s.bracketed = True
        cubic = new.at + cubic_share(new, best, &root)*(best.at - new.at)
        other = new.at + linear_share(new, best)*(best.at - new.at)
        return cubic if fabs(cubic - new.at) > fabs(other - new.at) else other
    if fabs(new.slope) < fabs(best.slope):
        return step_ahead(s, new)
    if s.bracketed:
        return new.at + cubic_share(new, &s.other, &root)*(s.other.at - new.at)
    return s.highest if new.at > best.at else s.lowest


cdef double step_ahead(const LineSearch* s, const Sample* new) noexcept nogil:
    """Return the next step where the loss falls beyond `new`, ever more slowly."""
    cdef double back = s.best.at - new.at, root
    cdef double share = cubic_share(new, &s.best, &root)
    cdef double cubic = s.highest if back < 0 else s.lowest, linear = new.at + linear_share(new, &s.best)*back, limit
    if share < 0 and root != 0:  # the cubic has a minimum, and it lies beyond
        cubic = new.at + share*back
    cdef bint farther = fabs(cubic - new.at) > fabs(linear - new.at)
    if not s.bracketed:
        return max(min(cubic if farther else linear, s.highest), s.lowest)
    limit = new.at + SHRINKING*(s.other.at - new.at)
    linear = cubic if fabs(cubic - new.at) < fabs(linear - new.at) else linear
    return min(linear, limit) if back < 0 else max(linear, limit)


cdef double cubic_share(const Sample* a, const Sample* b, double* root) noexcept nogil:
    """Return how far from a to b the cubic with the values and slopes of both has its minimum, 1 being at b.

    `root`: the square root in the formula; 0 if the cubic has no minimum."""
    cdef double middle = a.slope + b.slope - 3*(b.value - a.value)/(b.at - a.at)
    cdef double scale = max(max(fabs(middle), fabs(a.slope)), fabs(b.slope))  # squares must not overflow
    root[0] = scale*sqrt(max((middle/scale)*(middle/scale) - (a.slope/scale)*(b.slope/scale), 0))
    if b.at < a.at:
        root[0] = -root[0]
    return (root[0] - a.slope + middle)/(2*root[0] - a.slope + b.slope)


cdef inline double linear_share(const Sample* a, const Sample* b) noexcept nogil:
    """Return how far from a to b the line through both slopes is zero."""
    return a.slope/(a.slope - b.slope)
