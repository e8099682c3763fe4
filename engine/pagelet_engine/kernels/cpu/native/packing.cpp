// From a checkpoint's rows to panels: once, at load time, in any instruction set.
#include "packing.h"

#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t PANEL = 32, HALF = 16, INT4_GROUP = 32;

float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_fp16(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * float(fraction) * 0x1p-24f;
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

void widen_row(const PackJob &job, int64_t row, float *to) {
    const int64_t count = job.in_features;
    if (job.source_dtype == FP32) {
        memcpy(to, static_cast<const float *>(job.source) + row * count, size_t(count) * 4);
        return;
    }
    const uint16_t *from = static_cast<const uint16_t *>(job.source) + row * count;
    if (job.source_dtype == BF16)
        for (int64_t k = 0; k < count; k++) to[k] = from_bits(uint32_t(from[k]) << 16);
    else
        for (int64_t k = 0; k < count; k++) to[k] = from_fp16(from[k]);
}

// One row of the product, as column `lane` of `panel`.
struct Column {
    const PackJob &job;
    int64_t panel, lane;

    int64_t numbers() const { return job.in_features * PANEL; }

    void put_fp32(const float *row) const {
        float *to = static_cast<float *>(job.panels) + panel * numbers() + lane;
        for (int64_t k = 0; k < job.in_features; k++) to[k * PANEL] = row[k];
    }

    void put_bf16(const float *row) const {
        uint16_t *to = static_cast<uint16_t *>(job.panels) + panel * numbers() + lane * 2;
        for (int64_t k = 0; k < job.in_features; k++) to[k / 2 * PANEL * 2 + k % 2] = to_bf16(row[k]);
    }

    // Symmetric: the row's largest magnitude becomes 127.
    void put_int8(const float *row) const {
        float largest = 0;
        for (int64_t k = 0; k < job.in_features; k++) largest = std::fmax(largest, std::fabs(row[k]));
        const float scale = largest / 127;
        static_cast<float *>(job.scales)[panel * PANEL + lane] = scale;
        int8_t *to = static_cast<int8_t *>(job.panels) + panel * numbers() + lane * 2;
        for (int64_t k = 0; k < job.in_features; k++)
            to[k / 2 * PANEL * 2 + k % 2] = scale > 0 ? int8_t(std::lrintf(row[k] / scale)) : int8_t(0);
    }

    // Of each group of inputs, the number of largest magnitude becomes -8; scales are rounded before they are used.
    void put_int4(const float *row) const {
        uint16_t *scales = static_cast<uint16_t *>(job.scales) + panel * numbers() / INT4_GROUP + lane;
        uint8_t *to = static_cast<uint8_t *>(job.panels) + panel * numbers() / 2 + lane;
        for (int64_t group = 0; group < job.in_features / INT4_GROUP; group++) {
            const float *from = row + group * INT4_GROUP;
            float extreme = 0;
            for (int64_t k = 0; k < INT4_GROUP; k++)
                if (std::fabs(from[k]) > std::fabs(extreme)) extreme = from[k];
            const uint16_t rounded = to_bf16(extreme / -8);
            const float scale = from_bits(uint32_t(rounded) << 16);
            scales[group * PANEL] = rounded;
            for (int64_t k = 0; k < INT4_GROUP; k += 2) {
                const uint8_t even = four_bits(from[k], scale), odd = four_bits(from[k + 1], scale);
                to[(group * INT4_GROUP + k) / 2 * PANEL] = uint8_t(even | odd << 4);
            }
        }
    }

    static uint8_t four_bits(float x, float scale) {
        if (scale == 0) return 8;
        const float q = std::nearbyintf(x / scale) + 8;
        return uint8_t(q < 0 ? 0 : q > 15 ? 15 : q);
    }
};

}  // namespace

void pack_row(const PackJob &job, int64_t row, float *wide) {
    widen_row(job, row, wide);
    const int64_t at = job.first_row + row, half = at / HALF * job.half_stride + job.half_offset;
    const Column column = {job, half / 2, half % 2 * HALF + at % HALF};
    switch (job.weight_dtype) {
        case FP32: return column.put_fp32(wide);
        case BF16: return column.put_bf16(wide);
        case INT8: return column.put_int8(wide);
        case INT4: return column.put_int4(wide);
    }
}
