// The backend's threads. One region at a time: every thread runs the same body, the caller as thread 0.
//
// Waiting is a bounded spin, then sleep: between two ops the others are microseconds away; an idle pool uses no CPU, and
// two pools on one machine cannot starve each other for longer than a spin.
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
    void run(Body body, void *context);

    // All threads of the running region meet here.
    void barrier();

    int num_threads() const { return num_threads_; }

  private:
    void work(int thread);
    static void await_change(const std::atomic<uint32_t> &word, uint32_t old);

    const int num_threads_;
    Body body_ = nullptr;
    void *context_ = nullptr;
    alignas(64) std::atomic<uint32_t> region_{0};  // odd bit patterns mean nothing: it only counts
    alignas(64) std::atomic<uint32_t> arrived_{0};
    alignas(64) std::atomic<uint32_t> phase_{0};
    std::atomic<bool> closing_{false};
    std::vector<std::thread> threads_;
};
