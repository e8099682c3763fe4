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

// Work of an op that is handed out: units taken, and units done.
struct Claim {
    alignas(64) std::atomic<uint32_t> taken;
    alignas(64) std::atomic<uint32_t> done;
};

// A step's largest logits so far, by thread, row and lane.
struct Best {
    float value[16];
    int32_t token[16];
    float nans[16];  // how many logits were NaN
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
    uint8_t *has_best;  // by thread: it kept some of this step's logits
    float *partials;

    int64_t rows(const Op &op) const { return op.rows == TOKENS ? step->num_tokens : step->num_sampled; }

    // Hand out units 0 … units-1, each once, to whichever thread asks; return when all are done, by whomever.
    template <class F> inline void share(int64_t claim, int64_t units, F work) {
        auto &[taken, done] = claims[claim];
        const auto all = uint32_t(units);
        uint32_t mine = 0;
        if (taken.load(std::memory_order_relaxed) < all)
            for (uint32_t i; (i = taken.fetch_add(1, std::memory_order_relaxed)) < all; mine++) work(int64_t(i));
        if (mine && done.fetch_add(mine, std::memory_order_acq_rel) + mine == all) done.notify_all();
        if (done.load(std::memory_order_acquire) < all) await(done, [=](uint32_t now) { return now >= all; });
    }
};

// An instruction set's kernels.
struct Level {
    const char *name;
    void (*end)();  // on each thread, after a region
    void (*execute)(Run &run, int64_t op, int thread);
    void (*draw)(DrawRow &row, int64_t vocab, Scratch &scratch);
    void (*logprob)(LogprobRow &row, int64_t vocab, Scratch &scratch);
};
