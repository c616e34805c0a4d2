/* Vectors for the kernels: load, store, multiply-add, select and the bits of a float, over GCC's and Clang's vector
 * extensions. The build fixes, for each module, the dtype (NNFAST_FLOAT64) and the bytes of a vector
 * (NNFAST_VECTOR_BYTES: 16, 32 or 64); the compiler's own flags fix the instructions. A 64-byte build with AVX2 flags
 * is correct too, only slower: this is how the widest level is tested on processors without AVX-512.
 *
 * The compiler may not contract a*b + c on its own (-ffp-contract=off): whether it does would depend on inlining, and
 * the same row must give the same bits wherever it is computed. A fused multiply-add is always written as vfma.
 */
#ifndef NNFAST_SIMD_H
#define NNFAST_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifdef NNFAST_FLOAT64
typedef double real;
typedef int64_t ireal; /* an integer of the same size */
#define EXPONENT_BITS 11
#define MANTISSA_BITS 52
#else
typedef float real;
typedef int32_t ireal;
#define EXPONENT_BITS 8
#define MANTISSA_BITS 23
#endif
#define EXPONENT_BIAS ((1 << (EXPONENT_BITS - 1)) - 1)

#ifndef NNFAST_VECTOR_BYTES
#define NNFAST_VECTOR_BYTES 16
#endif
enum { VW = NNFAST_VECTOR_BYTES / sizeof(real) };

#define INLINE static inline __attribute__((always_inline))
typedef real vreal __attribute__((vector_size(NNFAST_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef ireal vint __attribute__((vector_size(NNFAST_VECTOR_BYTES), aligned(sizeof(real)), may_alias));

INLINE vreal vset(real a) { return a - (vreal){0}; }
INLINE vreal vzero(void) { return (vreal){0}; }
INLINE vreal vload(const real *p) { return *(const vreal *)p; }
INLINE void vstore(real *p, vreal v) { *(vreal *)p = v; }

/* The first n < VW lanes, or all of them. */
INLINE vint vbefore(Py_ssize_t n) {
    vint lane = {0};
    for (int i = 0; i < VW; i++) lane[i] = i;
    return lane < (ireal)n - (vint){0};
}

/* The first n <= VW lanes only; the others are read as `fill` and not written. Masks, or steps of half the size: a
 * memcpy of a size that only the run knows is a call. */
#if NNFAST_VECTOR_BYTES == 64 && defined(__AVX512F__)
#ifdef NNFAST_FLOAT64
INLINE vreal vload_part(const real *p, Py_ssize_t n, real fill) {
    return (vreal)_mm512_mask_loadu_pd((__m512d)vset(fill), (__mmask8)((1u << n) - 1), p);
}
INLINE void vstore_part(real *p, vreal v, Py_ssize_t n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
#else
INLINE vreal vload_part(const real *p, Py_ssize_t n, real fill) {
    return (vreal)_mm512_mask_loadu_ps((__m512)vset(fill), (__mmask16)((1u << n) - 1), p);
}
INLINE void vstore_part(real *p, vreal v, Py_ssize_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#endif
#else
INLINE vreal vload_part(const real *p, Py_ssize_t n, real fill) {
#if NNFAST_VECTOR_BYTES == 32 && defined(__AVX2__)
    vint mask = vbefore(n);
#ifdef NNFAST_FLOAT64
    vreal v = (vreal)_mm256_maskload_pd(p, (__m256i)mask);
#else
    vreal v = (vreal)_mm256_maskload_ps(p, (__m256i)mask);
#endif
    return (vreal)((mask & (vint)v) | (~mask & (vint)vset(fill)));
#else
    vreal v = vset(fill);
    memcpy(&v, p, (size_t)n * sizeof(real));
    return v;
#endif
}
/* AVX2 has masked stores, but some processors take twenty cycles for one. */
INLINE void vstore_part(real *p, vreal v, Py_ssize_t n) {
    real lanes[VW];
    Py_ssize_t i = 0;
    vstore(lanes, v);
    for (Py_ssize_t step = VW; step; step /= 2)
        if (n & step) {
            memcpy(p + i, lanes + i, (size_t)step * sizeof(real));
            i += step;
        }
}
#endif

/* At the end of an array: elements at or after `end` are read as zero and not written. */
INLINE vreal vload_before(const real *p, const real *end) {
    return end - p >= VW ? vload(p) : vload_part(p, end - p, 0);
}

/* 32 random bits for each lane of a vector of reals, in every dtype. */
typedef uint32_t vuint __attribute__((vector_size(VW * 4)));
typedef int32_t vuint_signed __attribute__((vector_size(VW * 4)));
INLINE vuint vuset(uint32_t a) { return a - (vuint){0}; }
INLINE vuint vucount(uint32_t first) { /* first, first + 1, ... */
    vuint v = vuset(first);
    for (int i = 0; i < VW; i++) v[i] += (uint32_t)i;
    return v;
}
INLINE vint vuge(vuint a, vuint b) { return (vint)__builtin_convertvector((vuint_signed)(a >= b), vint); }
/* The upper 24 bits, as an integer with a sign: exact in float32. */
INLINE vreal vupper(vuint a) { return (vreal)__builtin_convertvector((vuint_signed)a >> 8, vreal); }

/* a*b + c, rounded once where the level has the instruction. */
INLINE vreal vfma(vreal a, vreal b, vreal c) {
#if NNFAST_VECTOR_BYTES == 64 && defined(__AVX512F__)
#ifdef NNFAST_FLOAT64
    return (vreal)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#else
    return (vreal)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
#elif NNFAST_VECTOR_BYTES == 32 && defined(__FMA__)
#ifdef NNFAST_FLOAT64
    return (vreal)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return (vreal)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
#elif NNFAST_VECTOR_BYTES == 16 && defined(__aarch64__)
#ifdef NNFAST_FLOAT64
    return (vreal)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return (vreal)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#endif
#elif defined(__FMA__)
    for (int i = 0; i < VW; i++)
        a[i] = sizeof(real) == 4 ? (real)__builtin_fmaf((float)a[i], (float)b[i], (float)c[i])
                                 : (real)__builtin_fma(a[i], b[i], c[i]);
    return a;
#else
    return a * b + c;
#endif
}

/* Masks are all ones or all zeros in each lane; a comparison with NaN is false. */
INLINE vint vlt(vreal a, vreal b) { return a < b; }
INLINE vint vle(vreal a, vreal b) { return a <= b; }
INLINE vint veq(vreal a, vreal b) { return a == b; }
INLINE vreal vselect(vint mask, vreal a, vreal b) { return (vreal)((mask & (vint)a) | (~mask & (vint)b)); }
INLINE vreal vmax(vreal a, vreal b) { return vselect(a > b, a, b); }
INLINE vreal vabs(vreal a) { return (vreal)((vint)a & (vint)((ireal)(((uint64_t)1 << (8 * sizeof(real) - 1)) - 1) - (vint){0})); }
INLINE vreal vcopysign(vreal a, vreal b) {
    vint magnitude = (ireal)(((uint64_t)1 << (8 * sizeof(real) - 1)) - 1) - (vint){0};
    return (vreal)(((vint)a & magnitude) | ((vint)b & ~magnitude));
}
INLINE int vany(vint mask) {
    ireal lanes = 0;
    for (int i = 0; i < VW; i++) lanes |= mask[i];
    return lanes != 0;
}

/* Reductions run over a fixed tree of lanes, part of the canonical order of sums: lanes i and i + half, for i < half. */
#define UPPER(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#ifdef NNFAST_FLOAT64
#define LANES (NNFAST_VECTOR_BYTES / 8)
#else
#define LANES (NNFAST_VECTOR_BYTES / 4)
#endif
#if LANES == 16
#define REDUCE(v, OP)                                                                        \
    v = OP(v, UPPER(v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));         \
    v = OP(v, UPPER(v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7));                     \
    v = OP(v, UPPER(v, 2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15));             \
    v = OP(v, UPPER(v, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15));
#elif LANES == 8
#define REDUCE(v, OP)                                                                        \
    v = OP(v, UPPER(v, 4, 5, 6, 7, 4, 5, 6, 7));                                             \
    v = OP(v, UPPER(v, 2, 3, 2, 3, 6, 7, 6, 7));                                             \
    v = OP(v, UPPER(v, 1, 1, 3, 3, 5, 5, 7, 7));
#elif LANES == 4
#define REDUCE(v, OP)                                                                        \
    v = OP(v, UPPER(v, 2, 3, 2, 3));                                                         \
    v = OP(v, UPPER(v, 1, 1, 3, 3));
#else
#define REDUCE(v, OP) v = OP(v, UPPER(v, 1, 1));
#endif
INLINE vreal vadd(vreal a, vreal b) { return a + b; }
INLINE real vsum(vreal v) {
    REDUCE(v, vadd)
    return v[0];
}
INLINE real vtop(vreal v) {
    REDUCE(v, vmax)
    return v[0];
}
INLINE real vfirst(vreal v) { return v[0]; }

INLINE vreal vsqrt(vreal v) {
#if NNFAST_VECTOR_BYTES == 64 && defined(__AVX512F__)
#ifdef NNFAST_FLOAT64
    return (vreal)_mm512_sqrt_pd((__m512d)v);
#else
    return (vreal)_mm512_sqrt_ps((__m512)v);
#endif
#elif NNFAST_VECTOR_BYTES == 32 && defined(__AVX__)
#ifdef NNFAST_FLOAT64
    return (vreal)_mm256_sqrt_pd((__m256d)v);
#else
    return (vreal)_mm256_sqrt_ps((__m256)v);
#endif
#else
    for (int i = 0; i < VW; i++)
        v[i] = sizeof(real) == 4 ? (real)__builtin_sqrtf((float)v[i]) : (real)__builtin_sqrt(v[i]);
    return v;
#endif
}

/* v[i][j] becomes v[j][i], for VW vectors: for each bit of an index, pairs of vectors swap their blocks off the diagonal.
 * Each swap is one instruction or two. */
#if LANES == 16
#define LOW_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HIGH_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define LOW_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif LANES == 8
#define LOW_1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_1 1, 9, 3, 11, 5, 13, 7, 15
#define LOW_2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW_4 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH_4 4, 5, 6, 7, 12, 13, 14, 15
#elif LANES == 4
#define LOW_1 0, 4, 2, 6
#define HIGH_1 1, 5, 3, 7
#define LOW_2 0, 1, 4, 5
#define HIGH_2 2, 3, 6, 7
#else
#define LOW_1 0, 2
#define HIGH_1 1, 3
#endif
#define SWAP_BLOCKS(bit)                                                              \
    for (int i = 0; i < VW; i++)                                                      \
        if (!(i & bit)) {                                                             \
            vreal low = __builtin_shufflevector(v[i], v[i | bit], LOW_##bit);         \
            v[i | bit] = __builtin_shufflevector(v[i], v[i | bit], HIGH_##bit);       \
            v[i] = low;                                                               \
        }
INLINE void vtranspose(vreal *v) {
    SWAP_BLOCKS(1)
#if LANES >= 4
    SWAP_BLOCKS(2)
#endif
#if LANES >= 8
    SWAP_BLOCKS(4)
#endif
#if LANES >= 16
    SWAP_BLOCKS(8)
#endif
}

/* Lane i of the result is vsum(v[i]), for VW vectors: the blocks that `vtranspose` would swap are added at once. */
#define ADD_BLOCKS(bit) \
    for (int i = 0; i < bit; i++) \
        v[i] = __builtin_shufflevector(v[i], v[i | bit], LOW_##bit) + __builtin_shufflevector(v[i], v[i | bit], HIGH_##bit);
INLINE vreal vsums(vreal *v) {
#if LANES >= 16
    ADD_BLOCKS(8)
#endif
#if LANES >= 8
    ADD_BLOCKS(4)
#endif
#if LANES >= 4
    ADD_BLOCKS(2)
#endif
    ADD_BLOCKS(1)
    return v[0];
}

/* Adding 1.5 * 2^mantissa rounds to the nearest integer and leaves that integer in the low bits. */
#define ROUND_MAGIC ((real)(3LL << (MANTISSA_BITS - 1)))
INLINE vreal vround(vreal v) {
    vreal shifted = v + ROUND_MAGIC;
    return shifted - ROUND_MAGIC;
}
/* 2**n for integral n in the exponent range of normal numbers. */
INLINE vreal vexp2(vreal n) {
    vint integer = (vint)(n + ROUND_MAGIC) - (vint)vset(ROUND_MAGIC);
    return (vreal)((integer + EXPONENT_BIAS) << MANTISSA_BITS);
}
/* x = mantissa * 2**exponent with mantissa in [sqrt(1/2), sqrt(2)), for normal positive x. */
INLINE vreal vmantissa(vreal x, vreal *exponent) {
    const vreal root_half = vset((real)0.70710678118654752440);
    vint shifted = (vint)x - (vint)root_half;
    vint e = shifted >> MANTISSA_BITS;
    /* e fits the low bits of the magic number, so no conversion instruction is needed (AVX2 has none for 64 bits) */
    *exponent = (vreal)(e + (vint)vset(ROUND_MAGIC)) - ROUND_MAGIC;
    return (vreal)((vint)x - (e << MANTISSA_BITS));
}

/* The highest level whose instructions both the processor and the operating system support: 0 baseline, 1 AVX2 with
 * FMA, 2 AVX-512 (which a checked build compiles for AVX2). Queried from the processor itself, because not every Clang
 * comes with the library behind __builtin_cpu_supports. */
static inline int simd_supported(void) {
#if defined(__x86_64__)
    const unsigned fma_osxsave_avx = 1u << 12 | 1u << 27 | 1u << 28;        /* leaf 1, ecx */
    const unsigned avx2 = 1u << 5;                                          /* leaf 7, ebx */
    const unsigned avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* leaf 7, ebx */
    unsigned eax, ebx, ecx, edx, saved, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & fma_osxsave_avx) != fma_osxsave_avx) return 0;
    /* which registers the operating system saves: bits 1 and 2 up to 256-bit ones, 5 to 7 the 512-bit ones */
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x06) != 0x06 || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & avx2)) return 0;
    if (NNFAST_CHECKED) return 2;
    return (saved & 0xe6) == 0xe6 && (ebx & avx512_f_dq_bw_vl) == avx512_f_dq_bw_vl ? 2 : 1;
#else
    return 0;
#endif
}

#endif
