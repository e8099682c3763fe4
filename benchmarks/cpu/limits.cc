// What this machine can do at most: bytes a second read from memory, FLOPs a second of dot products held in registers.
//
//     limits THREADS PASSES BYTES...      one line of JSON
//
// Every figure is that of all threads together, between two barriers; the best and the median of PASSES. Compiled with
// -march=native on the machine that it measures: what the compiler cannot use here is not in the output.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/mman.h>
#if defined(__AVX512BF16__) || defined(__AMX_BF16__)
#include <immintrin.h>
#endif
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Barrier {
public:
    explicit Barrier(int parties) : parties_(parties) {}
    void wait() {
        int generation = generation_.load();
        if (arrived_.fetch_add(1) + 1 == parties_) {
            arrived_.store(0);
            generation_.fetch_add(1);
        } else {
            while (generation_.load() == generation) std::this_thread::yield();
        }
    }

private:
    const int parties_;
    std::atomic<int> arrived_{0}, generation_{0};
};

// Units a second of `work(thread)`, one thread a core: {best, median}. `units` is what all threads do in one pass.
struct Rate {
    double best, median;
};

Rate measure(int threads, int passes, double units, const std::function<void(int)>& work) {
    Barrier barrier(threads);
    std::vector<double> rates;
    std::vector<std::thread> pool;
    for (int thread = 0; thread < threads; ++thread) {
        pool.emplace_back([&, thread] {
            work(thread);  // warm: pages, frequencies, permissions
            for (int pass = 0; pass < passes; ++pass) {
                barrier.wait();
                double began_s = now_s();
                work(thread);
                barrier.wait();
                if (thread == 0) rates.push_back(units / (now_s() - began_s));
            }
        });
    }
    for (auto& thread : pool) thread.join();
    std::sort(rates.begin(), rates.end());
    return {rates.back(), rates[rates.size() / 2]};
}

std::atomic<uint64_t> sink;  // results go here, so that nothing is optimised away

#if defined(__aarch64__)
#define OPAQUE(value) asm volatile("" : "+w"(value))  // may have changed, for all the compiler knows
#else
#define OPAQUE(value) asm volatile("" : "+x"(value))
#endif

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));

uint64_t read_all(const Words* begin, const Words* end) {
    Words sums[8] = {};
    for (const Words* at = begin; at < end; at += 8) {
        for (int i = 0; i < 8; ++i) {
            __builtin_prefetch(reinterpret_cast<const char*>(at + i) + 4096);
            sums[i] += at[i];
        }
    }
    for (int i = 1; i < 8; ++i) sums[0] += sums[i];
    return sums[0][0] + sums[0][1];
}

Rate memory_reads(int threads, int passes, size_t bytes) {
    const size_t share = bytes / threads / (8 * kVectorBytes) * (8 * kVectorBytes);
    const size_t total = share * threads;
    void* memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("limits: mmap");
        std::exit(1);
    }
    madvise(memory, total, MADV_HUGEPAGE);
    char* bytes_begin = static_cast<char*>(memory);
    for (size_t i = 0; i < total; i += 64) bytes_begin[i] = static_cast<char>(i >> 6);
    Rate rate = measure(threads, passes, static_cast<double>(total), [&](int thread) {
        const char* begin = bytes_begin + share * thread;
        sink += read_all(reinterpret_cast<const Words*>(begin), reinterpret_cast<const Words*>(begin + share));
    });
    munmap(memory, total);
    return rate;
}

constexpr int kAccumulators = 12;  // more than latency × ports needs, and few enough for 16 registers
constexpr long kRounds = 4'000'000;

Rate fp32_fma(int threads, int passes) {
    const double flops = 2.0 * (kVectorBytes / 4) * kAccumulators * kRounds;
    return measure(threads, passes, flops * threads, [](int thread) {
        Floats sums[kAccumulators] = {}, a = {}, b = {};
        a += 1.0f + 1e-7f * thread;
        b += 1e-7f;
        for (auto& sum : sums) OPAQUE(sum);  // else all of them are one
        for (long round = 0; round < kRounds; ++round) {
            for (int i = 0; i < kAccumulators; ++i) sums[i] = a * b + sums[i];
            OPAQUE(a);
        }
        for (int i = 1; i < kAccumulators; ++i) sums[0] += sums[i];
        sink += static_cast<uint64_t>(sums[0][0]);
    });
}

#ifdef __AVX512BF16__
Rate avx512_bf16(int threads, int passes) {
    const double flops = 2.0 * 32 * kAccumulators * kRounds;
    return measure(threads, passes, flops * threads, [](int) {
        __m512 sums[kAccumulators];
        for (auto& sum : sums) {
            sum = _mm512_setzero_ps();
            OPAQUE(sum);
        }
        __m512i a = _mm512_set1_epi16(0x3f80), b = _mm512_set1_epi16(0x3780);
        for (long round = 0; round < kRounds; ++round) {
            for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
            OPAQUE(a);
        }
        for (int i = 1; i < kAccumulators; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
        sink += static_cast<uint64_t>(_mm512_cvtss_f32(sums[0]));
    });
}
#endif

#ifdef __AMX_BF16__
bool may_use_amx() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Rate amx_bf16(int threads, int passes) {
    constexpr long rounds = kRounds / 8;
    const double flops = 4.0 * 2 * 16 * 16 * 32 * rounds;
    return measure(threads, passes, flops * threads, [](int) {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } shape;
        _tile_loadconfig(&shape);
        alignas(64) static thread_local uint16_t ones[16 * 32];
        std::fill(std::begin(ones), std::end(ones), uint16_t{0x3780});
        asm volatile("" ::: "memory");  // the tile intrinsics do not say which memory they read and write
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_loadd(4, ones, 64);
        _tile_loadd(5, ones, 64);
        _tile_loadd(6, ones, 64);
        _tile_loadd(7, ones, 64);
        for (long round = 0; round < rounds; ++round) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        alignas(64) float result[16 * 16];
        _tile_stored(0, result, 64);
        asm volatile("" ::: "memory");
        _tile_release();
        sink += static_cast<uint64_t>(result[0]);
    });
}
#endif

std::string json(const char* name, Rate rate) {
    char text[160];
    std::snprintf(text, sizeof text, "\"%s\": {\"best\": %.6g, \"median\": %.6g}", name, rate.best, rate.median);
    return text;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: limits THREADS PASSES BYTES...\n");
        return 2;
    }
    const int threads = std::atoi(argv[1]), passes = std::atoi(argv[2]);
    std::string reads, dots = json("fp32", fp32_fma(threads, passes));
#ifdef __AVX512BF16__
    dots += ", " + json("avx512_bf16", avx512_bf16(threads, passes));
#endif
#ifdef __AMX_BF16__
    if (may_use_amx()) dots += ", " + json("amx_bf16", amx_bf16(threads, passes));
#endif
    for (int i = 3; i < argc; ++i) {
        if (i > 3) reads += ", ";
        reads += json(argv[i], memory_reads(threads, passes, std::strtoull(argv[i], nullptr, 10)));
    }
    std::printf("{\"flops_per_s\": {%s}, \"bytes_per_s\": {%s}}\n", dots.c_str(), reads.c_str());
}
