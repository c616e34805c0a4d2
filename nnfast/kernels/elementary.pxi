# exp, expm1, log, log1p, tanh, sigmoid and the tail of the normal distribution for vectors, and the declarations of
# simd.h that every kernel uses.
#
# exp and tanh share one core: r = x - n log(2), |r| <= log(2)/2, and expm1(r) = r + r*r*P(r). P and the L of log are
# minimax polynomials (Remez exchange in 50 digits). Error bounds, measured over the whole range in
# tests/test_elementary.py, in units in the last place: exp 2, log 2, tanh 4, sigmoid 4, in float32 and float64 at every
# level. The bounds of the activations built on these are in activations.pxi.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from nnfast.kernels.table cimport *

cdef extern from "simd.h" nogil:
    # Declared as numbers so that formulas read as formulas. A Python literal is a double: write vset(<real>1) in
    # vector code and <real>1 in scalar code.
    ctypedef double real
    ctypedef double vreal
    ctypedef int vint
    ctypedef unsigned int vuint
    enum:
        VW  # elements in a vector
        NNFAST_VECTOR_BYTES
        MANTISSA_BITS
    vreal vset(real)
    vreal vzero()
    vreal vload(const real*)
    void vstore(real*, vreal)
    vreal vload_part(const real*, Py_ssize_t, real)
    void vstore_part(real*, vreal, Py_ssize_t)
    vreal vload_before(const real*, const real*)
    vreal vfma(vreal, vreal, vreal)
    vint vlt(vreal, vreal)
    vint vle(vreal, vreal)
    vint veq(vreal, vreal)
    vreal vselect(vint, vreal, vreal)
    vreal vmax(vreal, vreal)
    vreal vabs(vreal)
    vreal vcopysign(vreal, vreal)
    bint vany(vint)
    real vsum(vreal)
    vreal vsums(vreal*)
    real vtop(vreal)
    real vfirst(vreal)
    vreal vsqrt(vreal)
    vreal vround(vreal)
    vreal vexp2(vreal)
    vreal vmantissa(vreal, vreal*)
    void vtranspose(vreal*)
    vint vbefore(Py_ssize_t)
    vuint vuset(uint32_t)
    vuint vucount(uint32_t)
    vint vuge(vuint, vuint)
    vreal vupper(vuint)
    void trap "__builtin_trap" ()  # ends the process

cdef enum:
    MAX_VW = 16  # over all levels and dtypes, for arrays on the stack

cdef extern from "<math.h>" nogil:
    const double INFINITY, NAN


cdef inline vreal vexpm1_reduced(vreal r) noexcept nogil:
    """exp(r) - 1 for |r| <= log(2)/2."""
    cdef vreal p
    if sizeof(real) == 4:
        p = vset(<real>1.9907705603414788e-4)
        p = vfma(p, r, vset(<real>1.3933732690823964e-3))
        p = vfma(p, r, vset(<real>8.3332858341286105e-3))
        p = vfma(p, r, vset(<real>4.1666464175377412e-2))
        p = vfma(p, r, vset(<real>1.6666666756953862e-1))
        p = vfma(p, r, vset(<real>5.0000000135418428e-1))
    else:
        p = vset(<real>2.0921670480089431812e-9)
        p = vfma(p, r, vset(<real>2.5105313327801073506e-8))
        p = vfma(p, r, vset(<real>2.7557252673099528897e-7))
        p = vfma(p, r, vset(<real>2.7557255168383706587e-6))
        p = vfma(p, r, vset(<real>2.4801587347586654435e-5))
        p = vfma(p, r, vset(<real>1.9841269875003742209e-4))
        p = vfma(p, r, vset(<real>1.3888888888874294453e-3))
        p = vfma(p, r, vset(<real>8.3333333333260826324e-3))
        p = vfma(p, r, vset(<real>4.1666666666666683947e-2))
        p = vfma(p, r, vset(<real>1.666666666666667103e-1))
        p = vfma(p, r, vset(<real>5e-1))
    return vfma(r*r, p, r)


cdef inline vreal vreduce(vreal x, vreal* n) noexcept nogil:
    """r and integral n with x = r + n log(2), |r| <= log(2)/2; log(2) in two parts, the first exact in n times it."""
    n[0] = vround(x*vset(<real>1.4426950408889634074))
    if sizeof(real) == 4:
        return vfma(n[0], vset(<real>-1.4286068203094172e-6), vfma(n[0], vset(<real>-0.693145751953125), x))
    return vfma(n[0], vset(<real>-1.908214929270587816e-10), vfma(n[0], vset(<real>-0.693147180369123816490), x))


cdef inline vreal vexp(vreal x) noexcept nogil:
    """exp(x): inf above the range, subnormal and then zero below it."""
    cdef vreal n, r, half
    cdef real limit = <real>104 if sizeof(real) == 4 else <real>746
    x = vselect(vlt(x, vset(-limit)), vset(-limit), x)  # NaN passes both
    x = vselect(vlt(vset(limit), x), vset(limit), x)
    r = vreduce(x, &n)
    half = vround(n*vset(<real>0.5))  # two factors, because a single one could leave the range of normal numbers
    return (vset(<real>1) + vexpm1_reduced(r))*vexp2(half)*vexp2(n - half)


cdef inline vreal vlog(vreal x) noexcept nogil:
    """log(x): -inf at zero, NaN below.

    With x = 2**e (1 + f) and s = f/(2 + f): log(1 + f) = f - f*f/2 + s*(f*f/2 + s*s*L(s*s)).
    """
    cdef vreal e, f, s, u, p, half_square, tiny, scaled, result
    # subnormal numbers are scaled to normal ones
    tiny = vset(<real>1.1754943508222875e-38 if sizeof(real) == 4 else <real>2.2250738585072014e-308)
    scaled = vselect(vlt(x, tiny), x*vset(<real>(<int64_t>1 << MANTISSA_BITS)), x)
    f = vmantissa(scaled, &e) - vset(<real>1)
    e = e - vselect(vlt(x, tiny), vset(<real>MANTISSA_BITS), vzero())
    s = f/(vset(<real>2) + f)
    u = s*s
    if sizeof(real) == 4:
        p = vset(<real>0.29583417168835368691)
        p = vfma(p, u, vset(<real>0.3998868858519585468))
        p = vfma(p, u, vset(<real>0.66666685340105758239))
    else:
        p = vset(<real>0.1461952597983326152)
        p = vfma(p, u, vset(<real>0.15331462959280977255))
        p = vfma(p, u, vset(<real>0.18182897258217651329))
        p = vfma(p, u, vset(<real>0.22222211017272591036))
        p = vfma(p, u, vset(<real>0.28571428626740492849))
        p = vfma(p, u, vset(<real>0.3999999999989769094))
        p = vfma(p, u, vset(<real>0.66666666666666697554))
    half_square = vset(<real>0.5)*f*f
    result = s*vfma(u, p, half_square)
    if sizeof(real) == 4:
        result = vfma(e, vset(<real>1.4286068203094172e-6), result) - half_square + f
        result = vfma(e, vset(<real>0.693145751953125), result)
    else:
        result = vfma(e, vset(<real>1.908214929270587816e-10), result) - half_square + f
        result = vfma(e, vset(<real>0.693147180369123816490), result)
    result = vselect(veq(x, vset(<real>INFINITY)), x, result)
    result = vselect(vlt(x, vzero()), vset(<real>NAN), result)
    result = vselect(veq(x, vzero()), vset(<real>-INFINITY), result)
    return vselect(veq(x, x), result, x)


cdef inline vreal vtanh(vreal x) noexcept nogil:
    """tanh(x) = e/(e + 2), e = expm1(2|x|) = 2**n expm1(r) + (2**n - 1): as accurate near zero as far from it."""
    cdef vreal n, r, power, e
    cdef vreal t = vabs(x)*vset(<real>2)
    cdef real limit = <real>20 if sizeof(real) == 4 else <real>40  # tanh is 1 from there on
    t = vselect(vlt(vset(limit), t), vset(limit), t)
    r = vreduce(t, &n)
    power = vexp2(n)
    e = vfma(power, vexpm1_reduced(r), power - vset(<real>1))
    return vcopysign(e/(e + vset(<real>2)), x)


cdef inline vreal vsigmoid(vreal x) noexcept nogil:
    """1/(1 + exp(-x)), from exp(-|x|) so that nothing overflows and small values stay accurate."""
    cdef vreal e = vexp(-vabs(x))
    return vselect(vlt(x, vzero()), e, vset(<real>1))/(vset(<real>1) + e)


cdef inline vreal vexpm1_below(vreal x) noexcept nogil:
    """exp(x) - 1 for x <= 0, accurate near zero: 2**n expm1(r) + (2**n - 1). NaN where x is NaN."""
    cdef vreal n, r, power
    cdef real limit = <real>20 if sizeof(real) == 4 else <real>40  # it is -1 from there on
    x = vselect(vlt(x, vset(-limit)), vset(-limit), x)
    r = vreduce(x, &n)
    power = vexp2(n)
    return vfma(power, vexpm1_reduced(r), power - vset(<real>1))


cdef inline vreal vlog1p(vreal x) noexcept nogil:
    """log(1 + x) for x >= 0, corrected for the rounding of u = 1 + x: log(1 + x) = log(u) + (x - (u - 1))/u."""
    cdef vreal u = vset(<real>1) + x
    return vlog(u) + (x - (u - vset(<real>1)))/u


# exp(-v) is needed in full precision even where it is subnormal, because it is part of a product that stays normal
# longer: it is "lifted", multiplied by a power of two. `vunlift` is the factor that undoes this at the end.

cdef enum:
    LIFT_32 = 40
    LIFT_64 = 80


cdef inline vreal vunlift() noexcept nogil:
    return vset(<real>9.094947017729282e-13 if sizeof(real) == 4 else <real>8.271806125530277e-25)


cdef inline vreal vexp_lifted(vreal n, vreal r) noexcept nogil:
    """exp(r + n log(2)) times the lift, for n <= 0 from -166 (float32) or -1102 (float64)."""
    return (vset(<real>1) + vexpm1_reduced(r))*vexp2(n + vset(<real>LIFT_32 if sizeof(real) == 4 else <real>LIFT_64))


cdef inline vreal vexp_half_square(vreal a) noexcept nogil:
    """exp(-a*a/2) times the lift, for a >= 0: a*a is not rounded, because it may be large compared to one."""
    cdef vreal n, r, high, step, half = vset(<real>-0.5)
    n = vround(a*a*vset(<real>-0.72134752044448170368))
    if NNFAST_VECTOR_BYTES > 16:
        high = half*a
        r = vzero()
    else:  # no fused multiply-add: a is split into high, whose square is exact, and a remainder
        step = vset(<real>98304 if sizeof(real) == 4 else <real>6442450944)  # rounds to multiples of 2**-7, 2**-20
        high = (a + step) - step
        r = half*(a - high)*(a + high)
        a = high
        high = half*high
    if sizeof(real) == 4:
        r = vfma(n, vset(<real>-1.4286068203094172e-6), r)
        return vexp_lifted(n, vfma(high, a, n*vset(<real>-0.693145751953125)) + r)
    r = vfma(n, vset(<real>-1.908214929270587816e-10), r)
    return vexp_lifted(n, vfma(high, a, n*vset(<real>-0.693147180369123816490)) + r)


cdef inline vreal vtail_ratio(vreal a) noexcept nogil:
    """exp(a*a/2) times the upper tail of the normal distribution, erfc(a/sqrt(2))/2, for 0 <= a < 14.6 or 38.75.

    u P(2u - 1) with u = k/(k + a) and polynomials P by interpolation in Chebyshev's points, in 40 digits; off by 1.3e-8
    in float32 and 4e-17 in float64, as a part of its size.
    """
    cdef vreal k = vset(<real>4 if sizeof(real) == 4 else <real>5)
    cdef vreal u = k/(k + a), t = vfma(vset(<real>2), u, vset(<real>-1)), p
    if sizeof(real) == 4:
        p = vset(<real>3.0878838977678282e-5)
        p = vfma(p, t, vset(<real>4.8397767694783072e-5))
        p = vfma(p, t, vset(<real>-0.00039219619543417015))
        p = vfma(p, t, vset(<real>-0.00088076297687620972))
        p = vfma(p, t, vset(<real>0.0018817083115707616))
        p = vfma(p, t, vset(<real>0.015101604399003644))
        p = vfma(p, t, vset(<real>0.046630766929137359))
        p = vfma(p, t, vset(<real>0.096784169970242201))
        p = vfma(p, t, vset(<real>0.15197415091531183))
        p = vfma(p, t, vset(<real>0.18882128463384649))
    else:
        p = vset(<real>-4.45913692249470109e-10)
        p = vfma(p, t, vset(<real>1.5289210376715209453e-9))
        p = vfma(p, t, vset(<real>2.1232504036310137449e-9))
        p = vfma(p, t, vset(<real>-1.3341690515656080334e-8))
        p = vfma(p, t, vset(<real>-8.7468037217501029427e-9))
        p = vfma(p, t, vset(<real>8.6893838568193187593e-8))
        p = vfma(p, t, vset(<real>6.7492458366890199838e-8))
        p = vfma(p, t, vset(<real>-5.5406669717902912007e-7))
        p = vfma(p, t, vset(<real>-7.9623196645514304131e-7))
        p = vfma(p, t, vset(<real>3.336341032450866633e-6))
        p = vfma(p, t, vset(<real>9.952568894593670303e-6))
        p = vfma(p, t, vset(<real>-0.000011875173109655053654))
        p = vfma(p, t, vset(<real>-0.00010897981214966195884))
        p = vfma(p, t, vset(<real>-0.00015957387503227363539))
        p = vfma(p, t, vset(<real>0.00059867535376831741567))
        p = vfma(p, t, vset(<real>0.0041590133595222295593))
        p = vfma(p, t, vset(<real>0.013823727741299491979))
        p = vfma(p, t, vset(<real>0.033004073234099591926))
        p = vfma(p, t, vset(<real>0.062706631334259309867))
        p = vfma(p, t, vset(<real>0.099061123193994840182))
        p = vfma(p, t, vset(<real>0.13307650057801135846))
        p = vfma(p, t, vset(<real>0.15383860995001259316))
    return u*p
