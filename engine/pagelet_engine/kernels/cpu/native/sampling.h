// One token of one row of logits, and what log probabilities need to know of it.
//
// The semantics are those of worker/sampler.py, whose thresholds are values, not counts: what is as likely as the last
// one kept is kept too, so that no order among equals matters.
#pragma once

#include <algorithm>
#include <cmath>

#include "run.h"
#include "simd.h"

namespace {

constexpr float INFINITE = __builtin_inff();
constexpr int64_t SUM_BLOCK = 256;

// Weights lie in [0, 1]: their exponent and four more bits name one of these buckets, in ascending order.
constexpr int BUCKET_SHIFT = 19;
constexpr int NUM_BUCKETS = (0x3f800000 >> BUCKET_SHIFT) + 1;

INLINE int bucket_of(float weight) { return int(word_at(&weight) >> BUCKET_SHIFT); }

INLINE float largest_of(const float *x, int64_t count) {
    f16x largest = splat(-INFINITE);
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) largest = vmax(load<f16x>(x + i), largest);
    float found = max_lanes(largest);
    for (; i < count; i++) found = x[i] > found ? x[i] : found;
    return found;
}

INLINE bool has_nan(const float *x, int64_t count) {
    i16x any = {};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const f16x v = load<f16x>(x + i);
        any |= v != v;
    }
    bool found = false;
    for (; i < count; i++) found |= x[i] != x[i];
    for (int lane = 0; lane < 16; lane++) found |= any[lane] != 0;
    return found;
}

// to[i] = exp((x[i] - largest) / divisor)
INLINE void exponentials(const float *x, float *to, int64_t count, float largest, float divisor) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) store(to + i, exp2_16((load<f16x>(x + i) - largest) / divisor * LOG2_E));
    if (i < count) {
        float lane[16] = {};
        memcpy(lane, x + i, size_t(count - i) * 4);
        store(lane, exp2_16((load<f16x>(lane) - largest) / divisor * LOG2_E));
        memcpy(to + i, lane, size_t(count - i) * 4);
    }
}

// Walks weights ≥ `lowest` from the largest down, a bucket at a time, until `stop` says that the end lies in the bucket
// at hand; then sorts that bucket alone. stop(count, sum) is told of everything above and in the bucket; crossed(weight)
// is called for its weights in descending order until it returns true. Returns that weight, or 0.
template <class Stop, class Crossed>
float walk_down(const float *weights, int64_t count, float lowest, float *sorted, Stop stop, Crossed crossed) {
    int64_t numbers[NUM_BUCKETS] = {};
    double sums[NUM_BUCKETS] = {};
    for (int64_t i = 0; i < count; i++)
        if (weights[i] >= lowest && weights[i] > 0) {
            const int bucket = bucket_of(weights[i]);
            numbers[bucket]++;
            sums[bucket] += weights[i];
        }
    for (int bucket = NUM_BUCKETS - 1; bucket >= 0; bucket--) {
        if (!numbers[bucket] || !stop(numbers[bucket], sums[bucket])) continue;
        int64_t held = 0;
        for (int64_t i = 0; i < count; i++)
            if (weights[i] >= lowest && weights[i] > 0 && bucket_of(weights[i]) == bucket) sorted[held++] = weights[i];
        std::sort(sorted, sorted + held, [](float a, float b) { return a > b; });
        for (int64_t i = 0; i < held; i++)
            if (crossed(sorted[i])) return sorted[i];
        return sorted[held - 1];
    }
    return 0;
}

float kth_largest(const float *weights, int64_t count, int64_t k, float *sorted) {
    int64_t above = 0;
    return walk_down(
        weights, count, 0, sorted,
        [&](int64_t held, double) {
            if (above + held >= k) return true;
            above += held;
            return false;
        },
        [&](float) { return ++above >= k; });
}

// The last weight of the smallest set of the likeliest ones, of those ≥ lowest, that reaches top_p of their sum.
float nucleus_end(const float *weights, int64_t count, float lowest, float top_p, float *sorted) {
    double total = 0;
    for (int64_t i = 0; i < count; i++) total += weights[i] >= lowest ? weights[i] : 0.0f;
    const double wanted = double(top_p) * total;
    double above = 0;
    return walk_down(
        weights, count, lowest, sorted,
        [&](int64_t, double sum) {
            if (above + sum >= wanted) return true;
            above += sum;
            return false;
        },
        [&](float weight) { return (above += weight) >= wanted; });
}

void draw(DrawRow &row, int64_t vocab, Scratch &scratch) {
    auto *weights = static_cast<float *>(scratch.at_least(size_t(vocab) * 8));
    float *sorted = weights + vocab;
    const float largest = largest_of(row.logits, vocab);
    row.token = 0;
    row.is_finite = largest < INFINITE && largest > -INFINITE && !has_nan(row.logits, vocab);
    if (!row.is_finite) return;
    exponentials(row.logits, weights, vocab, largest, row.temperature);

    float lowest = 0;
    if (row.top_k < vocab) lowest = kth_largest(weights, vocab, row.top_k, sorted);
    if (row.top_p < 1) lowest = larger(lowest, nucleus_end(weights, vocab, lowest, row.top_p, sorted));
    lowest = larger(lowest, row.min_p);

    double total = 0;
    const int64_t blocks = (vocab + SUM_BLOCK - 1) / SUM_BLOCK;
    auto block_sum = [&](int64_t block) {
        double sum = 0;
        for (int64_t i = block * SUM_BLOCK; i < smaller(vocab, (block + 1) * SUM_BLOCK); i++)
            sum += weights[i] >= lowest ? weights[i] : 0.0f;
        return sum;
    };
    for (int64_t block = 0; block < blocks; block++) total += block_sum(block);
    const double target = row.uniform * total;
    double before = 0;
    int64_t last = 0;  // the last one that may be drawn: where rounding leaves the target behind everything
    for (int64_t block = 0; block < blocks; block++) {
        const double sum = block_sum(block);
        if (sum == 0 || (before + sum <= target && block + 1 < blocks)) {
            before += sum;
            continue;
        }
        for (int64_t i = block * SUM_BLOCK; i < smaller(vocab, (block + 1) * SUM_BLOCK); i++) {
            if (weights[i] < lowest || weights[i] == 0) continue;
            before += weights[i];
            last = i;
            if (before > target) {
                row.token = i;
                return;
            }
        }
    }
    row.token = last;
}

void logprob(LogprobRow &row, int64_t vocab, Scratch &scratch) {
    const float largest = largest_of(row.logits, vocab);
    auto *weights = static_cast<float *>(scratch.at_least(size_t(vocab) * 4));
    exponentials(row.logits, weights, vocab, largest, 1.0f);
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) sum += weights[i];
    row.log_sum_exp = has_nan(row.logits, vocab) ? __builtin_nanf("") : float(double(largest) + log(sum));
    row.token_logit = row.logits[row.token];
    row.rank = 1;
    for (int64_t i = 0; i < vocab; i++) row.rank += row.logits[i] > row.token_logit;
    int64_t held = 0;
    for (int64_t i = 0; i < vocab; i++) {
        const float logit = row.logits[i];
        if (held == row.num_top && (!held || !(logit > row.top_logits[held - 1]))) continue;
        if (held < row.num_top) held++;
        int64_t place = held - 1;
        for (; place > 0 && logit > row.top_logits[place - 1]; place--) {
            row.top_logits[place] = row.top_logits[place - 1];
            row.top_tokens[place] = row.top_tokens[place - 1];
        }
        row.top_logits[place] = logit;
        row.top_tokens[place] = i;
    }
}

}  // namespace
