// All kernels for one instruction set: the build compiles this file once a level, with that level's flags and name.
#include "attention.h"
#include "linear.h"
#include "sampling.h"
#include "small_ops.h"

namespace {

template <class T> void execute_as(Run &run, const Op *op, int64_t index, int thread) {
    switch (op->kind) {
        case EMBEDDING: return embedding<T>(run, *reinterpret_cast<const EmbeddingOp *>(op), index);
        case ROTARY: return rotary(run, *reinterpret_cast<const RotaryOp *>(op), index);
        case RMS_NORM: return rms_norm<T>(run, *reinterpret_cast<const RmsNormOp *>(op), index);
        case LINEAR: return linear<T>(run, *reinterpret_cast<const LinearOp *>(op), index, thread);
        case ROPE_KV_WRITE: return rope_kv_write<T>(run, *reinterpret_cast<const RopeKvWriteOp *>(op), index);
        case PAGED_ATTENTION:
            return paged_attention<T>(run, *reinterpret_cast<const PagedAttentionOp *>(op), index, thread);
        case GATHER_ROWS: return gather_rows<T>(run, *reinterpret_cast<const GatherRowsOp *>(op), index);
        case ARGMAX: return argmax(run, *reinterpret_cast<const ArgmaxOp *>(op), index);
    }
}

void execute(Run &run, int64_t index, int thread) {
    const Op *op = run.ops[index];
    if (op->dtype == BF16) execute_as<bf16>(run, op, index, thread);
    else execute_as<float>(run, op, index, thread);
}

void end() {
#if defined(__AMX_BF16__)
    _tile_release();
#endif
}

}  // namespace

#define LEVEL_SYMBOL(name) level_##name
#define LEVEL_SYMBOL_OF(name) LEVEL_SYMBOL(name)
#define TEXT(name) #name
#define TEXT_OF(name) TEXT(name)

extern const Level LEVEL_SYMBOL_OF(PAGELET_LEVEL);
const Level LEVEL_SYMBOL_OF(PAGELET_LEVEL) = {TEXT_OF(PAGELET_LEVEL), end, execute, draw, logprob};
