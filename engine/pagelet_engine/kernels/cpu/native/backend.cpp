// The C functions: a backend opened for one instruction set and a number of threads, programs run on it.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "levels.h"
#include "packing.h"
#include "plan.h"
#include "pool.h"
#include "run.h"

struct Backend {
    Backend(const Level &level, int num_threads)
        : level(level), pool(num_threads), scratch(size_t(num_threads)), best(size_t(num_threads)), has_best(size_t(num_threads)) {}

    const Level &level;
    Pool pool;
    std::vector<Scratch> scratch, best;  // by thread
    std::vector<uint8_t> has_best;
    std::vector<Claim> claims;
    std::vector<Plan> plans;
    Scratch partials;
    std::string fault;  // of the last run
};

namespace {

constexpr int32_t ABI_VERSION = 3;

// The heads of each KV head, and the largest state of a partial result, from the group's attention ops.
struct GroupShape {
    int64_t heads_per_kv_head = 1;
    int64_t partial_floats = 0;
};

void run_ops(void *context, int thread) {
    auto &[run, level] = *static_cast<std::pair<Run *, const Level *> *>(context);
    for (int64_t i = 0; i < run->num_ops; i++) level->execute(*run, i, thread);  // each returns when the op is done
    level->end();
}

// Hand out rows 0 … count-1 over the pool.
template <class F> void for_each(Backend &backend, int64_t count, F work) {
    struct Context {
        std::atomic<int64_t> next{0};
        int64_t count;
        F &work;
    } context{{0}, count, work};
    backend.pool.run(
        [](void *given, int thread) {
            auto &own = *static_cast<Context *>(given);
            for (int64_t i; (i = own.next.fetch_add(1, std::memory_order_relaxed)) < own.count;) own.work(i, thread);
        },
        &context);
}

}  // namespace

extern "C" {

int32_t pagelet_abi_version(void) { return ABI_VERSION; }

const char *pagelet_levels(void) {
    static const std::string names = [] {
        std::string joined;
        for (const Level *level : usable_levels()) joined += (joined.empty() ? "" : ",") + std::string(level->name);
        return joined;
    }();
    return names.c_str();
}

const char *pagelet_open(const char *name, int32_t num_threads, Backend **backend) {
    if (num_threads < 1) return "wanted at least one thread";
    for (const Level *level : usable_levels())
        if (!strcmp(level->name, name)) {
            *backend = new Backend(*level, num_threads);
            return nullptr;
        }
    return "this CPU cannot execute that instruction set";
}

void pagelet_close(Backend *backend) { delete backend; }

const char *pagelet_run(Backend *backend, const Program *program, const Step *step) {
    backend->fault = fault_of(*program, *step);
    if (!backend->fault.empty()) return backend->fault.c_str();
    const Op *const *ops = program->ops;
    const int64_t num_ops = program->num_ops;
    const auto num_plans = size_t(program->num_plans);
    std::vector<GroupShape> shapes(num_plans);
    for (int64_t i = 0; i < num_ops; i++) {
        if (ops[i]->kind != PAGED_ATTENTION) continue;
        const KvLayer &kv = reinterpret_cast<const PagedAttentionOp *>(ops[i])->kv;
        GroupShape &shape = shapes[size_t(kv.group)];
        shape.heads_per_kv_head = kv.num_heads / kv.num_kv_heads;
        shape.partial_floats = std::max<int64_t>(shape.partial_floats, kv.num_heads * (2 + kv.head_dim));
    }
    size_t partial_floats = 0;
    if (backend->plans.size() < num_plans) backend->plans.resize(num_plans);
    for (size_t g = 0; g < num_plans; g++) {
        backend->plans[g].make(*step, step->groups[g], shapes[g].heads_per_kv_head);
        partial_floats = std::max(partial_floats, size_t(backend->plans[g].num_partials * shapes[g].partial_floats));
    }
    if (backend->claims.size() < size_t(2 * num_ops)) backend->claims = std::vector<Claim>(size_t(2 * num_ops));
    for (auto &claim : backend->claims) {
        claim.taken.store(0, std::memory_order_relaxed);
        claim.done.store(0, std::memory_order_relaxed);
    }
    std::fill(backend->has_best.begin(), backend->has_best.end(), uint8_t(0));

    Run run = {step,
               ops,
               num_ops,
               &backend->pool,
               backend->claims.data(),
               backend->plans.data(),
               backend->scratch.data(),
               backend->best.data(),
               backend->has_best.data(),
               static_cast<float *>(backend->partials.at_least(partial_floats * sizeof(float)))};
    std::pair<Run *, const Level *> context = {&run, &backend->level};
    backend->pool.run(run_ops, &context);
    return nullptr;
}

void pagelet_pack(Backend *backend, const PackJob *job) {
    // Sixteen rows at a time: they share the lines of their panel.
    constexpr int64_t ROWS = 16;
    for_each(*backend, (job->rows + ROWS - 1) / ROWS, [&](int64_t unit, int thread) {
        auto *wide = static_cast<float *>(backend->scratch[size_t(thread)].at_least(size_t(job->in_features) * 4));
        for (int64_t row = unit * ROWS; row < std::min(job->rows, (unit + 1) * ROWS); row++) pack_row(*job, row, wide);
    });
}

void pagelet_draw(Backend *backend, DrawRow *rows, int64_t num_rows, int64_t vocab) {
    for_each(*backend, num_rows, [&](int64_t row, int thread) {
        backend->level.draw(rows[row], vocab, backend->scratch[size_t(thread)]);
    });
}

void pagelet_logprobs(Backend *backend, LogprobRow *rows, int64_t num_rows, int64_t vocab) {
    for_each(*backend, num_rows, [&](int64_t row, int thread) {
        backend->level.logprob(rows[row], vocab, backend->scratch[size_t(thread)]);
    });
}

}  // extern "C"
