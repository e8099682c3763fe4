#include "check.h"

namespace {

std::string outside(const char *what, int64_t index, int64_t found, int64_t end) {
    return std::string(what) + " " + std::to_string(index) + ": wanted 0 to " + std::to_string(end - 1) + ", found " +
           std::to_string(found);
}

// The KV group whose plan an op reads, or -1.
int64_t group_of(const Op *op) {
    if (op->kind == PAGED_ATTENTION) return reinterpret_cast<const PagedAttentionOp *>(op)->kv.group;
    if (op->kind == ROPE_KV_WRITE) return reinterpret_cast<const RopeKvWriteOp *>(op)->kv.group;
    return op->kind == ROTARY ? 0 : -1;  // positions are the same in all of them
}

// An op that takes numbers of the step as indices: of its tokens, or of the vocabulary.
std::string fault_of_indices(const Op *op, const Step &step) {
    const bool looks_up = op->kind == EMBEDDING;
    if (!looks_up && op->kind != GATHER_ROWS) return {};
    const int64_t count = looks_up ? step.num_tokens : step.num_sampled;
    const int64_t *indices = looks_up ? step.token_ids : step.sampled_rows;
    const int64_t end = looks_up ? reinterpret_cast<const EmbeddingOp *>(op)->vocab : step.num_tokens;
    for (int64_t i = 0; i < count; i++)
        if (indices[i] < 0 || indices[i] >= end) return outside(looks_up ? "token" : "sampled row", i, indices[i], end);
    return {};
}

std::string fault_of_sequences(const Program &program, const Step &step) {
    int64_t num_tokens = 0;
    for (int64_t i = 0; i < step.num_sequences; i++) {
        const int64_t slot = step.slots[i], start = step.starts[i], length = step.lengths[i];
        if (length < 1)
            return "length of sequence " + std::to_string(i) + ": wanted at least 1, found " + std::to_string(length);
        num_tokens += length;
        for (int64_t g = 0; g < program.num_plans; g++) {
            const GroupStep &group = step.groups[g];
            const int64_t room = group.table_stride * group.block_size;
            if (slot < 0 || slot >= group.num_slots) return outside("slot of sequence", i, slot, group.num_slots);
            if (start < 0 || start > room - length) return outside("start of sequence", i, start, room - length + 1);
        }
    }
    if (num_tokens != step.num_tokens)
        return "the sequences have " + std::to_string(num_tokens) + " tokens, the step " +
               std::to_string(step.num_tokens);
    return {};
}

}  // namespace

std::string fault_of(const Program &program, const Step &step) {
    if (program.num_plans > step.num_groups)
        return "the program reads the plans of " + std::to_string(program.num_plans) + " KV groups, the step has " +
               std::to_string(step.num_groups);
    for (int64_t i = 0; i < program.num_ops; i++) {
        const int64_t group = group_of(program.ops[i]);
        if (group >= program.num_plans) return outside("KV group of op", i, group, program.num_plans);
        if (std::string fault = fault_of_indices(program.ops[i], step); !fault.empty()) return fault;
    }
    return program.num_plans ? fault_of_sequences(program, step) : std::string();
}
