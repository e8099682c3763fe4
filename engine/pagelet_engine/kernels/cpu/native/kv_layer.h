// Where a layer's keys and values lie inside the pages of its group.
#pragma once

#include "abi.h"
#include "simd.h"

namespace {

// Keys of 16 consecutive tokens: (head_dim / pair) words of each, a column a token.
template <class T> INLINE T *keys_at(const KvLayer &kv, int64_t block, int64_t head, int64_t offset) {
    T *page = reinterpret_cast<T *>(static_cast<char *>(kv.pages) + block * kv.page_stride);
    return page + (head * kv.block_size + offset / 16 * 16) * kv.head_dim;
}

// Values from the pair of tokens that holds `offset` on: head_dim words a pair.
template <class T> INLINE T *values_at(const KvLayer &kv, int64_t block, int64_t head, int64_t offset) {
    T *page = reinterpret_cast<T *>(static_cast<char *>(kv.pages) + block * kv.page_stride);
    page += int64_t(kv.num_kv_heads) * kv.block_size * kv.head_dim;
    return page + (head * kv.block_size + offset / PAIR<T> * PAIR<T>) * kv.head_dim;
}

}  // namespace
