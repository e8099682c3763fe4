// One step on its way through a program: what the ops of all levels see.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "abi.h"
#include "plan.h"
#include "pool.h"

// A thread's own memory; grows, never shrinks, and begins as zeros.
class Scratch {
  public:
    ~Scratch() { free(memory_); }
    void *at_least(size_t bytes) {
        if (bytes > size_) {
            free(memory_);
            size_ = (bytes + 4095) & ~size_t(4095);
            memory_ = aligned_alloc(64, size_);
            if (!memory_) abort();
            memset(memory_, 0, size_);
        }
        return memory_;
    }

  private:
    void *memory_ = nullptr;
    size_t size_ = 0;
};

struct Claim {
    alignas(64) std::atomic<int64_t> next;
};

// A step's largest logits so far, by thread, row and lane.
struct Best {
    float value[16];
    int32_t token[16];
    float check[16];  // 0 while all logits were finite
};

struct Run {
    const Step *step;
    const Op *const *ops;
    int64_t num_ops;
    Pool *pool;
    Claim *claims;  // two an op
    const Plan *plans;
    Scratch *scratch;  // by thread, gone when an op ends
    Scratch *best;     // by thread
    float *partials;

    int64_t rows(const Op &op) const { return op.rows == TOKENS ? step->num_tokens : step->num_sampled; }

    // Hand out units 0 … units-1, each once, to whichever thread asks.
    template <class F> inline void share(int64_t claim, int64_t units, F work) {
        if (claims[claim].next.load(std::memory_order_relaxed) >= units) return;
        for (int64_t i; (i = claims[claim].next.fetch_add(1, std::memory_order_relaxed)) < units;) work(i);
    }
};

// An instruction set's kernels.
struct Level {
    const char *name;
    void (*begin)();  // on each thread, around a region
    void (*end)();
    void (*execute)(Run &run, int64_t op, int thread);
    void (*draw)(DrawRow &row, int64_t vocab, Scratch &scratch);
    void (*logprob)(LogprobRow &row, int64_t vocab, Scratch &scratch);
};
