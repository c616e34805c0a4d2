# exp, log, tanh and sigmoid of a vector, and the declarations of simd.h that every kernel uses.
#
# exp and tanh share one core: r = x - n log(2), |r| <= log(2)/2, and expm1(r) = r + r*r*P(r). P and the L of log are
# minimax polynomials (Remez exchange in 50 digits). Error bounds, measured over the whole range in
# tests/test_elementary.py, in units in the last place: exp 2, log 2, tanh 4, sigmoid 4, in float32 and float64 at every
# level.

from libc.stdint cimport int64_t
from nnfast.kernels.table cimport (
    ADAM, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, EXP, HINGE, HUBER, IDENTITY, KL_DIVERGENCE, LOG, LOG_COSH,
    MEAN_ABSOLUTE_ERROR, MEAN_SQUARED_ERROR, POISSON, QUANTILE, RELU, SGD, SIGMOID, SIGMOID_BINARY_CROSS_ENTROPY,
    SOFTMAX, SOFTMAX_CROSS_ENTROPY, SOFTMAX_KL_DIVERGENCE, STEP, SUM_SQUARED_ERROR, TANH,
    Kernels, LossSpec, Optimizer, Targets,
)

cdef extern from "simd.h" nogil:
    # Declared as numbers so that formulas read as formulas. A Python literal is a double: write vset(<real>1) in
    # vector code and <real>1 in scalar code.
    ctypedef double real
    ctypedef double vreal
    ctypedef int vint
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
    real vtop(vreal)
    real vfirst(vreal)
    vreal vsqrt(vreal)
    vreal vround(vreal)
    vreal vexp2(vreal)
    vreal vmantissa(vreal, vreal*)
    void vtranspose(vreal*)

cdef enum:
    MAX_VW = 16  # of any level and dtype, for arrays on the stack

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
    half = vround(n*vset(<real>0.5))  # two factors, for one alone would leave the normal numbers
    return (vset(<real>1) + vexpm1_reduced(r))*vexp2(half)*vexp2(n - half)


cdef inline vreal vlog(vreal x) noexcept nogil:
    """log(x): -inf at zero, NaN below.

    With x = 2**e (1 + f) and s = f/(2 + f): log(1 + f) = f - f*f/2 + s*(f*f/2 + s*s*L(s*s)).
    """
    cdef vreal e, f, s, u, p, half_square, tiny, scaled, result
    # subnormal numbers are scaled into the normal ones
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
    """tanh(x) = e/(e + 2), e = expm1(2|x|) = 2**n expm1(r) + (2**n - 1): accurate near zero as far out."""
    cdef vreal n, r, power, e
    cdef vreal t = vabs(x)*vset(<real>2)
    cdef real limit = <real>20 if sizeof(real) == 4 else <real>40  # tanh is 1 from there on
    t = vselect(vlt(vset(limit), t), vset(limit), t)
    r = vreduce(t, &n)
    power = vexp2(n)
    e = vfma(power, vexpm1_reduced(r), power - vset(<real>1))
    return vcopysign(e/(e + vset(<real>2)), x)


cdef inline vreal vsigmoid(vreal x) noexcept nogil:
    """1/(1 + exp(-x)), from exp(-|x|) so that nothing overflows and small values keep their digits."""
    cdef vreal e = vexp(-vabs(x))
    return vselect(vlt(x, vzero()), e, vset(<real>1))/(vset(<real>1) + e)
