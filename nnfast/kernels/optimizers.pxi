# One step of an optimizer: a loop over a range of the arenas, a whole vector at a time. The last, partial vector runs
# the same code on padded copies. The formulas, and the order of operations on the gradient, are PyTorch's; Lion, which
# PyTorch does not have, follows its paper.
#
# `plain` is a constant wherever a loop is inlined: the gradient is neither scaled nor clipped, and there is no weight
# decay. The most common optimizers have a separate loop for it.

from libc.math cimport sqrt

cdef inline vreal vlimited(vreal x, real limit) noexcept nogil:
    """Clip to -limit..limit; NaN stays NaN."""
    x = vselect(vlt(vset(limit), x), vset(limit), x)
    return vselect(vlt(x, vset(-limit)), vset(-limit), x)


cdef inline bint changes_gradient(const Optimizer* o) noexcept nogil:
    """Whether the gradient is scaled or clipped, or there is weight decay."""
    return o.gradient_scale != 1 or o.clip_value != INFINITY or not (o.weight_decay == 0 or o.decoupled_weight_decay)


cdef inline vreal vprepared(bint plain, vreal g, vreal p, const Optimizer* o) noexcept nogil:
    """Return the gradient for the formulas: scaled, clipped, and with coupled weight decay."""
    if plain:
        return g
    return vfma(
        vset(<real>(0 if o.decoupled_weight_decay else o.weight_decay)), p,
        vlimited(g*vset(<real>o.gradient_scale), <real>o.clip_value)
    )


cdef inline vreal vgradient(bint plain, const real* g, vreal p, const Optimizer* o) noexcept nogil:
    return vprepared(plain, vload(g), p, o)


cdef inline vreal vdecayed(vreal p, const Optimizer* o) noexcept nogil:
    """Return the parameters after decoupled weight decay."""
    return p*vset(<real>(1 - o.learning_rate*o.weight_decay if o.decoupled_weight_decay else 1))


cdef inline vreal vmean(double decay, real* mean, vreal x) noexcept nogil:
    """Move a running mean towards x, and return it."""
    cdef vreal old = vload(mean), new = vfma(vset(<real>(1 - decay)), x - old, old)
    vstore(mean, new)
    return new


cdef inline void sgd_steps(bint plain, Py_ssize_t n, real* p, const real* g, const Optimizer* o) noexcept nogil:
    cdef vreal rate = vset(<real>(-o.learning_rate)), P
    cdef Py_ssize_t i = 0
    cdef int q
    while i + 4*VW <= n:  # each iteration does so little that their number matters
        for q in range(4):
            P = vload(p + i + q*VW)
            vstore(p + i + q*VW, vfma(rate, vgradient(plain, g + i + q*VW, P, o), P))
        i += 4*VW
    while i < n:
        P = vload(p + i)
        vstore(p + i, vfma(rate, vgradient(plain, g + i, P, o), P))
        i += VW


cdef inline void momentum_steps(
        Py_ssize_t n, real* p, const real* g, real* momentum, const Optimizer* o
) noexcept nogil:
    cdef vreal P, G, B
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        B = vfma(vset(<real>(1 - o.dampening)), G, vset(<real>o.momentum)*vload(momentum + i))
        vstore(momentum + i, B)
        if o.nesterov:
            B = vfma(vset(<real>o.momentum), B, G)
        vstore(p + i, vfma(vset(<real>(-o.learning_rate)), B, P))
        i += VW


cdef inline void adagrad_steps(Py_ssize_t n, real* p, const real* g, real* total, const Optimizer* o) noexcept nogil:
    """Duchi, Hazan and Singer (2011), the diagonal version."""
    cdef vreal P, G, S
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        S = vfma(G, G, vload(total + i))
        vstore(total + i, S)
        vstore(p + i, P - vset(<real>o.learning_rate)*G/(vsqrt(S) + vset(<real>o.epsilon)))
        i += VW


cdef inline void rmsprop_steps(
        Py_ssize_t n, real* p, const real* g, real* square, real* mean, real* momentum, const Optimizer* o
) noexcept nogil:
    """Tieleman and Hinton (2012); centered as in Graves (2013), but with epsilon outside the root."""
    cdef vreal P, G, S, M
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        S = vmean(o.alpha, square + i, G*G)
        if mean != NULL:
            M = vmean(o.alpha, mean + i, G)
            S = vmax(vzero(), vfma(-M, M, S))  # a variance, which rounding can take below zero
        G = G/(vsqrt(S) + vset(<real>o.epsilon))
        if momentum != NULL:
            G = vfma(vset(<real>o.momentum), vload(momentum + i), G)
            vstore(momentum + i, G)
        vstore(p + i, vfma(vset(<real>(-o.learning_rate)), G, P))
        i += VW


cdef inline vreal vsign(vreal x) noexcept nogil:
    """Return -1, 0 or 1; zero and NaN are returned unchanged."""
    return vselect(vlt(vzero(), vabs(x)), vcopysign(vset(<real>1), x), x)


cdef inline void lion_steps(Py_ssize_t n, real* p, const real* g, real* mean, const Optimizer* o) noexcept nogil:
    """Chen et al. (2023), algorithm 2."""
    cdef vreal P, G, M, C
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        M = vload(mean + i)
        C = vfma(vset(<real>(1 - o.beta1)), G, vset(<real>o.beta1)*M)
        vmean(o.beta2, mean + i, G)
        vstore(p + i, vfma(vset(<real>(-o.learning_rate)), vsign(C), vdecayed(P, o)))
        i += VW


cdef inline void adadelta_steps(
        Py_ssize_t n, real* p, const real* g, real* square, real* change, const Optimizer* o
) noexcept nogil:
    """Zeiler (2012), algorithm 1, with a learning rate."""
    cdef vreal P, G, S
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        S = vmean(o.rho, square + i, G*G)
        G = vsqrt(vload(change + i) + vset(<real>o.epsilon))/vsqrt(S + vset(<real>o.epsilon))*G
        vmean(o.rho, change + i, G*G)
        vstore(p + i, vfma(vset(<real>(-o.learning_rate)), G, P))
        i += VW


cdef inline void adam_steps(
        bint plain, Py_ssize_t n, real* p, const real* g, real* mean, real* square, real* largest, const Optimizer* o
) noexcept nogil:
    """Kingma and Ba (2015), algorithm 1, with epsilon placed as in PyTorch: sqrt(v)/sqrt(correction2) + epsilon, where
    `advance` has corrected epsilon if so wanted. With `largest` it is AMSGrad (Reddi, Kale and Kumar 2018), with bias
    correction as in PyTorch."""
    cdef vreal P, G, M, V
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(plain, g + i, P, o)
        M = vmean(o.beta1, mean + i, G)
        V = vmean(o.beta2, square + i, G*G)
        if largest != NULL:
            V = vmax(vload(largest + i), V)
            vstore(largest + i, V)
        P = vdecayed(P, o) - vset(<real>(o.learning_rate/o.correction1))*M/(
            vsqrt(V)*vset(<real>(1/sqrt(o.correction2))) + vset(<real>o.epsilon)
        )
        vstore(p + i, P)
        i += VW


cdef inline void nadam_steps(
        Py_ssize_t n, real* p, const real* g, real* mean, real* square, const Optimizer* o
) noexcept nogil:
    """Dozat (2016), with the momentum of its section 3.2, which grows from step to step."""
    cdef vreal P, G, M, V
    cdef double of_gradient = o.learning_rate*(1 - o.momentum)/(1 - o.product)
    cdef double of_mean = o.learning_rate*o.next_momentum/(1 - o.product*o.next_momentum)
    cdef Py_ssize_t i = 0
    while i < n:
        P = vload(p + i)
        G = vgradient(False, g + i, P, o)
        M = vmean(o.beta1, mean + i, G)
        V = vmean(o.beta2, square + i, G*G)
        P = vdecayed(P, o) - vfma(vset(<real>of_gradient), G, vset(<real>of_mean)*M)/(
            vsqrt(V)*vset(<real>(1/sqrt(o.correction2))) + vset(<real>o.epsilon)
        )
        vstore(p + i, P)
        i += VW


# Out of line, one copy of each loop.
cdef void update_vectors(
        Py_ssize_t n, real* p, const real* g, real* a, real* b, real* c, const Optimizer* optimizer
) noexcept nogil:
    cdef Optimizer o = optimizer[0]  # a copy, which the compiler knows no store can change
    cdef bint plain = not changes_gradient(&o)
    if o.kind == SGD and a != NULL:
        momentum_steps(n, p, g, a, &o)
    elif o.kind == SGD and plain:
        sgd_steps(True, n, p, g, &o)
    elif o.kind == SGD:
        sgd_steps(False, n, p, g, &o)
    elif o.kind == ADAGRAD:
        adagrad_steps(n, p, g, a, &o)
    elif o.kind == RMSPROP:
        rmsprop_steps(n, p, g, a, b, c, &o)
    elif o.kind == LION:
        lion_steps(n, p, g, a, &o)
    elif o.kind == ADADELTA:
        adadelta_steps(n, p, g, a, b, &o)
    elif o.kind == NADAM:
        nadam_steps(n, p, g, a, b, &o)
    elif (o.kind == ADAM or o.kind == ADAMW) and plain and c == NULL:
        adam_steps(True, n, p, g, a, b, NULL, &o)
    elif o.kind == ADAM or o.kind == ADAMW:
        adam_steps(False, n, p, g, a, b, c, &o)
    else:  # a kind without a loop
        trap()


cdef void kernel_update(
        Py_ssize_t n, void* parameters, const void* gradient, void* const* moments, const Optimizer* optimizer
) noexcept nogil:
    cdef Py_ssize_t whole = n//VW*VW, rest = n - whole, k
    cdef real padded[2 + MAX_MOMENTS][MAX_VW]
    cdef real* at[MAX_MOMENTS]
    cdef real* p = <real*>parameters
    cdef const real* g = <const real*>gradient
    if whole:
        update_vectors(whole, p, g, <real*>moments[0], <real*>moments[1], <real*>moments[2], optimizer)
    if not rest:
        return
    vstore(padded[0], vload_part(p + whole, rest, <real>0))
    vstore(padded[1], vload_part(g + whole, rest, <real>0))
    for k in range(MAX_MOMENTS):
        at[k] = NULL
        if moments[k] != NULL:
            at[k] = padded[2 + k]
            vstore(at[k], vload_part(<real*>moments[k] + whole, rest, <real>0))
    update_vectors(VW, padded[0], padded[1], at[0], at[1], at[2], optimizer)
    vstore_part(p + whole, vload(padded[0]), rest)
    for k in range(MAX_MOMENTS):
        if moments[k] != NULL:
            vstore_part(<real*>moments[k] + whole, vload(at[k]), rest)


cdef void kernel_average(Py_ssize_t n, double weight, void* average, const void* values) noexcept nogil:
    cdef real* a = <real*>average
    cdef const real* v = <const real*>values
    cdef vreal w = vset(<real>weight), A
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        A = vload(a + i)
        vstore(a + i, vfma(w, vload(v + i) - A, A))
        i += VW
    if i < n:
        A = vload_part(a + i, n - i, <real>0)
        vstore_part(a + i, vfma(w, vload_part(v + i, n - i, <real>0) - A, A), n - i)


cdef inline vreal vterm(bint square, vreal x) noexcept nogil:
    return x*x if square else vabs(x)


cdef inline real sum_block(bint square, Py_ssize_t n, const real* x) noexcept nogil:
    """Use four sums, so that no addition waits for the one before."""
    cdef vreal a = vzero(), b = vzero(), c = vzero(), d = vzero()
    cdef Py_ssize_t i = 0
    while i + 4*VW <= n:
        a = a + vterm(square, vload(x + i))
        b = b + vterm(square, vload(x + i + VW))
        c = c + vterm(square, vload(x + i + 2*VW))
        d = d + vterm(square, vload(x + i + 3*VW))
        i += 4*VW
    while i < n:
        a = a + vterm(square, vload(x + i) if i + VW <= n else vload_part(x + i, n - i, <real>0))
        i += VW
    return vsum((a + b) + (c + d))


cdef inline double sum_of(bint square, Py_ssize_t n, const real* x) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += sum_block(square, min(n - i, <Py_ssize_t>SUM_BLOCK), x + i)
        i += SUM_BLOCK
    return total


cdef double kernel_square_sum(Py_ssize_t n, const void* x) noexcept nogil:
    return sum_of(True, n, <const real*>x)


cdef inline real dot_block(Py_ssize_t n, const real* x, const real* y) noexcept nogil:
    cdef vreal a = vzero(), b = vzero(), c = vzero(), d = vzero()
    cdef Py_ssize_t i = 0
    while i + 4*VW <= n:
        a = vfma(vload(x + i), vload(y + i), a)
        b = vfma(vload(x + i + VW), vload(y + i + VW), b)
        c = vfma(vload(x + i + 2*VW), vload(y + i + 2*VW), c)
        d = vfma(vload(x + i + 3*VW), vload(y + i + 3*VW), d)
        i += 4*VW
    while i < n:
        a = vfma(vload_before(x + i, x + n), vload_before(y + i, y + n), a)
        i += VW
    return vsum((a + b) + (c + d))


cdef double kernel_dot(Py_ssize_t n, const void* x_, const void* y_) noexcept nogil:
    cdef const real* x = <const real*>x_
    cdef const real* y = <const real*>y_
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += dot_block(min(n - i, <Py_ssize_t>SUM_BLOCK), x + i, y + i)
        i += SUM_BLOCK
    return total


cdef double kernel_penalty(Py_ssize_t n, const void* parameters, double l1, double l2) noexcept nogil:
    cdef double total = 0
    if l1:
        total += l1*sum_of(False, n, <const real*>parameters)
    if l2:
        total += l2*sum_of(True, n, <const real*>parameters)
    return total


cdef inline vreal vpenalized(vreal g, vreal p, real l1, real l2) noexcept nogil:
    return vfma(vset(2*l2), p, g + vselect(veq(p, vzero()), vzero(), vcopysign(vset(l1), p)))


cdef void kernel_add_penalty(
        Py_ssize_t n, const void* parameters, void* gradient, double l1, double l2
) noexcept nogil:
    cdef const real* p = <const real*>parameters
    cdef real* g = <real*>gradient
    cdef vreal G
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        vstore(g + i, vpenalized(vload(g + i), vload(p + i), <real>l1, <real>l2))
        i += VW
    if i < n:
        G = vpenalized(vload_part(g + i, n - i, <real>0), vload_part(p + i, n - i, <real>0), <real>l1, <real>l2)
        vstore_part(g + i, G, n - i)
