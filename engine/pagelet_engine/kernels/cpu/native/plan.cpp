#include "plan.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace {

// Rows (queries × heads of a group) of one item: few enough to balance the threads, enough to use what was loaded.
constexpr int64_t CHUNK_ROWS = 96;

uint64_t mix(uint64_t hash, uint64_t value) {
    hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
    return hash * 0xff51afd7ed558ccdu;
}

}  // namespace

void Plan::make(const Step &step, const GroupStep &group, int64_t heads_per_kv_head) {
    block_size = group.block_size;
    window = group.window;
    const int64_t sequences = step.num_sequences;
    tables.resize(sequences);
    first_row.resize(sequences);
    partial_of.assign(sequences, -1);
    first_segment.assign(sequences, 0);
    writes.clear(), chunks.clear(), segments.clear(), members.clear(), merges.clear();
    num_partials = 0;

    int64_t row = 0;
    std::vector<int64_t> singles;
    const int64_t chunk_queries = std::max<int64_t>(1, CHUNK_ROWS / heads_per_kv_head);
    for (int64_t i = 0; i < sequences; i++) {
        tables[i] = group.block_tables + step.slots[i] * group.table_stride;
        first_row[i] = row;
        const int64_t start = step.starts[i], length = step.lengths[i];
        for (int64_t done = 0; done < length;) {
            const int64_t position = start + done, offset = position % block_size;
            const int64_t count = std::min(length - done, 16 - offset % 16);
            writes.push_back({row + done, position, count, tables[i][position / block_size], offset});
            done += count;
        }
        if (length == 1) {
            singles.push_back(i);
        } else {
            for (int64_t done = 0; done < length; done += chunk_queries)
                chunks.push_back({i, row + done, start + done, std::min(chunk_queries, length - done)});
        }
        row += length;
    }
    // The last queries look at the most keys: first, so that no thread is left with them alone.
    std::stable_sort(chunks.begin(), chunks.end(), [](const ChunkItem &a, const ChunkItem &b) {
        return a.first_position + a.num_queries > b.first_position + b.num_queries;
    });

    struct Shared {
        int64_t segment;
        std::vector<int64_t> members;
    };
    std::vector<Shared> shared;
    std::unordered_multimap<uint64_t, size_t> by_hash;
    for (int64_t i : singles) {
        const int64_t position = step.starts[i], last = position / SEGMENT;
        first_segment[i] = first_key(position) / SEGMENT;
        if (last > first_segment[i]) {
            partial_of[i] = num_partials;
            num_partials += last - first_segment[i] + 1;
            merges.push_back(i);
        }
        for (int64_t s = first_segment[i]; s <= last; s++) {
            const bool is_full = (s + 1) * SEGMENT <= position + 1;
            if (is_full && singles.size() > 1) {
                const int64_t first_block = s * SEGMENT / block_size;
                const int64_t num_blocks = ((s + 1) * SEGMENT - 1) / block_size - first_block + 1;
                const int64_t *blocks = tables[i] + first_block;
                uint64_t hash = mix(0, uint64_t(s));
                for (int64_t b = 0; b < num_blocks; b++) hash = mix(hash, uint64_t(blocks[b]));
                bool joined = false;
                for (auto [at, end] = by_hash.equal_range(hash); at != end && !joined; ++at) {
                    Shared &other = shared[at->second];
                    const int64_t *theirs = tables[other.members[0]] + first_block;
                    if (other.segment == s && other.members.size() < size_t(chunk_queries) &&
                        !memcmp(blocks, theirs, sizeof *blocks * size_t(num_blocks))) {
                        other.members.push_back(i);
                        joined = true;
                    }
                }
                if (joined) continue;
                by_hash.emplace(hash, shared.size());
            }
            shared.push_back({s, {i}});
        }
    }
    std::stable_sort(shared.begin(), shared.end(),
                     [](const Shared &a, const Shared &b) { return a.members.size() > b.members.size(); });
    for (const Shared &item : shared) {
        segments.push_back({item.segment, int64_t(members.size()), int64_t(item.members.size())});
        members.insert(members.end(), item.members.begin(), item.members.end());
    }
}
