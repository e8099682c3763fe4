// The backend's threads. One region at a time: whoever is awake runs its body, the caller as thread 0.
//
// Nobody waits for a thread that lost its core before it took any work: the other processes of a service share the cores,
// and a step has hundreds of places where all threads would have to meet. Waiting is a bounded spin, then sleep: an idle
// pool uses no CPU, and two pools on one machine cannot starve each other for longer than a spin.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>


class Pool {
  public:
    explicit Pool(int num_threads);
    ~Pool();
    Pool(const Pool &) = delete;

    using Body = void (*)(void *context, int thread);

    // Run body(context, thread) here, and on every other thread that comes before this one is through. Bodies share
    // their work by what they find in the context; when run() returns, none is running.
    void run(Body body, void *context);

    int num_threads() const { return num_threads_; }

  private:
    void work(int thread);
    bool enter();

    static constexpr uint32_t OPEN = 1u << 31;

    const int num_threads_;
    Body body_ = nullptr;
    void *context_ = nullptr;
    alignas(64) std::atomic<uint32_t> region_{0};  // counts
    alignas(64) std::atomic<uint32_t> inside_{0};  // OPEN while threads may enter, and how many have
    std::atomic<bool> closing_{false};
    std::vector<std::thread> threads_;
};

// ---- waiting ------------------------------------------------------------------------------------------------------------

// A bounded spin.
class Spin {
  public:
    // Pause a moment; false once it has lasted long enough to sleep instead.
    bool goes_on();

  private:
    uint32_t pauses_ = 0;
    int64_t ends_ns_ = 0;
};

// Wait until done(word) holds, which another thread brings about and then notifies.
template <class Done> void await(const std::atomic<uint32_t> &word, Done done) {
    for (Spin spin; spin.goes_on();)
        if (done(word.load(std::memory_order_acquire))) return;
    for (uint32_t seen; !done(seen = word.load(std::memory_order_acquire));) word.wait(seen, std::memory_order_acquire);
}
