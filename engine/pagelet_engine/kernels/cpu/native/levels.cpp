#include "levels.h"

extern const Level level_portable;

#if defined(__x86_64__)

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern const Level level_avx2;
extern const Level level_avx512;
extern const Level level_avx512_bf16;
extern const Level level_amx_bf16;

namespace {

// Linux gives the large registers of AMX only to a process that asks for them.
bool may_use_tiles() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    const bool has_bf16 = edx >> 22 & 1, has_tiles = edx >> 24 & 1;
    if (!has_bf16 || !has_tiles) return false;
#if defined(__linux__)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

}  // namespace

#endif

const std::vector<const Level *> &usable_levels() {
    static const std::vector<const Level *> levels = [] {
        std::vector<const Level *> found;
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
        if (avx512_bf16 && may_use_tiles()) found.push_back(&level_amx_bf16);
        if (avx512_bf16) found.push_back(&level_avx512_bf16);
        if (avx512) found.push_back(&level_avx512);
        if (avx2) found.push_back(&level_avx2);
#endif
        found.push_back(&level_portable);
        return found;
    }();
    return levels;
}
