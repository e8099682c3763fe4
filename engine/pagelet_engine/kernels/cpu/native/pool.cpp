#include "pool.h"

#include <chrono>
#include <csignal>

#if defined(__x86_64__)
#include <immintrin.h>
static inline void relax() { _mm_pause(); }
#else
static inline void relax() { std::atomic_thread_fence(std::memory_order_seq_cst); }
#endif

namespace {

// What another thread is busy with takes microseconds as long as it has a core; whoever waits longer gives up its own.
constexpr int64_t SPIN_NS = 50'000;
constexpr uint32_t PAUSES_A_LOOK = 64;

int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

bool Spin::goes_on() {
    relax();
    if (++pauses_ % PAUSES_A_LOOK) return true;
    const int64_t now = now_ns();
    if (!ends_ns_) ends_ns_ = now + SPIN_NS;
    return now < ends_ns_;
}

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
    if (num_threads_ == 1) return body(context, 0);
    body_ = body;
    context_ = context;
    inside_.store(OPEN, std::memory_order_release);
    region_.fetch_add(1, std::memory_order_release);
    region_.notify_all();
    body(context, 0);
    inside_.fetch_and(~OPEN, std::memory_order_acq_rel);
    await(inside_, [](uint32_t inside) { return inside == 0; });
}

bool Pool::enter() {
    uint32_t inside = inside_.load(std::memory_order_acquire);
    while (inside & OPEN)
        if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) return true;
    return false;
}

void Pool::work(int thread) {
    uint32_t seen = 0;
    while (true) {
        await(region_, [&](uint32_t region) { return region != seen; });
        seen = region_.load(std::memory_order_acquire);
        if (closing_) return;
        if (!enter()) continue;
        body_(context_, thread);
        if (inside_.fetch_sub(1, std::memory_order_acq_rel) == 1) inside_.notify_all();
    }
}
