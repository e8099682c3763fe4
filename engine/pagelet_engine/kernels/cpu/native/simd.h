// Sixteen lanes of fp32, whatever the instruction set: one zmm, two ymm, four xmm or four NEON registers.
//
// The compiler's vector types choose the instructions; what they cannot express stands here once for all kernels.
// Everything is in an unnamed namespace: each level compiles its own copy, and no linker may mix them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace {

typedef float f16x __attribute__((vector_size(64)));
typedef int32_t i16x __attribute__((vector_size(64)));
typedef uint32_t u16x __attribute__((vector_size(64)));
typedef uint16_t h16x __attribute__((vector_size(32)));
typedef int8_t b32x __attribute__((vector_size(32)));

struct bf16 {
    uint16_t bits;
};

template <class T> constexpr int PAIR = sizeof(T) == 2 ? 2 : 1;  // numbers in one 32-bit word of a panel

template <class T> INLINE T smaller(T a, T b) { return a < b ? a : b; }
template <class T> INLINE T larger(T a, T b) { return a > b ? a : b; }

template <class V> INLINE V load(const void *from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}
template <class V> INLINE void store(void *to, V v) { memcpy(to, &v, sizeof v); }

INLINE f16x splat(float x) { return x - f16x{}; }
INLINE u16x splat_word(uint32_t x) { return x - u16x{}; }

INLINE f16x vmax(f16x a, f16x b) { return a > b ? a : b; }

// a·b + c in one rounding where the instruction set has it; contraction is on for these files.
INLINE f16x fma16(f16x a, f16x b, f16x c) {
#if defined(__AVX512F__)
    return (f16x)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
    return a * b + c;
#endif
}

// Fixed order: halves, quarters, eighths, sixteenths.
INLINE float sum_lanes(f16x v) {
    float lane[16];
    store(lane, v);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

INLINE float max_lanes(f16x v) {
    float lane[16];
    store(lane, v);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] = lane[i + width] > lane[i] ? lane[i + width] : lane[i];
    return lane[0];
}

// ---- bf16 -----------------------------------------------------------------------------------------------------------

INLINE float widen(float x) { return x; }
INLINE float widen(bf16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

// Round to nearest, ties to even; NaN stays NaN.
INLINE uint32_t bf16_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
INLINE void narrow(float x, float *to) { *to = x; }
INLINE void narrow(float x, bf16 *to) { to->bits = uint16_t(bf16_bits(x)); }

INLINE u16x bf16_bits(f16x x) {
    const u16x bits = (u16x)x;
    const u16x rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return x != x ? (bits >> 16 | 0x40) : rounded;
}

INLINE f16x load16(const float *from) { return load<f16x>(from); }
INLINE f16x load16(const bf16 *from) {
    return (f16x)(__builtin_convertvector(load<h16x>(from), u16x) << 16);
}
INLINE void store16(float *to, f16x v) { store(to, v); }
INLINE void store16(bf16 *to, f16x v) {
#if defined(__AVX512BF16__)
    store(to, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    store(to, __builtin_convertvector(bf16_bits(v), h16x));
#endif
}

// Two vectors of bf16 numbers as one of words: even in the low half, odd in the high one.
INLINE u16x pair_words(f16x even, f16x odd) { return bf16_bits(even) | bf16_bits(odd) << 16; }

// ---- the dot product of words: acc + a · b, a word being one fp32 or two bf16 --------------------------------------

template <class T> struct Words;

template <> struct Words<float> {
    static INLINE f16x dot(f16x acc, u16x a, u16x b) { return fma16((f16x)a, (f16x)b, acc); }
};

template <> struct Words<bf16> {
    static INLINE f16x dot(f16x acc, u16x a, u16x b) {
#if defined(__AVX512BF16__)
        return (f16x)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#else
        acc = fma16((f16x)(a << 16), (f16x)(b << 16), acc);
        return fma16((f16x)(a & 0xffff0000u), (f16x)(b & 0xffff0000u), acc);
#endif
    }
};

INLINE uint32_t word_at(const void *from) {
    uint32_t word;
    memcpy(&word, from, 4);
    return word;
}

// ---- exponentials ---------------------------------------------------------------------------------------------------

// 2^x for x ≤ 127; 0 below -126. Relative error below 2e-7: a polynomial on [-½, ½] of Taylor's terms, then the exponent.
INLINE f16x exp2_16(f16x x) {
    const f16x clamped = x > -126.0f ? x : splat(-126.0f);
    const f16x magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer in the low bits
    const f16x shifted = clamped + magic;
    const f16x f = clamped - (shifted - magic);
    f16x p = splat(1.5403530393381608e-4f);
    p = fma16(p, f, splat(1.3333558146428443e-3f));
    p = fma16(p, f, splat(9.618129107628477e-3f));
    p = fma16(p, f, splat(5.5504108664821580e-2f));
    p = fma16(p, f, splat(2.4022650695910071e-1f));
    p = fma16(p, f, splat(6.9314718055994531e-1f));
    p = fma16(p, f, splat(1.0f));
    const i16x exponent = (i16x)shifted << 23;
    const f16x scaled = (f16x)((i16x)p + exponent);
    return x > -126.0f ? scaled : splat(0.0f);  // also for NaN
}

constexpr float LOG2_E = 1.44269504088896341f;

INLINE f16x silu16(f16x x) {
    const f16x lowest = x > -87.0f ? x : splat(-87.0f);  // exp(-x) stays finite; NaN goes on through x below
    return x / (1.0f + exp2_16(lowest * -LOG2_E));
}

// tanh(x) = 1 - 2 / (exp(2x) + 1)
INLINE f16x tanh16(f16x x) {
    const f16x bounded = x > 20.0f ? splat(20.0f) : (x < -20.0f ? splat(-20.0f) : x);
    return 1.0f - 2.0f / (exp2_16(bounded * (2.0f * LOG2_E)) + 1.0f);
}

}  // namespace
