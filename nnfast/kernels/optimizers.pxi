# One step of an optimizer: a loop over a range of the arenas. The last, part vector runs the same code.

from libc.math cimport sqrt

cdef inline void sgd_vector(real* p, vreal g, Py_ssize_t n, const Optimizer* o) noexcept nogil:
    cdef vreal result = vfma(vset(<real>(-o.learning_rate)), g, vload_part(p, n, <real>0) if n < VW else vload(p))
    if n < VW:
        vstore_part(p, result, n)
    else:
        vstore(p, result)


cdef inline void adam_vector(real* p, const real* g, real* m, real* v, Py_ssize_t n, const Optimizer* o) noexcept nogil:
    """Kingma and Ba (2015), algorithm 1, with epsilon where PyTorch has it: sqrt(v)/sqrt(correction2) + epsilon."""
    cdef vreal G = vload_part(g, n, <real>0) if n < VW else vload(g)
    cdef vreal P = vload_part(p, n, <real>0) if n < VW else vload(p)
    cdef vreal M = vload_part(m, n, <real>0) if n < VW else vload(m)
    cdef vreal V = vload_part(v, n, <real>0) if n < VW else vload(v)
    M = vfma(vset(<real>(1 - o.beta1)), G - M, M)
    V = vfma(vset(<real>(1 - o.beta2)), G*G - V, V)
    P = P - vset(<real>(o.learning_rate/o.correction1))*M/(
        vsqrt(V)*vset(<real>(1/sqrt(o.correction2))) + vset(<real>o.epsilon)
    )
    if n < VW:
        vstore_part(p, P, n)
        vstore_part(m, M, n)
        vstore_part(v, V, n)
    else:
        vstore(p, P)
        vstore(m, M)
        vstore(v, V)


cdef void kernel_update(
        Py_ssize_t n, void* parameters, const void* gradient, void* moment1, void* moment2, const Optimizer* optimizer
) noexcept nogil:
    cdef real* p = <real*>parameters
    cdef const real* g = <const real*>gradient
    cdef real* m = <real*>moment1
    cdef real* v = <real*>moment2
    cdef Optimizer o = optimizer[0]  # a copy, which the compiler knows that no store changes
    cdef Py_ssize_t i = 0
    if o.kind == SGD:
        while i + VW <= n:
            sgd_vector(p + i, vload(g + i), VW, &o)
            i += VW
        if i < n:
            sgd_vector(p + i, vload_part(g + i, n - i, <real>0), n - i, &o)
        return
    while i + VW <= n:
        adam_vector(p + i, g + i, m + i, v + i, VW, &o)
        i += VW
    if i < n:
        adam_vector(p + i, g + i, m + i, v + i, n - i, &o)
