#include "pool.h"

#include <csignal>

#if defined(__x86_64__)
#include <immintrin.h>
static inline void relax() { _mm_pause(); }
#else
static inline void relax() { std::atomic_thread_fence(std::memory_order_seq_cst); }
#endif

#include <chrono>

namespace {
// A barrier between ops is crossed within a microsecond or two when every thread has a core; whoever waits longer is
// waiting for a thread that lost its core, and should give up its own.
constexpr auto SPIN = std::chrono::microseconds(50);
constexpr int SPINS_A_LOOK = 64;
}  // namespace

Pool::Pool(int num_threads) : num_threads_(num_threads) {
    // Signals are for the thread that runs Python.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int thread = 1; thread < num_threads; thread++) threads_.emplace_back(&Pool::work, this, thread);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Pool::~Pool() {
    closing_ = true;
    region_.fetch_add(1);
    region_.notify_all();
    for (auto &thread : threads_) thread.join();
}

void Pool::run(Body body, void *context) {
    body_ = body;
    context_ = context;
    if (num_threads_ > 1) {
        region_.fetch_add(1, std::memory_order_release);
        region_.notify_all();
    }
    body(context, 0);
    barrier();  // nobody still uses the context
}

void Pool::work(int thread) {
    uint32_t region = 0;
    while (true) {
        await_change(region_, region);
        region++;
        if (closing_) return;
        body_(context_, thread);
        barrier();
    }
}

void Pool::barrier() {
    if (num_threads_ == 1) return;
    const uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(num_threads_)) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.fetch_add(1, std::memory_order_release);
        phase_.notify_all();
    } else {
        await_change(phase_, phase);
    }
}

void Pool::await_change(const std::atomic<uint32_t> &word, uint32_t old) {
    const auto give_up = std::chrono::steady_clock::now() + SPIN;
    do {
        for (int spin = 0; spin < SPINS_A_LOOK; spin++) {
            if (word.load(std::memory_order_acquire) != old) return;
            relax();
        }
    } while (std::chrono::steady_clock::now() < give_up);
    while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}
