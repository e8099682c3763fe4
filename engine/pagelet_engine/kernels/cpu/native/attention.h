// Attention over the paged cache: softmax(scale · q·Kᵀ) · V of every query over its own sequence.
//
// Up to 16 rows (queries × heads of one KV head's group) look at one segment of keys together: scores of all its keys,
// an exact softmax over them, their values' weighted sum. Segments are folded in order, so a query's numbers depend on
// its own sequence alone. Keys that a row may not see get weight 0; slots that nobody wrote are never multiplied.
#pragma once

#include <cmath>

#include "kv_layer.h"
#include "run.h"
#include "simd.h"
#if defined(__AMX_BF16__)
#include "tiles.h"
#endif

namespace {

constexpr int TILE_ROWS = 16;
constexpr int64_t GROUPS = SEGMENT / 16;

#if defined(__AVX512F__)
constexpr int SCORE_ROWS = 4, SCORE_GROUPS = 2, VALUE_VECTORS = 4;
#else
constexpr int SCORE_ROWS = 4, SCORE_GROUPS = 1, VALUE_VECTORS = 1;
#endif

// Softmax of some keys, not yet divided: out = Σ weight · value, with weights relative to the largest score.
struct State {
    float largest;  // score × scale × log2(e)
    float sum;      // of the weights
    // followed by head_dim sums of values
};

// What a thread needs for 16 rows and one segment.
template <class T> struct AttentionScratch {
    T *queries;      // (16, head_dim)
    float *scores;   // (16, SEGMENT)
    T *weights;      // (16, SEGMENT)
    T *last_values;  // values of 16 keys, those nobody may see zeroed
    float *sums;     // (16, head_dim)

    static size_t bytes(int64_t head_dim) {
        return size_t(TILE_ROWS * head_dim * (2 * sizeof(T) + 4) + TILE_ROWS * SEGMENT * (4 + sizeof(T)));
    }
    AttentionScratch(void *memory, int64_t head_dim) {
        auto *at = static_cast<char *>(memory);
        auto take = [&](size_t bytes) {
            auto *taken = at;
            at += bytes;
            return taken;
        };
        queries = reinterpret_cast<T *>(take(TILE_ROWS * size_t(head_dim) * sizeof(T)));
        last_values = reinterpret_cast<T *>(take(TILE_ROWS * size_t(head_dim) * sizeof(T)));
        sums = reinterpret_cast<float *>(take(TILE_ROWS * size_t(head_dim) * 4));
        scores = reinterpret_cast<float *>(take(TILE_ROWS * SEGMENT * 4));
        weights = reinterpret_cast<T *>(take(TILE_ROWS * SEGMENT * sizeof(T)));
    }
};

// Rows that look at one segment: row r at its keys from begin[r] up to end[r], counted from the segment's first.
struct TileRows {
    int count = 0;
    int64_t begin[TILE_ROWS];
    int64_t end[TILE_ROWS];
};

// ---- scores -----------------------------------------------------------------------------------------------------------

template <class T, int ROWS, int KEY_GROUPS>
INLINE void some_scores(const T *queries, int64_t head_dim, const T *const *keys, float *scores) {
    f16x sums[ROWS][KEY_GROUPS] = {};
    for (int64_t word = 0; word < head_dim / PAIR<T>; word++) {
        u16x key[KEY_GROUPS];
        for (int g = 0; g < KEY_GROUPS; g++) key[g] = load<u16x>(keys[g] + word * 16 * PAIR<T>);
        for (int r = 0; r < ROWS; r++) {
            const u16x query = splat_word(word_at(queries + r * head_dim + word * PAIR<T>));
            for (int g = 0; g < KEY_GROUPS; g++) sums[r][g] = Words<T>::dot(sums[r][g], query, key[g]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int g = 0; g < KEY_GROUPS; g++) store(scores + r * SEGMENT + g * 16, sums[r][g]);
}

template <class T, int ROWS>
INLINE void row_scores(const T *queries, int64_t head_dim, const T *const *keys, int64_t first, int64_t last,
                       float *scores) {
    int64_t group = first;
    for (; group + SCORE_GROUPS <= last; group += SCORE_GROUPS)
        some_scores<T, ROWS, SCORE_GROUPS>(queries, head_dim, keys + group, scores + group * 16);
    for (; group < last; group++) some_scores<T, ROWS, 1>(queries, head_dim, keys + group, scores + group * 16);
}

// ---- values -----------------------------------------------------------------------------------------------------------

template <class T, int ROWS, int VECTORS>
INLINE void some_values(const T *weights, const T *const *values, int64_t first, int64_t last, int64_t head_dim,
                        int64_t column, float *sums) {
    f16x acc[ROWS][VECTORS] = {};
    for (int64_t group = first; group < last; group++)
        for (int64_t pair = 0; pair < 16 / PAIR<T>; pair++) {
            u16x value[VECTORS];
            for (int v = 0; v < VECTORS; v++)
                value[v] = load<u16x>(values[group] + (pair * head_dim + column + v * 16) * PAIR<T>);
            for (int r = 0; r < ROWS; r++) {
                const u16x weight = splat_word(word_at(weights + r * SEGMENT + group * 16 + pair * PAIR<T>));
                for (int v = 0; v < VECTORS; v++) acc[r][v] = Words<T>::dot(acc[r][v], weight, value[v]);
            }
        }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) store(sums + r * head_dim + column + v * 16, acc[r][v]);
}

template <class T, int ROWS>
INLINE void row_values(const T *weights, const T *const *values, int64_t first, int64_t last, int64_t head_dim,
                       float *sums) {
    int64_t column = 0;
    for (; column + VALUE_VECTORS * 16 <= head_dim; column += VALUE_VECTORS * 16)
        some_values<T, ROWS, VALUE_VECTORS>(weights, values, first, last, head_dim, column, sums);
    for (; column < head_dim; column += 16)
        some_values<T, ROWS, 1>(weights, values, first, last, head_dim, column, sums);
}

template <class T, int ROWS, class F> INLINE void by_row_count(int rows, F work) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) return work(std::integral_constant<int, ROWS>());
        by_row_count<T, ROWS - 1>(rows, work);
    }
}

// Blocks of SCORE_ROWS rows, then the rest: work(first row, integral constant of their number).
template <class T, class F> INLINE void in_row_blocks(int rows, F work) {
    int row = 0;
    for (; row + SCORE_ROWS <= rows; row += SCORE_ROWS) work(row, std::integral_constant<int, SCORE_ROWS>());
    by_row_count<T, SCORE_ROWS - 1>(rows - row, [&](auto count) { work(row, count); });
}

#if defined(__AMX_BF16__)

INLINE void scores_tiled(const bf16 *queries, int64_t head_dim, const bf16 *const *keys, int64_t first, int64_t last,
                         float *scores) {
    int64_t group = first;
    for (; group + 4 <= last; group += 4) {
        zero_sums();
        for (int64_t d = 0; d < head_dim; d += 32) {
            _tile_loadd(4, queries + d, head_dim * 2);
            _tile_loadd(5, keys[group] + d * 16, 64);
            _tile_dpbf16ps(0, 4, 5);
            _tile_loadd(5, keys[group + 1] + d * 16, 64);
            _tile_dpbf16ps(1, 4, 5);
            _tile_loadd(5, keys[group + 2] + d * 16, 64);
            _tile_dpbf16ps(2, 4, 5);
            _tile_loadd(5, keys[group + 3] + d * 16, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
        _tile_stored(0, scores + group * 16, SEGMENT * 4);
        _tile_stored(1, scores + group * 16 + 16, SEGMENT * 4);
        _tile_stored(2, scores + group * 16 + 32, SEGMENT * 4);
        _tile_stored(3, scores + group * 16 + 48, SEGMENT * 4);
    }
    for (; group < last; group++) {
        _tile_zero(0);
        for (int64_t d = 0; d < head_dim; d += 32) {
            _tile_loadd(4, queries + d, head_dim * 2);
            _tile_loadd(5, keys[group] + d * 16, 64);
            _tile_dpbf16ps(0, 4, 5);
        }
        _tile_stored(0, scores + group * 16, SEGMENT * 4);
    }
}

INLINE void values_tiled(const bf16 *weights, const bf16 *const *values, int64_t first, int64_t last, int64_t head_dim,
                         float *sums) {
    const int64_t stride = head_dim * 4;
    int64_t column = 0;
    for (; column + 64 <= head_dim; column += 64) {
        zero_sums();
        for (int64_t group = first; group < last; group++) {
            const bf16 *value = values[group] + column * 2;
            _tile_loadd(6, weights + group * 16, SEGMENT * 2);
            _tile_loadd(7, value, stride);
            _tile_dpbf16ps(0, 6, 7);
            _tile_loadd(7, value + 32, stride);
            _tile_dpbf16ps(1, 6, 7);
            _tile_loadd(7, value + 64, stride);
            _tile_dpbf16ps(2, 6, 7);
            _tile_loadd(7, value + 96, stride);
            _tile_dpbf16ps(3, 6, 7);
        }
        _tile_stored(0, sums + column, stride);
        _tile_stored(1, sums + column + 16, stride);
        _tile_stored(2, sums + column + 32, stride);
        _tile_stored(3, sums + column + 48, stride);
    }
    for (; column < head_dim; column += 16) {
        _tile_zero(0);
        for (int64_t group = first; group < last; group++) {
            _tile_loadd(6, weights + group * 16, SEGMENT * 2);
            _tile_loadd(7, values[group] + column * 2, stride);
            _tile_dpbf16ps(0, 6, 7);
        }
        _tile_stored(0, sums + column, stride);
    }
}

#endif

template <class T> INLINE bool uses_tiles(int64_t head_dim) {
#if defined(__AMX_BF16__)
    return sizeof(T) == 2 && head_dim % 32 == 0;
#else
    return head_dim < 0;
#endif
}

// ---- softmax ----------------------------------------------------------------------------------------------------------

// Scores of the keys in groups first … last-1 → weights, those outside [begin, end) zero.
template <class T>
INLINE State soften(const float *scores, T *weights, int64_t first, int64_t last, int64_t begin, int64_t end,
                    float scale, float soft_cap) {
    const i16x lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const f16x nothing = splat(-__builtin_inff());
    f16x scaled[GROUPS];
    f16x largest = nothing;
    for (int64_t group = first; group < last; group++) {
        f16x score = load<f16x>(scores + group * 16);
        if (soft_cap > 0) score = tanh16(score * (scale / soft_cap)) * (soft_cap * LOG2_E);
        else score = score * (scale * LOG2_E);
        const int32_t key = int32_t(group * 16);
        if (key < begin || key + 16 > end) {
            const i16x keys = lane + key;
            score = (keys >= int32_t(begin)) & (keys < int32_t(end)) ? score : nothing;
        }
        scaled[group] = score;
        largest = vmax(largest, score);
    }
    State state;
    state.largest = max_lanes(largest);
    f16x sum = {};
    for (int64_t group = first; group < last; group++) {
        const f16x weight = exp2_16(scaled[group] - state.largest);
        sum += weight;
        store16(weights + group * 16, weight);
    }
    state.sum = sum_lanes(sum);
    return state;
}

// ---- one segment --------------------------------------------------------------------------------------------------------

// The rows whose queries lie in scratch over one segment of the sequence with this block table: states and sums.
template <class T>
void attend(const PagedAttentionOp &op, const int64_t *table, int64_t kv_head, int64_t segment, const TileRows &rows,
            const AttentionScratch<T> &scratch, State *states) {
    const KvLayer &kv = op.kv;
    const int64_t head_dim = kv.head_dim;
    int64_t begin = SEGMENT, end = 0;
    for (int r = 0; r < rows.count; r++) {
        if (rows.begin[r] >= rows.end[r]) continue;
        begin = smaller(begin, rows.begin[r]);
        end = larger(end, rows.end[r]);
    }
    if (begin >= end) {
        for (int r = 0; r < rows.count; r++) states[r] = {-__builtin_inff(), 0};
        return;
    }
    const int64_t first = begin / 16, last = (end + 15) / 16;
    const T *keys[GROUPS], *values[GROUPS];
    for (int64_t group = first; group < last; group++) {
        const int64_t position = segment * SEGMENT + group * 16;
        const int64_t block = table[position / kv.block_size], offset = position % kv.block_size;
        keys[group] = keys_at<T>(kv, block, kv_head, offset);
        values[group] = values_at<T>(kv, block, kv_head, offset);
    }
    if (const int64_t seen = end % 16) {  // what lies behind the last key may be anything
        const int64_t pairs = seen / PAIR<T>;
        memset(scratch.last_values, 0, size_t(16 * head_dim) * sizeof(T));
        memcpy(scratch.last_values, values[last - 1], size_t(pairs * PAIR<T> * head_dim) * sizeof(T));
        if (seen % PAIR<T>)
            for (int64_t d = 0; d < head_dim; d++)
                scratch.last_values[(pairs * head_dim + d) * 2] = values[last - 1][(pairs * head_dim + d) * 2];
        values[last - 1] = scratch.last_values;
    }

    const bool tiled = uses_tiles<T>(head_dim);
#if defined(__AMX_BF16__)
    if constexpr (sizeof(T) == 2)
        if (tiled) scores_tiled(scratch.queries, head_dim, keys, first, last, scratch.scores);
#endif
    if (!tiled)
        in_row_blocks<T>(rows.count, [&](int row, auto count) {
            row_scores<T, count.value>(scratch.queries + row * head_dim, head_dim, keys, first, last,
                                       scratch.scores + row * SEGMENT);
        });
    for (int r = 0; r < rows.count; r++) {
        states[r] = soften(scratch.scores + r * SEGMENT, scratch.weights + r * SEGMENT, first, last, rows.begin[r],
                           rows.end[r], op.scale, op.soft_cap);
        if (rows.begin[r] >= rows.end[r]) {
            memset(scratch.weights + r * SEGMENT, 0, SEGMENT * sizeof(T));
            states[r] = {-__builtin_inff(), 0};
        }
    }
#if defined(__AMX_BF16__)
    if constexpr (sizeof(T) == 2)
        if (tiled) values_tiled(scratch.weights, values, first, last, head_dim, scratch.sums);
#endif
    if (!tiled)
        in_row_blocks<T>(rows.count, [&](int row, auto count) {
            row_values<T, count.value>(scratch.weights + row * SEGMENT, values, first, last, head_dim,
                                       scratch.sums + row * head_dim);
        });
}

// ---- states -------------------------------------------------------------------------------------------------------------

INLINE float *sums_of(State *state) { return reinterpret_cast<float *>(state + 1); }

// Add the next segment's to what the segments before it gave; nothing has a sum of 0.
INLINE void fold(State *into, const State &next, const float *sums, int64_t head_dim) {
    if (next.largest == -__builtin_inff()) return;
    float *folded = sums_of(into);
    if (into->largest == -__builtin_inff()) {
        *into = next;
        memcpy(folded, sums, size_t(head_dim) * 4);
        return;
    }
    const float largest = next.largest > into->largest ? next.largest : into->largest;
    const float old_share = exp2f(into->largest - largest), new_share = exp2f(next.largest - largest);
    into->largest = largest;
    into->sum = into->sum * old_share + next.sum * new_share;
    for (int64_t d = 0; d < head_dim; d += 16)
        store(folded + d, load<f16x>(folded + d) * old_share + load<f16x>(sums + d) * new_share);
}

template <class T> INLINE void put(T *out, const State &state, const float *sums, int64_t head_dim) {
    const float share = 1.0f / state.sum;
    for (int64_t d = 0; d < head_dim; d += 16) store16(out + d, load<f16x>(sums + d) * share);
}

// ---- the op -------------------------------------------------------------------------------------------------------------

template <class T> class PagedAttention {
  public:
    PagedAttention(Run &run, const PagedAttentionOp &op, int thread)
        : run_(run), op_(op), plan_(run.plans[op.kv.group]), head_dim_(op.kv.head_dim), heads_(op.kv.num_heads),
          kv_heads_(op.kv.num_kv_heads), group_(heads_ / kv_heads_), state_floats_(2 + head_dim_),
          scratch_(run.scratch[thread].at_least(AttentionScratch<T>::bytes(head_dim_) + chunk_state_bytes()), head_dim_) {
        chunk_states_ = reinterpret_cast<float *>(static_cast<char *>(run.scratch[thread].at_least(0)) +
                                                  AttentionScratch<T>::bytes(head_dim_));
#if defined(__AMX_BF16__)
        if (uses_tiles<T>(head_dim_)) configure_attention_tiles();
#endif
    }

    // Units: every chunk and every segment, for each KV head.
    int64_t num_units() const { return int64_t(plan_.chunks.size() + plan_.segments.size()) * kv_heads_; }

    void compute(int64_t unit) {
        const int64_t item = unit / kv_heads_, kv_head = unit % kv_heads_;
        const int64_t chunks = int64_t(plan_.chunks.size());
        if (item < chunks) compute_chunk(plan_.chunks[item], kv_head);
        else compute_segment(plan_.segments[item - chunks], kv_head);
    }

    // Fold the partial results of the i-th sequence that has some.
    void merge(int64_t i) {
        const int64_t sequence = plan_.merges[i], position = run_.step->starts[sequence];
        const int64_t segments = position / SEGMENT - plan_.first_segment[sequence] + 1;
        auto *folded = reinterpret_cast<State *>(chunk_states_);
        for (int64_t head = 0; head < heads_; head++) {
            *folded = {-__builtin_inff(), 0};
            for (int64_t s = 0; s < segments; s++) {
                State *part = partial(plan_.partial_of[sequence] + s, head);
                fold(folded, *part, sums_of(part), head_dim_);
            }
            put(out(plan_.first_row[sequence], head), *folded, sums_of(folded), head_dim_);
        }
    }

  private:
    static constexpr int64_t MOST_CHUNK_ROWS = 256;
    size_t chunk_state_bytes() const { return size_t(MOST_CHUNK_ROWS * state_floats_) * 4; }

    const T *query(int64_t row, int64_t head) const {
        return static_cast<const T *>(op_.qkv) + (row * (heads_ + 2 * kv_heads_) + head) * head_dim_;
    }
    T *out(int64_t row, int64_t head) const { return static_cast<T *>(op_.out) + (row * heads_ + head) * head_dim_; }
    State *partial(int64_t index, int64_t head) const {
        return reinterpret_cast<State *>(run_.partials + (index * heads_ + head) * state_floats_);
    }

    void set_row(TileRows &rows, int r, int64_t segment, int64_t position, int64_t row, int64_t head) const {
        rows.begin[r] = larger<int64_t>(0, plan_.first_key(position) - segment * SEGMENT);
        rows.end[r] = smaller(SEGMENT, position + 1 - segment * SEGMENT);
        memcpy(scratch_.queries + r * head_dim_, query(row, head), size_t(head_dim_) * sizeof(T));
    }

    void compute_chunk(const ChunkItem &chunk, int64_t kv_head) {
        const int64_t rows = chunk.num_queries * group_;
        auto state = [&](int64_t r) { return reinterpret_cast<State *>(chunk_states_ + r * state_floats_); };
        for (int64_t r = 0; r < rows; r++) *state(r) = {-__builtin_inff(), 0};
        const int64_t last_position = chunk.first_position + chunk.num_queries - 1;
        State states[TILE_ROWS];
        for (int64_t s = plan_.first_key(chunk.first_position) / SEGMENT; s <= last_position / SEGMENT; s++)
            for (int64_t first = 0; first < rows; first += TILE_ROWS) {
                TileRows tile;
                tile.count = int(smaller<int64_t>(TILE_ROWS, rows - first));
                for (int r = 0; r < tile.count; r++) {
                    const int64_t q = (first + r) / group_, head = kv_head * group_ + (first + r) % group_;
                    set_row(tile, r, s, chunk.first_position + q, chunk.first_token + q, head);
                }
                attend(op_, plan_.tables[chunk.sequence], kv_head, s, tile, scratch_, states);
                for (int r = 0; r < tile.count; r++)
                    fold(state(first + r), states[r], scratch_.sums + r * head_dim_, head_dim_);
            }
        for (int64_t r = 0; r < rows; r++)
            put(out(chunk.first_token + r / group_, kv_head * group_ + r % group_), *state(r), sums_of(state(r)), head_dim_);
    }

    void compute_segment(const SegmentItem &item, int64_t kv_head) {
        const int64_t rows = item.num_members * group_;
        State states[TILE_ROWS];
        for (int64_t first = 0; first < rows; first += TILE_ROWS) {
            TileRows tile;
            tile.count = int(smaller<int64_t>(TILE_ROWS, rows - first));
            auto member = [&](int64_t r) { return plan_.members[item.first_member + (first + r) / group_]; };
            auto head = [&](int64_t r) { return kv_head * group_ + (first + r) % group_; };
            for (int r = 0; r < tile.count; r++)
                set_row(tile, r, item.segment, run_.step->starts[member(r)], plan_.first_row[member(r)], head(r));
            attend(op_, plan_.tables[member(0)], kv_head, item.segment, tile, scratch_, states);
            for (int r = 0; r < tile.count; r++) {
                const int64_t sequence = member(r), base = plan_.partial_of[sequence];
                const float *sums = scratch_.sums + r * head_dim_;
                if (base < 0) {
                    put(out(plan_.first_row[sequence], head(r)), states[r], sums, head_dim_);
                    continue;
                }
                State *part = partial(base + item.segment - plan_.first_segment[sequence], head(r));
                *part = states[r];
                memcpy(sums_of(part), sums, size_t(head_dim_) * 4);
            }
        }
    }

    Run &run_;
    const PagedAttentionOp &op_;
    const Plan &plan_;
    const int64_t head_dim_, heads_, kv_heads_, group_, state_floats_;
    const AttentionScratch<T> scratch_;
    float *chunk_states_;
};

template <class T> void paged_attention(Run &run, const PagedAttentionOp &op, int64_t index, int thread) {
    PagedAttention<T> attention(run, op, thread);
    run.share(2 * index, attention.num_units(), [&](int64_t unit) { attention.compute(unit); });
    run.share(2 * index + 1, int64_t(run.plans[op.kv.group].merges.size()), [&](int64_t i) { attention.merge(i); });
}

}  // namespace
