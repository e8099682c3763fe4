// What one step means for a KV group, decided once for all its layers: which keys are written where, and which queries
// attend to which keys together. Integers only.
#pragma once

#include <cstdint>
#include <vector>

#include "abi.h"

// Softmax and the sums over values run over segments of this many keys, counted from position 0, and segments are folded
// in order. So a query's result depends on its own sequence alone: not on the batch, the chunking or the threads.
constexpr int64_t SEGMENT = 256;

// Up to 16 consecutive tokens of one sequence whose keys lie side by side.
struct WriteUnit {
    int64_t token;     // first row in the step
    int64_t position;  // of that token in its sequence
    int64_t count;
    int64_t block;
    int64_t offset;  // of the first token in the block
};

// Consecutive queries of one sequence, which look at all their segments in order.
struct ChunkItem {
    int64_t sequence;
    int64_t first_token;  // row in the step
    int64_t first_position;
    int64_t num_queries;
};

// One segment of sequences that compute one token each. More than one sequence: they share the segment's blocks.
struct SegmentItem {
    int64_t segment;
    int64_t first_member;  // index into members
    int64_t num_members;
};

struct Plan {
    int64_t block_size = 0;
    int64_t window = 0;
    std::vector<const int64_t *> tables;  // block table of each sequence
    std::vector<int64_t> first_row;       // of each sequence in the step
    std::vector<WriteUnit> writes;
    std::vector<ChunkItem> chunks;
    std::vector<SegmentItem> segments;
    std::vector<int64_t> members;  // sequences
    // Of each sequence with one token whose keys fill several segments: where its partial results begin, else -1.
    std::vector<int64_t> partial_of;
    std::vector<int64_t> first_segment;
    std::vector<int64_t> merges;  // those sequences
    int64_t num_partials = 0;

    void make(const Step &step, const GroupStep &group, int64_t heads_per_kv_head);

    // First position that a query at `position` looks at.
    int64_t first_key(int64_t position) const {
        return window && position >= window ? position - window + 1 : 0;
    }
};
