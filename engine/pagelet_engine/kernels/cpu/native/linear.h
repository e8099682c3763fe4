// x · Wᵀ with its epilogue.
//
// Weights lie in panels of 32 columns: [in_features / pair][32][pair], so that one load brings a word (one fp32, or two
// bf16 numbers that follow each other along the inputs) of 16 columns. Quantised panels are widened into the thread's
// scratch first. Every sum runs over the inputs in order, so it does not depend on the rows beside it.
#pragma once

#include "run.h"
#include "simd.h"

#if defined(__AMX_BF16__)
#include "tiles.h"
#endif

namespace {

constexpr int64_t PANEL = 32;
constexpr int64_t INT4_GROUP = 32;

// Bytes of activations that stay in a core's cache while all panels pass by. Fewer would read the weights more often,
// and they come from farther away.
constexpr int64_t BLOCK_BYTES = 1 << 20;

template <class T> INLINE int64_t row_block(int64_t in_features) {
    return larger<int64_t>(32, BLOCK_BYTES / (in_features * int64_t(sizeof(T))) / 32 * 32);
}

#if defined(__AVX512F__)
constexpr int MICRO_ROWS = 8, MICRO_VECTORS = 2;  // accumulators: 16 of 32 registers
#else
constexpr int MICRO_ROWS = 4, MICRO_VECTORS = 1;  // accumulators: 8 of 16 registers of 8 lanes
#endif

// ---- epilogue ---------------------------------------------------------------------------------------------------------

struct LinearTarget {
    const LinearOp *op;
    const Step *step;
    Best *best;
};

template <class T> INLINE void store_some(T *to, f16x v, int64_t count) {
    if (count >= 16) return store16(to, v);
    T lane[16];
    store16(lane, v);
    memcpy(to, lane, size_t(count) * sizeof(T));
}

template <class T> INLINE f16x load_some(const T *from, int64_t count) {
    if (count >= 16) return load16(from);
    T lane[16] = {};
    memcpy(lane, from, size_t(count) * sizeof(T));
    return load16(lane);
}

INLINE void keep_best(Best &best, f16x v, int32_t first_column, int64_t count) {
    const i16x lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (count < 16) v = lane < int32_t(count) ? v : splat(-__builtin_inff());
    const f16x before = load<f16x>(best.value);
    store(best.nans, load<f16x>(best.nans) + (v == v ? splat(0.0f) : splat(1.0f)));
    store(best.token, v > before ? lane + first_column : load<i16x>(best.token));
    store(best.value, v > before ? v : before);
}

// The products of one row with the columns of panel `panel`.
template <class T> INLINE void finish(const LinearTarget &target, int64_t row, int64_t panel, f16x low, f16x high) {
    const LinearOp &op = *target.op;
    const int64_t column = panel * PANEL;
    if (op.weight_dtype == INT8) {
        const float *scales = static_cast<const float *>(op.scales) + column;
        low *= load<f16x>(scales);
        high *= load<f16x>(scales + 16);
    }
    if (op.bias) {
        low += load<f16x>(op.bias + column);
        high += load<f16x>(op.bias + column + 16);
    }
    if (op.epilogue == SILU_MUL) {
        const int64_t out_features = op.columns / 2, first = panel * 16;
        store_some(static_cast<T *>(op.out) + row * out_features + first, silu16(low) * high, out_features - first);
        return;
    }
    const int64_t left = op.columns - column;
    if (op.wide_out) {
        if (target.step->logits) {
            float *to = target.step->logits + row * op.columns + column;
            store_some(to, low, left);
            if (left > 16) store_some(to + 16, high, left - 16);
        }
        keep_best(target.best[row], low, int32_t(column), left);
        if (left > 16) keep_best(target.best[row], high, int32_t(column) + 16, left - 16);
        return;
    }
    const int64_t at = row * op.columns + column;
    if (op.residual) {
        const T *residual = static_cast<const T *>(op.residual) + at;
        low += load_some(residual, left);
        if (left > 16) high += load_some(residual + 16, left - 16);
    }
    T *to = static_cast<T *>(op.out) + at;
    store_some(to, low, left);
    if (left > 16) store_some(to + 16, high, left - 16);
}

// ---- panels -----------------------------------------------------------------------------------------------------------

// Two vectors (even and odd inputs) of 16 columns into the panel's words.
INLINE void put_words(float *to, int64_t pair_row, int64_t half, f16x even, f16x odd) {
    store(to + (2 * pair_row) * PANEL + half * 16, even);
    store(to + (2 * pair_row + 1) * PANEL + half * 16, odd);
}
INLINE void put_words(bf16 *to, int64_t pair_row, int64_t half, f16x even, f16x odd) {
    store(to + (pair_row * PANEL + half * 16) * 2, pair_words(even, odd));
}

template <class T> void widen_int8(const int8_t *from, T *to, int64_t in_features) {
    for (int64_t k = 0; k < in_features / 2; k++)
        for (int64_t half = 0; half < 2; half++) {
            // Bytes of column c: even input, odd input.
            const u16x pairs = __builtin_convertvector(load<h16x>(from + (k * PANEL + half * 16) * 2), u16x);
            const i16x even = (i16x)(pairs << 24) >> 24, odd = (i16x)(pairs << 16) >> 24;
            put_words(to, k, half, __builtin_convertvector(even, f16x), __builtin_convertvector(odd, f16x));
        }
}

template <class T> void widen_int4(const uint8_t *from, const bf16 *scales, T *to, int64_t in_features) {
    typedef uint8_t b16x __attribute__((vector_size(16)));
    for (int64_t group = 0; group < in_features / INT4_GROUP; group++)
        for (int64_t half = 0; half < 2; half++) {
            const f16x scale = load16(scales + group * PANEL + half * 16);
            for (int64_t k = group * INT4_GROUP / 2; k < (group + 1) * INT4_GROUP / 2; k++) {
                const i16x bytes = __builtin_convertvector(load<b16x>(from + k * PANEL + half * 16), i16x);
                const i16x even = (bytes & 15) - 8, odd = (bytes >> 4) - 8;
                put_words(to, k, half, scale * __builtin_convertvector(even, f16x),
                          scale * __builtin_convertvector(odd, f16x));
            }
        }
}

// Panel number `panel` in words of T: where it lies, or widened into scratch.
template <class T> const T *panel_words(const LinearOp &op, int64_t panel, T *scratch) {
    const int64_t numbers = op.in_features * PANEL;
    switch (op.weight_dtype) {
        case INT8:
            widen_int8(static_cast<const int8_t *>(op.weight) + panel * numbers, scratch, op.in_features);
            return scratch;
        case INT4: {
            const auto *scales = static_cast<const bf16 *>(op.scales) + panel * numbers / INT4_GROUP;
            widen_int4(static_cast<const uint8_t *>(op.weight) + panel * numbers / 2, scales, scratch, op.in_features);
            return scratch;
        }
        default:
            return static_cast<const T *>(op.weight) + panel * numbers;
    }
}

// ---- products ---------------------------------------------------------------------------------------------------------

#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
// The same sums in registers of 8 lanes: the compiler keeps variables of 16 lanes in memory here, and every product would
// wait for the one before to be stored and read again.
INLINE __m256 wide(uint32_t word) { return _mm256_castsi256_ps(_mm256_set1_epi32(int32_t(word))); }

struct Columns8 {
    __m256 even, odd;  // odd: of pairs alone
};
INLINE Columns8 columns8(const float *from) { return {_mm256_loadu_ps(from), _mm256_setzero_ps()}; }
INLINE Columns8 columns8(const bf16 *from) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
    const __m256i odd = _mm256_and_si256(pairs, _mm256_set1_epi32(int32_t(0xffff0000u)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)), _mm256_castsi256_ps(odd)};
}

template <class T, int ROWS>
INLINE void micro(const T *x, const T *panel, int64_t in_features, f16x (*products)[2]) {
    const int64_t words = in_features / PAIR<T>;
    for (int half = 0; half < 2; half++) {
        __m256 sums[ROWS][2];
        for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm256_setzero_ps();
        const T *columns = panel + half * 16 * PAIR<T>;
        for (int64_t k = 0; k < words; k++) {
            const T *from = columns + k * PANEL * PAIR<T>;
            const Columns8 weights[2] = {columns8(from), columns8(from + 8 * PAIR<T>)};
            for (int r = 0; r < ROWS; r++) {
                const uint32_t input = word_at(x + r * in_features + k * PAIR<T>);
                const __m256 even = wide(PAIR<T> == 2 ? input << 16 : input), odd = wide(input & 0xffff0000u);
                for (int v = 0; v < 2; v++) {
                    sums[r][v] = _mm256_fmadd_ps(even, weights[v].even, sums[r][v]);
                    if constexpr (PAIR<T> == 2) sums[r][v] = _mm256_fmadd_ps(odd, weights[v].odd, sums[r][v]);
                }
            }
        }
        for (int r = 0; r < ROWS; r++) memcpy(&products[r][half], sums[r], sizeof sums[r]);
    }
}
#else
template <class T, int ROWS>
INLINE void micro(const T *x, const T *panel, int64_t in_features, f16x (*products)[2]) {
    const int64_t words = in_features / PAIR<T>;
    for (int first = 0; first < 2; first += MICRO_VECTORS) {
        f16x sums[ROWS][MICRO_VECTORS] = {};
        const T *columns = panel + first * 16 * PAIR<T>;
        for (int64_t k = 0; k < words; k++) {
            u16x weights[MICRO_VECTORS];
            for (int v = 0; v < MICRO_VECTORS; v++)
                weights[v] = load<u16x>(columns + (k * PANEL + v * 16) * PAIR<T>);
            for (int r = 0; r < ROWS; r++) {
                const u16x input = splat_word(word_at(x + r * in_features + k * PAIR<T>));
                for (int v = 0; v < MICRO_VECTORS; v++) sums[r][v] = Words<T>::dot(sums[r][v], input, weights[v]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < MICRO_VECTORS; v++) products[r][first + v] = sums[r][v];
    }
}
#endif

template <class T, int ROWS>
void multiply(const LinearTarget &target, int64_t row, int64_t panel, const T *words) {
    const int64_t in_features = target.op->in_features;
    f16x products[ROWS][2];
    micro<T, ROWS>(static_cast<const T *>(target.op->x) + row * in_features, words, in_features, products);
    for (int r = 0; r < ROWS; r++) finish<T>(target, row + r, panel, products[r][0], products[r][1]);
}

template <class T, int ROWS>
INLINE void multiply_last(int64_t rows, const LinearTarget &target, int64_t row, int64_t panel, const T *words) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) return multiply<T, ROWS>(target, row, panel, words);
        multiply_last<T, ROWS - 1>(rows, target, row, panel, words);
    }
}

template <class T>
void multiply_rows(const LinearTarget &target, int64_t first, int64_t last, int64_t panel, const T *words) {
    int64_t row = first;
    for (; row + MICRO_ROWS <= last; row += MICRO_ROWS) multiply<T, MICRO_ROWS>(target, row, panel, words);
    multiply_last<T, MICRO_ROWS - 1>(last - row, target, row, panel, words);
}

#if defined(__AMX_BF16__)
// Rows in tiles of 16. The last tile's rows were copied to `tail`, because a tile always loads 16.
void multiply_rows_tiled(const LinearTarget &target, int64_t first, int64_t last, int64_t panel, const bf16 *words,
                         const bf16 *tail, float *products) {
    const int64_t in_features = target.op->in_features;
    const auto *x = static_cast<const bf16 *>(target.op->x);
    for (int64_t row = first; row < last;) {
        const int64_t rows = smaller<int64_t>(32, last - row);
        const bf16 *upper = rows >= 16 ? x + row * in_features : tail;
        if (rows > 16) {
            const bf16 *lower = rows == 32 ? x + (row + 16) * in_features : tail;
            product_of_tiles_32(upper, lower, words, in_features, products);
        } else {
            product_of_tiles_16(upper, words, in_features, products);
        }
        for (int64_t r = 0; r < rows; r++)
            finish<bf16>(target, row + r, panel, load<f16x>(products + r * PANEL), load<f16x>(products + r * PANEL + 16));
        row += rows;
    }
}
#endif

template <class T> void linear(Run &run, const LinearOp &op, int64_t index, int thread) {
    const int64_t rows = run.rows(op.op);
    const int64_t panels = (op.columns + PANEL - 1) / PANEL, block = row_block<T>(op.in_features);
    const int64_t blocks = (rows + block - 1) / block;
    Best *best = op.wide_out ? static_cast<Best *>(run.best[thread].at_least(size_t(rows) * sizeof(Best))) : nullptr;
    const LinearTarget target = {&op, run.step, best};
    auto keep_logits = [&] {
        if (!best || run.has_best[thread]) return;
        run.has_best[thread] = 1;
        for (int64_t row = 0; row < rows; row++) {
            store(best[row].value, splat(-__builtin_inff()));
            store(best[row].token, i16x{});
            store(best[row].nans, f16x{});
        }
    };

    const bool is_quantised = op.weight_dtype == INT8 || op.weight_dtype == INT4;
    const int64_t panel_bytes = is_quantised ? op.in_features * PANEL * int64_t(sizeof(T)) : 0;
    constexpr int64_t PRODUCT_BYTES = 32 * PANEL * 4;
    const int64_t tail_bytes = 16 * op.in_features * int64_t(sizeof(T));
    auto *memory = static_cast<char *>(run.scratch[thread].at_least(size_t(panel_bytes + PRODUCT_BYTES + tail_bytes)));
    T *widened = reinterpret_cast<T *>(memory);

#if defined(__AMX_BF16__)
    if constexpr (sizeof(T) == 2) {
        if (op.in_features % 32 == 0) {
            auto *products = reinterpret_cast<float *>(memory + panel_bytes);
            T *tail = reinterpret_cast<T *>(memory + panel_bytes + PRODUCT_BYTES);
            const int64_t left = rows % 16;
            const T *x = static_cast<const T *>(op.x);
            memcpy(tail, x + (rows - left) * op.in_features, size_t(left * op.in_features) * sizeof(T));
            configure_linear_tiles();
            run.share(2 * index, panels * blocks, [&](int64_t unit) {
                keep_logits();
                const int64_t panel = unit % panels, first = unit / panels * block;
                const T *words = panel_words<T>(op, panel, widened);
                multiply_rows_tiled(target, first, smaller(rows, first + block), panel, words, tail, products);
            });
            return;
        }
    }
#endif
    run.share(2 * index, panels * blocks, [&](int64_t unit) {
        keep_logits();
        const int64_t panel = unit % panels, first = unit / panels * block;
        const T *words = panel_words<T>(op, panel, widened);
        multiply_rows<T>(target, first, smaller(rows, first + block), panel, words);
    });
}

void argmax(Run &run, const ArgmaxOp &, int64_t index) {
    run.share(2 * index, run.step->num_sampled, [&](int64_t row) {
        float value = -__builtin_inff(), nans = 0;
        int64_t token = 0;
        for (int thread = 0; thread < run.pool->num_threads(); thread++) {
            if (!run.has_best[thread]) continue;
            const Best &best = static_cast<const Best *>(run.best[thread].at_least(0))[row];
            for (int lane = 0; lane < 16; lane++) {
                nans += best.nans[lane];
                const bool is_larger = best.value[lane] > value;
                if (is_larger || (best.value[lane] == value && best.token[lane] < token)) {
                    value = best.value[lane];
                    token = best.token[lane];
                }
            }
        }
        run.step->argmax[row] = token;
        run.step->is_finite[row] = nans == 0 && value > -__builtin_inff() && value < __builtin_inff();
    });
}

}  // namespace
