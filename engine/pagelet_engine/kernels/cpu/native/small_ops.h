// The ops beside matrix products and attention: they move rows, or change them one by one.
#pragma once

#include <cmath>

#include "kv_layer.h"
#include "linear.h"
#include "run.h"
#include "simd.h"

namespace {

// Rows handed out at once: enough that claiming them costs nothing.
constexpr int64_t FEW_ROWS = 8;

template <class F> INLINE void share_rows(Run &run, int64_t index, int64_t rows, F work) {
    run.share(2 * index, (rows + FEW_ROWS - 1) / FEW_ROWS, [&](int64_t unit) {
        for (int64_t row = unit * FEW_ROWS; row < smaller(rows, (unit + 1) * FEW_ROWS); row++) work(row);
    });
}

template <class T> void embedding(Run &run, const EmbeddingOp &op, int64_t index) {
    const int64_t hidden = op.hidden;
    share_rows(run, index, run.step->num_tokens, [&](int64_t row) {
        const int64_t token = run.step->token_ids[row];
        const T *table = static_cast<const T *>(op.table);
        T *out = static_cast<T *>(op.out) + row * hidden;
        const T *column = table + token / PANEL * PANEL * hidden + token % PANEL * PAIR<T>;
        for (int64_t word = 0; word < hidden / PAIR<T>; word++)
            memcpy(out + word * PAIR<T>, column + word * PANEL * PAIR<T>, 4);
    });
}

void rotary(Run &run, const RotaryOp &op, int64_t index) {
    const int64_t half = op.head_dim / 2;
    const Plan &plan = run.plans[0];  // positions are those of the writes, whatever the group
    run.share(2 * index, int64_t(plan.writes.size()), [&](int64_t unit) {
        const WriteUnit &write = plan.writes[unit];
        for (int64_t i = 0; i < write.count; i++) {
            const float position = float(write.position + i);
            float *out = op.out + (write.token + i) * op.head_dim;
            for (int64_t d = 0; d < half; d++) {
                const float angle = position * op.inverse_frequencies[d];
                out[d] = cosf(angle);
                out[half + d] = sinf(angle);
            }
        }
    });
}

// out = x / sqrt(mean(x²) + eps) · weight, of `size` numbers; out may be x.
template <class T> INLINE void normalise(const T *x, const float *weight, T *out, int64_t size, float eps) {
    f16x squares = {};
    int64_t i = 0;
    for (; i + 16 <= size; i += 16) {
        const f16x v = load16(x + i);
        squares = fma16(v, v, squares);
    }
    if (i < size) {
        const f16x v = load_some(x + i, size - i);
        squares = fma16(v, v, squares);
    }
    const f16x factor = splat(1.0f / sqrtf(sum_lanes(squares) / float(size) + eps));
    for (i = 0; i + 16 <= size; i += 16) store16(out + i, load16(x + i) * factor * load<f16x>(weight + i));
    if (i < size) store_some(out + i, load_some(x + i, size - i) * factor * load_some(weight + i, size - i), size - i);
}

template <class T> void rms_norm(Run &run, const RmsNormOp &op, int64_t index) {
    share_rows(run, index, run.rows(op.op), [&](int64_t row) {
        const int64_t first = row * op.hidden;
        normalise(static_cast<const T *>(op.x) + first, op.weight, static_cast<T *>(op.out) + first, op.hidden, op.eps);
    });
}

template <class T> void gather_rows(Run &run, const GatherRowsOp &op, int64_t index) {
    const size_t bytes = size_t(op.hidden) * sizeof(T);
    share_rows(run, index, run.step->num_sampled, [&](int64_t row) {
        memcpy(static_cast<T *>(op.out) + row * op.hidden,
               static_cast<const T *>(op.x) + run.step->sampled_rows[row] * op.hidden, bytes);
    });
}

// x = (a, b) in halves → (a·cos - b·sin, b·cos + a·sin)
template <class T> INLINE void rotate(T *x, const float *rotary, int64_t half) {
    int64_t d = 0;
    for (; d + 16 <= half; d += 16) {
        const f16x cos = load<f16x>(rotary + d), sin = load<f16x>(rotary + half + d);
        const f16x a = load16(x + d), b = load16(x + half + d);
        store16(x + d, a * cos - b * sin);
        store16(x + half + d, b * cos + a * sin);
    }
    for (; d < half; d++) {
        const float cos = rotary[d], sin = rotary[half + d], a = widen(x[d]), b = widen(x[half + d]);
        narrow(a * cos - b * sin, x + d);
        narrow(b * cos + a * sin, x + half + d);
    }
}

template <class T> INLINE void write_values(const T *upper, const T *lower, T *to, int64_t offset, int64_t head_dim) {
    if constexpr (PAIR<T> == 1) {
        memcpy(to, upper, size_t(head_dim) * sizeof(T));
    } else if (lower) {
        for (int64_t d = 0; d < head_dim; d += 16) {
            const u16x even = __builtin_convertvector(load<h16x>(upper + d), u16x);
            const u16x odd = __builtin_convertvector(load<h16x>(lower + d), u16x);
            store(to + 2 * d, even | odd << 16);
        }
    } else {
        for (int64_t d = 0; d < head_dim; d++) to[2 * d + offset % 2] = upper[d];
    }
}

template <class T> void rope_kv_write(Run &run, const RopeKvWriteOp &op, int64_t index) {
    const KvLayer &kv = op.kv;
    const int64_t head_dim = kv.head_dim, heads = kv.num_heads, kv_heads = kv.num_kv_heads;
    const int64_t stride = (heads + 2 * kv_heads) * head_dim;
    const Plan &plan = run.plans[kv.group];
    run.share(2 * index, int64_t(plan.writes.size()), [&](int64_t unit) {
        const WriteUnit &write = plan.writes[unit];
        T *first = static_cast<T *>(op.qkv) + write.token * stride;
        for (int64_t i = 0; i < write.count; i++) {
            const float *angles = op.rotary + (write.token + i) * head_dim;
            for (int64_t head = 0; head < heads + kv_heads; head++) {
                T *x = first + i * stride + head * head_dim;
                if (op.q_norm) normalise(x, head < heads ? op.q_norm : op.k_norm, x, head_dim, op.eps);
                rotate(x, angles, head_dim / 2);
            }
        }
        for (int64_t head = 0; head < kv_heads; head++) {
            const T *key = first + (heads + head) * head_dim, *value = key + kv_heads * head_dim;
            T *keys = keys_at<T>(kv, write.block, head, write.offset) + write.offset % 16 * PAIR<T>;
            for (int64_t word = 0; word < head_dim / PAIR<T>; word++)
                for (int64_t i = 0; i < write.count; i++)
                    memcpy(keys + (word * 16 + i) * PAIR<T>, key + i * stride + word * PAIR<T>, 4);
            for (int64_t i = 0; i < write.count;) {
                const int64_t offset = write.offset + i;
                const bool both = PAIR<T> == 2 && offset % 2 == 0 && i + 1 < write.count;
                write_values(value + i * stride, both ? value + (i + 1) * stride : nullptr,
                             values_at<T>(kv, write.block, head, offset), offset, head_dim);
                i += both ? 2 : 1;
            }
        }
    });
}

}  // namespace
