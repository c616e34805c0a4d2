"""The C functions that generated code is made of.

Their text is C99 with placeholders: ``REAL`` stands for float or double, ``LIMIT`` for the largest number that exp of
its negative takes, and the suffix ``F`` of a constant or of a function of ``<math.h>`` for that of float, or nothing.
Two rules make compilers vectorize them, GCC even at ``-O2``: loops have a constant number of iterations (32, or 8 of
long expressions: at ``-O3``, GCC unrolls shorter loops before it can vectorize them), and numbers are clamped in a loop
of their own, because GCC turns clamping into branches if the same loop uses the clamped number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCKS = (32, 8)  # outputs that `dense` computes at a time
LIMITS = {"float": "87.0f", "double": "700.0"}  # exp(-LIMIT) is not subnormal


class Function(NamedTuple):
    """A C function: its text, the names of the functions that it calls, and of the parameter of an activation."""

    text: str
    calls: tuple[str, ...] = ()
    parameter: str = ""


def source(names: set[str], real: str) -> str:
    """Return the text of these functions and of those that they call, in the order in which C needs them.

    Parameters
    ----------
    names : set of str
        Keys of `FUNCTIONS`.
    real : {"float", "double"}
        The type that they compute with.
    """
    functions = FUNCTIONS | (DOUBLE if real == "double" else {})
    needed, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += functions[name].calls
    texts = (functions[name].text.strip() for name in FUNCTIONS if name in needed)
    return "\n\n".join(_typed(text, real) for text in texts) + "\n"


def _typed(text: str, real: str) -> str:
    suffix = "f" if real == "float" else ""
    text = text.replace("LIMIT", LIMITS[real])
    text = re.sub(r"(?<=[0-9])F\b", suffix, text)
    return re.sub(r"\b(\w+)F\(", rf"\1{suffix}(", text).replace("REAL", real)


def _simple(name: str, comment: str, value: str, parameter: str = "") -> Function:
    """Return the function that replaces each number x[j] of a vector by the expression `value`."""
    return Function(
        f"""
/* {comment} */
static void apply_{name}(REAL *x, int n{parameter and ", REAL " + parameter})
{{
    for (; n >= 32; n -= 32, x += 32)
        for (int j = 0; j < 32; j++)
            x[j] = {value};
    for (int j = 0; j < n; j++)
        x[j] = {value};
}}
""",
        parameter=parameter,
    )


def _smooth(
    name: str,
    comment: str,
    bound: str,
    core: str,
    value: str,
    parameter: str = "",
    calls: tuple[str, ...] = ("negative_size",),
) -> Function:
    """Return the function that computes t = core(bound(x)), and from x and t the `value`."""
    return Function(
        f"""
/* {comment} */
static inline REAL {name}_from(REAL x, REAL t{parameter and ", REAL " + parameter})
{{
    {value}
}}

static void apply_{name}(REAL *x, int n{parameter and ", REAL " + parameter})
{{
    for (; n >= 32; n -= 32, x += 32) {{
        REAL t[32];
        for (int j = 0; j < 32; j++)
            t[j] = {bound.format("x[j]")};
        for (int j = 0; j < 32; j++)
            t[j] = {core}(t[j]);
        for (int j = 0; j < 32; j++)
            t[j] = {name}_from(x[j], t[j]{parameter and ", " + parameter});
        for (int j = 0; j < 32; j++)
            x[j] = x[j] == x[j] ? t[j] : x[j]; /* NaN stays NaN */
    }}
    for (; n > 0; n--, x++) {{
        const REAL v = *x, t = {core}({bound.format("v")});
        *x = v == v ? {name}_from(v, t{parameter and ", " + parameter}) : v;
    }}
}}
""",
        (core, *calls),
        parameter,
    )


_DENSE = """
/* y = x W + b. In w come the weights of 32 outputs at a time, those from an input side by side; then of the
 * outputs that are left, 8 at a time in the same way; then of each output that is left by itself. */
static void dense(const REAL *restrict x, int inputs, REAL *restrict y, int outputs, const REAL *restrict w,
                  const REAL *restrict b)
{
    const int tail4 = inputs % 4, tail8 = inputs % 8;
    for (; outputs >= 32; outputs -= 32, b += 32, y += 32) {
        REAL sum[32];
        const REAL *in = x;
        for (int j = 0; j < 32; j++)
            sum[j] = b[j];
        for (int i = inputs / 4; i > 0; i--, in += 4, w += 4 * 32)
            for (int j = 0; j < 32; j++)
                sum[j] += (in[0] * w[j] + in[1] * w[32 + j]) + (in[2] * w[64 + j] + in[3] * w[96 + j]);
        for (int i = 0; i < tail4; i++, w += 32)
            for (int j = 0; j < 32; j++)
                sum[j] += in[i] * w[j];
        for (int j = 0; j < 32; j++)
            y[j] = sum[j];
    }
    for (; outputs >= 8; outputs -= 8, b += 8, y += 8) {
        REAL sum[8];
        const REAL *in = x;
        for (int j = 0; j < 8; j++)
            sum[j] = b[j];
        for (int i = inputs / 8; i > 0; i--, in += 8, w += 8 * 8)
            for (int j = 0; j < 8; j++)
                sum[j] += ((in[0] * w[j] + in[1] * w[8 + j]) + (in[2] * w[16 + j] + in[3] * w[24 + j]))
                          + ((in[4] * w[32 + j] + in[5] * w[40 + j]) + (in[6] * w[48 + j] + in[7] * w[56 + j]));
        for (int i = 0; i < tail8; i++, w += 8)
            for (int j = 0; j < 8; j++)
                sum[j] += in[i] * w[j];
        for (int j = 0; j < 8; j++)
            y[j] = sum[j];
    }
    for (; outputs > 0; outputs--, b++, y++, w += tail8) {
        REAL sum[8] = {0.0F}, rest = 0.0F;
        const REAL *in = x;
        for (int i = inputs / 8; i > 0; i--, in += 8, w += 8)
            for (int j = 0; j < 8; j++)
                sum[j] += in[j] * w[j];
        for (int i = 0; i < tail8; i++)
            rest += in[i] * w[i];
        *y = *b + (rest + (((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]))));
    }
}
"""

_DENSE_INT8 = """
/* Write x as integers to q; then y = (sum of q w + c) factor, with the weights w of an output side by side. */
static void dense_int8(const float *restrict x, int inputs, float *restrict y, int outputs, const int8_t *restrict w,
                       const int32_t *restrict c, const float *restrict factor, float start, float inverse,
                       int8_t *restrict q)
{
    for (int i = 0; i < inputs; i++) {
        const float t = (x[i] - start) * inverse, from = t > 0.0f ? t : 0.0f, to = from < 255.0f ? from : 255.0f;
        q[i] = (int8_t)((int)to - 128);
    }
    for (int j = 0; j < outputs; j++, w += inputs) {
        int32_t sum = c[j];
        for (int i = 0; i < inputs; i++)
            sum += (int32_t)q[i] * w[i];
        y[j] = (float)sum * factor[j];
    }
}
"""

_POWER = """
/* 2 to the power of n, for n from -126 to 127, from the bits of a float. */
static inline float power_of_two(int n)
{
    union {
        unsigned int bits;
        float value;
    } power;
    if (sizeof power.bits != sizeof power.value) /* as on processors of 16 bits */
        return ldexpf(1.0f, n);
    power.bits = (unsigned int)(n + 127) << 23;
    return power.value;
}
"""

# The polynomial and the two parts of log(2) are those of nnfast/kernels/elementary.pxi.
_EXPM1 = """
/* t = n log(2) + r for -87 <= t <= 0, |r| <= log(2)/2: returns exp(r) - 1 and 2 to the power of n. */
static inline float reduced_expm1(float t, float *power)
{
    const int n = (int)(t * 1.44269504f - 0.5f);
    const float r = (t - (float)n * 0.693145752f) - (float)n * 1.42860682e-6f;
    float p = 1.99077056e-4f;
    p = p * r + 1.39337327e-3f;
    p = p * r + 8.33328583e-3f;
    p = p * r + 4.16664642e-2f;
    p = p * r + 0.166666668f;
    p = p * r + 0.5f;
    *power = power_of_two(n);
    return r * r * p + r;
}
"""

_NEGATIVE_EXP = """
/* exp(t) for -87 <= t <= 0. */
static inline float negative_exp(float t)
{
    float power;
    const float e = reduced_expm1(t, &power);
    return power * e + power;
}
"""

_NEGATIVE_EXPM1 = """
/* exp(t) - 1 for -87 <= t <= 0, accurate near zero too. */
static inline float negative_expm1(float t)
{
    float power;
    const float e = reduced_expm1(t, &power);
    return power * e + (power - 1.0f);
}
"""

_NORMAL_TAIL = """
/* The probability that a standard normal variable is above a, for 0 <= a <= 13. */
static inline float normal_tail(float a)
{
    const float u = 4.0f / (4.0f + a), t = 2.0f * u - 1.0f;
    float p = 3.0878839e-5f;
    p = p * t + 4.83977677e-5f;
    p = p * t - 3.92196195e-4f;
    p = p * t - 8.80762977e-4f;
    p = p * t + 1.88170831e-3f;
    p = p * t + 1.51016044e-2f;
    p = p * t + 4.66307669e-2f;
    p = p * t + 9.678417e-2f;
    p = p * t + 0.151974151f;
    p = p * t + 0.188821285f;
    return negative_exp(-0.5f * a * a) * u * p;
}
"""

_NEGATIVE_SIZE = """
/* -|x|, at least -LIMIT, where exp is still a normal number; for NaN, too. */
static inline REAL negative_size(REAL x)
{
    const REAL a = fabsF(x);
    return a < LIMIT ? -a : -LIMIT;
}
"""

_SIZE = """
/* |x|, at most {limit}; for NaN, too. */
static inline REAL {name}(REAL x)
{{
    const REAL a = fabsF(x);
    return a < {limit} ? a : {limit};
}}
"""

_LARGEST = """
static REAL largest(const REAL *x, int n)
{
    REAL top = x[0];
    for (int i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}
"""

_SUM = """
static REAL sum_of(const REAL *x, int n)
{
    REAL sum[8] = {0.0F}, rest = 0.0F;
    for (; n >= 8; n -= 8, x += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += x[j];
    for (int j = 0; j < n; j++)
        rest += x[j];
    return rest + (((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7])));
}
"""

_SOFTMAX = """
/* exp(x) divided by its sum; the largest number is subtracted first, so that nothing overflows. */
static void apply_softmax(REAL *x, int n)
{
    const REAL top = largest(x, n);
    for (int i = 0; i < n; i++)
        x[i] -= top;
    apply_exp(x, n);
    const REAL total = sum_of(x, n);
    for (int i = 0; i < n; i++)
        x[i] /= total;
}
"""

_LOG_SOFTMAX = """
/* x - log(sum(exp(x))); the largest number is subtracted first, so that nothing overflows. */
static void apply_log_softmax(REAL *x, int n)
{
    const REAL top = largest(x, n);
    REAL total = 0.0F;
    for (int i = 0; i < n; i++) {
        x[i] -= top;
        total += expF(x[i]);
    }
    const REAL logarithm = logF(total);
    for (int i = 0; i < n; i++)
        x[i] -= logarithm;
}
"""

_NORMALIZE = """
/* (x - mean) / sqrt(variance + epsilon) with the mean and variance of x. */
static void normalize(REAL *x, int n, REAL epsilon)
{
    const REAL mean = sum_of(x, n) / (REAL)n;
    for (int i = 0; i < n; i++)
        x[i] -= mean;
    const REAL shift = sum_of(x, n) / (REAL)n; /* by which the mean was rounded */
    REAL squares[8] = {0.0F}, rest = 0.0F;
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            squares[j] += (x[i + j] - shift) * (x[i + j] - shift);
    for (; i < n; i++)
        rest += (x[i] - shift) * (x[i] - shift);
    const REAL factor = 1.0F / sqrtF((rest + sum_of(squares, 8)) / (REAL)n + epsilon);
    for (i = 0; i < n; i++)
        x[i] = (x[i] - shift) * factor;
}
"""


_ENCODE = """
/* The columns of a table, encoded. Three integers for each: its kind, its outputs, and its codes.
 * Kind 0, a number: clipped, and by pieces. Its numbers: a limit, one over what it is clipped to, the scale
 * of the pieces; and for each piece where it begins, and one over its width.
 * Kind 1, a flag: as it is. Kind 2, a code: an output for each; of two codes, -1 or 1.
 * Kind 3, a code: the row of its numbers. Codes that are unknown give zeros. */
static void encode(const REAL *restrict x, int n, REAL *restrict y, int outputs, const int *restrict columns,
                   const REAL *restrict numbers)
{
    const REAL *end = y + outputs;
    for (; n > 0 && y < end; n--, x++, columns += 3) {
        const int kind = columns[0], size = columns[1], codes = columns[2];
        const REAL v = *x;
        if (kind == 0) {
            const REAL limit = numbers[0], b = v > limit ? limit : v < -limit ? -limit : v;
            const REAL part = b * numbers[1], scale = numbers[2];
            y[0] = b / sqrtF(1.0F + part * part);
            numbers += 3;
            for (int j = 1; j < size; j++, numbers += 2) {
                const REAL t = (v - numbers[0]) * numbers[1];
                y[j] = scale * (t < 0.0F ? 0.0F : t > 1.0F ? 1.0F : t);
            }
        } else if (kind == 1) {
            y[0] = v;
        } else {
            const int code = v >= 0.0F && v < (REAL)codes && (REAL)(int)v == v ? (int)v : -1;
            for (int j = 0; j < size; j++)
                y[j] = kind == 3 && code >= 0 ? numbers[code * size + j] : 0.0F;
            if (kind == 2 && code >= 0 && size > 1)
                y[code] = 1.0F;
            else if (kind == 2 && code >= 0)
                y[0] = code > 0 ? 1.0F : -1.0F;
            numbers += kind == 3 ? codes * size : 0;
        }
        y += size;
    }
}
"""


def _vector(name: str, comment: str, vectors: tuple[str, ...], value: str) -> Function:
    """Return the function that replaces x[j] by `value`, computed from it and the j-th numbers of other vectors."""
    start = f"static void {name}(REAL *restrict x, int n, "
    separator = f",\n{' ' * start.index('R')}" if len(vectors) > 2 else ", "
    arguments = separator.join(f"const REAL *restrict {vector}" for vector in vectors)
    steps = ", ".join(f"{vector} += 32" for vector in vectors)
    return Function(f"""
/* {comment} */
{start}{arguments})
{{
    for (; n >= 32; n -= 32, x += 32, {steps})
        for (int j = 0; j < 32; j++)
            x[j] = {value};
    for (int j = 0; j < n; j++)
        x[j] = {value};
}}
""")


_GATE = "return (x > 0.0F ? x : 0.0F) - {size}(x) * {tail};"
_GELU_TANH = "negative_size({0} * (1.59576912160573071F + 0.0713548162726002449F * {0} * {0}))"

# In the order in which they stand in a file: after those that they call.
FUNCTIONS: dict[str, Function] = {
    "copy": Function("""
static void copy(const REAL *restrict x, REAL *restrict y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i];
}
"""),
    "dense": Function(_DENSE),
    "dense_int8": Function(_DENSE_INT8),
    "power_of_two": Function(_POWER),
    "reduced_expm1": Function(_EXPM1, ("power_of_two",)),
    "negative_exp": Function(_NEGATIVE_EXP, ("reduced_expm1",)),
    "negative_expm1": Function(_NEGATIVE_EXPM1, ("reduced_expm1",)),
    "normal_tail": Function(_NORMAL_TAIL, ("negative_exp",)),
    "negative_size": Function(_NEGATIVE_SIZE),
    "bounded_size": Function(_SIZE.format(name="bounded_size", limit="LIMIT")),
    "gelu_size": Function(_SIZE.format(name="gelu_size", limit="13.0F")),
    "apply_exp": _smooth("exp", "exp(x) for x <= 0; 0 below -LIMIT.", "negative_size({})", "negative_exp",
                   "return x < -LIMIT ? 0.0F : t;"),
    "apply_step": _simple("step", "1 above zero, else 0; NaN stays NaN.",
                    "x[j] > 0.0F ? 1.0F : x[j] <= 0.0F ? 0.0F : x[j]"),
    "apply_relu": _simple("relu", "max(x, 0); NaN stays NaN.", "x[j] <= 0.0F ? 0.0F : x[j]"),
    "apply_leaky_relu": _simple("leaky_relu", "x above zero, slope * x below.", "x[j] <= 0.0F ? slope * x[j] : x[j]",
                          "slope"),
    "apply_hard_sigmoid": _simple("hard_sigmoid", "(x + 3) / 6, clipped to [0, 1].",
                            "(x[j] <= -3.0F ? 0.0F : x[j] >= 3.0F ? 6.0F : x[j] + 3.0F) / 6.0F"),
    "apply_sigmoid": _smooth("sigmoid", "1 / (1 + exp(-x)), from t = exp(-|x|).", "negative_size({})", "negative_exp",
                       "return (x < 0.0F ? t : 1.0F) / (1.0F + t);"),
    "apply_tanh": _smooth("tanh", "tanh(x), from t = exp(-2 |x|) - 1.", "negative_size(2.0F * {})", "negative_expm1",
                    "return copysignF(t / (2.0F + t), x);"),
    "apply_elu": _smooth("elu", "x above zero, alpha (exp(x) - 1) below, from t = exp(-|x|) - 1.", "negative_size({})",
                   "negative_expm1", "return x <= 0.0F ? alpha * t : x;", "alpha"),
    "apply_selu": _smooth("selu", "elu with the alpha and the factor that keep mean 0 and variance 1.",
                    "negative_size({})", "negative_expm1",
                    "return 1.05070098735548049F * (x <= 0.0F ? 1.67326324235437728F * t : x);"),
    "apply_gelu": _smooth("gelu", "x times the normal distribution function, from t, its tail beyond |x|.",
                    "gelu_size({})", "normal_tail", _GATE.format(size="gelu_size", tail="t"), calls=("gelu_size",)),
    "apply_gelu_tanh": _smooth("gelu_tanh", "The approximation of gelu with tanh, from an exponential t.", _GELU_TANH,
                         "negative_exp", _GATE.format(size="bounded_size", tail="(t / (1.0F + t))"),
                         calls=("negative_size", "bounded_size")),
    "apply_silu": _smooth("silu", "x / (1 + exp(-x)), from t = exp(-|x|).", "negative_size({})", "negative_exp",
                          _GATE.format(size="bounded_size", tail="(t / (1.0F + t))"),
                          calls=("negative_size", "bounded_size")),
    "unit_log1p": Function("""
/* log(1 + t) for 0 <= t <= 1: twice the inverse hyperbolic tangent of s. */
static inline float unit_log1p(float t)
{
    const float s = t / (2.0f + t), u = s * s;
    float p = 0.0769230769f;
    p = p * u + 0.0909090909f;
    p = p * u + 0.111111111f;
    p = p * u + 0.142857143f;
    p = p * u + 0.2f;
    p = p * u + 0.333333333f;
    return 2.0f * (s * u * p + s);
}
"""),
    "apply_softplus": _smooth("softplus", "log(1 + exp(beta x)) / beta, from t = exp(-|beta x|).",
                              "negative_size(beta * {})",
                        "negative_exp", "return (x > 0.0F ? x : 0.0F) + unit_log1p(t) / beta;", "beta",
                        calls=("negative_size", "unit_log1p")),
    "apply_mish": _smooth("mish", "x tanh(log(1 + exp(x))), from t = exp(-|x|).", "negative_size({})", "negative_exp",
                    """const REAL u = 1.0F + t, part = x < 0.0F ? t * (1.0F + u) : u + t;
    return (x < -LIMIT ? -LIMIT : x) * (part / (part + 2.0F * (x < 0.0F ? 1.0F : t * t)));""",
                    calls=("negative_size",)),
    "largest": Function(_LARGEST),
    "sum_of": Function(_SUM),
    "apply_softmax": Function(_SOFTMAX, ("largest", "apply_exp", "sum_of")),
    "apply_log_softmax": Function(_LOG_SOFTMAX, ("largest",)),
    "rescale": Function("""
static void rescale(REAL *x, int n, REAL scale, REAL offset)
{
    for (int i = 0; i < n; i++)
        x[i] = x[i] * scale + offset;
}
"""),
    "encode": Function(_ENCODE),
    "normalize": Function(_NORMALIZE, ("sum_of",)),
    "multiply": _vector("multiply", "gamma x", ("gamma",), "x[j] * gamma[j]"),
    "multiply_add": _vector("multiply_add", "gamma x + beta", ("gamma", "beta"), "x[j] * gamma[j] + beta[j]"),
    "standardize": _vector("standardize", "factor (x - mean) + beta", ("mean", "factor", "beta"),
                           "(x[j] - mean[j]) * factor[j] + beta[j]"),
    "add": _vector("add", "x + other", ("other",), "x[j] + other[j]"),
}  # fmt: skip

# What double does another way: with the functions of <math.h>, for the polynomials above are for float.
DOUBLE: dict[str, Function] = {
    "negative_exp": Function("""
static inline double negative_exp(double t)
{
    return exp(t);
}
"""),
    "negative_expm1": Function("""
static inline double negative_expm1(double t)
{
    return expm1(t);
}
"""),
    "normal_tail": Function("""
/* The probability that a standard normal variable is above a. */
static inline double normal_tail(double a)
{
    return 0.5 * erfc(0.707106781186547524 * a);
}
"""),
    "gelu_size": Function(_SIZE.format(name="gelu_size", limit="38.0F")),
    "unit_log1p": Function("""
static inline double unit_log1p(double t)
{
    return log1p(t);
}
"""),
}  # fmt: skip
