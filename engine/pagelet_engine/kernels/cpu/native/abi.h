// What Python and C++ agree on: plain structs, pointers and lengths. kernels/cpu/abi.py holds the same in ctypes.
//
// A program is a list of ops over buffers whose addresses never change; a step brings what does change: how many tokens,
// whose, and where their KV blocks are. Nothing here owns memory.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

enum Dtype : int32_t { FP32 = 0, BF16 = 1, INT8 = 2, INT4 = 3 };

enum OpKind : int32_t {
    EMBEDDING = 0,
    ROTARY = 1,
    RMS_NORM = 2,
    LINEAR = 3,
    ROPE_KV_WRITE = 4,
    PAGED_ATTENTION = 5,
    GATHER_ROWS = 6,
    ARGMAX = 7,
};

// How many rows an op has in a step.
enum Rows : int32_t { TOKENS = 0, SAMPLED = 1 };

struct Op {
    OpKind kind;
    Rows rows;
    Dtype dtype;  // of the activations: FP32 or BF16
    int32_t reserved;
};

// out[row] = table[token_ids[row]]
struct EmbeddingOp {
    Op op;
    const void *table;  // (vocab, hidden) in panels (see packing.cpp)
    void *out;
    int64_t hidden;
    int64_t vocab;
};

// out[row] = cos, then sin, of position × inverse frequency
struct RotaryOp {
    Op op;
    const float *inverse_frequencies;  // (head_dim / 2,)
    float *out;                        // (rows, head_dim)
    int64_t head_dim;
};

struct RmsNormOp {
    Op op;
    const void *x;
    const float *weight;  // (hidden,)
    void *out;
    int64_t hidden;
    float eps;
    int32_t reserved;
};

enum Epilogue : int32_t { PLAIN = 0, SILU_MUL = 1 };

// out = x · Wᵀ (+ bias) (+ residual), or silu(gate) · up where a panel holds 16 columns of each.
struct LinearOp {
    Op op;
    const void *x;  // (rows, in_features)
    const void *weight;  // panels
    const void *scales;  // INT8: fp32 a column; INT4: bf16 a group of 32 inputs and column, in panels
    const float *bias;   // (columns, padded to whole panels) or null
    const void *residual;  // (rows, out_features) or null; may be out itself
    void *out;             // (rows, out_features); FP32 if wide_out
    int64_t in_features;
    int64_t columns;  // of the product, before silu_mul halves them
    Dtype weight_dtype;
    Epilogue epilogue;
    int32_t wide_out;  // logits: fp32, written only if the step wants them, and each row's largest is kept for ARGMAX
    int32_t reserved;
};

// Where one layer keeps keys and values: page of block b at pages + b × page_stride. Inside, keys of all heads, then
// values of all heads: K [kv_head][block_size / 16][head_dim / pair][16][pair], V [kv_head][block_size / pair][head_dim][pair],
// with pair = 2 for BF16, 1 for FP32.
struct KvLayer {
    void *pages;
    int64_t page_stride;  // bytes
    int64_t block_size;   // tokens, a multiple of 16
    int32_t group;        // whose block tables
    int32_t num_heads;
    int32_t num_kv_heads;
    int32_t head_dim;  // a multiple of 16
};

struct RopeKvWriteOp {
    Op op;
    KvLayer kv;
    void *qkv;  // (rows, heads + 2 × kv_heads, head_dim); queries are rotated in place
    const float *rotary;
    const float *q_norm;  // (head_dim,) weight of each query head's norm before it is rotated; null: no norms
    const float *k_norm;  // the same of keys
    float eps;
    int32_t reserved;
};

struct PagedAttentionOp {
    Op op;
    KvLayer kv;
    const void *qkv;
    void *out;  // (rows, heads, head_dim)
    float scale;
    float soft_cap;  // 0: none
};

// out[i] = x[sampled_rows[i]]
struct GatherRowsOp {
    Op op;
    const void *x;
    void *out;
    int64_t hidden;
};

// Of the largest logits that LINEAR kept: token, and whether the largest is finite, NaN being larger than everything.
struct ArgmaxOp {
    Op op;
};

// Ops that run one after the other, and which attention plans they read.
struct Program {
    const Op *const *ops;
    int64_t num_ops;
    int64_t num_plans;  // of KV groups 0 … num_plans - 1; 0: no op looks at the cache, nor at the step's sequences
};

// One KV group's side of a step.
struct GroupStep {
    const int64_t *block_tables;  // one row per slot
    int64_t num_slots;
    int64_t table_stride;  // entries from row to row
    int64_t block_size;
    int64_t window;  // tokens a query looks at, itself included; 0: all before it
};

struct Step {
    int64_t num_tokens;
    int64_t num_sequences;
    int64_t num_sampled;
    const int64_t *token_ids;      // (tokens,)
    const int64_t *starts;         // (sequences,): position of the first token computed now
    const int64_t *lengths;        // (sequences,): tokens computed now
    const int64_t *slots;          // (sequences,): rows of the block tables
    const int64_t *sampled_rows;   // (sampled,): indices of tokens
    const GroupStep *groups;
    int64_t num_groups;
    float *logits;      // (sampled, vocab) or null: not wanted
    int64_t *argmax;    // (sampled,)
    uint8_t *is_finite;  // (sampled,)
};

// ---- functions; those that can fail return a sentence, or null --------------------------------------------------

struct Backend;  // a thread pool and an instruction set

int32_t pagelet_abi_version(void);
// Names of the instruction sets that this CPU has, best first, separated by commas.
const char *pagelet_levels(void);
const char *pagelet_open(const char *level, int32_t num_threads, Backend **backend);
void pagelet_close(Backend *backend);

// What a step's pointers name must be alive until this returns; nothing is kept.
const char *pagelet_run(Backend *backend, const Program *program, const Step *step);

// Rows (rows, in_features) of a checkpoint into panels, beginning at output row `first_row`.
// half_stride, half_offset: 1, 0 for consecutive columns; 2 and 0 or 1 for the two halves of gated panels.
struct PackJob {
    const void *source;
    int32_t source_dtype;  // FP32, BF16, or 4: fp16
    Dtype weight_dtype;
    int64_t rows, in_features, first_row, half_stride, half_offset;
    void *panels;
    void *scales;
};
void pagelet_pack(Backend *backend, const PackJob *job);

// ---- sampling ------------------------------------------------------------------------------------------------------

// One row of logits from which a token is drawn at random.
struct DrawRow {
    const float *logits;  // (vocab,)
    double uniform;       // in [0, 1)
    float temperature;    // > 0
    float top_p, min_p;
    int64_t top_k;  // 1 … vocab
    int64_t token;  // out
    int32_t is_finite;  // out: whether the largest logit is, NaN being larger than everything
    int32_t reserved;
};
void pagelet_draw(Backend *backend, DrawRow *rows, int64_t num_rows, int64_t vocab);

// Log-sum-exp of a row, and the rank of some tokens, for log probabilities.
struct LogprobRow {
    const float *logits;
    int64_t token;
    int64_t num_top;
    float log_sum_exp;   // out
    float token_logit;   // out
    int64_t rank;        // out: 1 + how many are strictly larger
    int64_t *top_tokens;  // out (num_top,): largest first, of equals the lowest token
    float *top_logits;    // out
};
void pagelet_logprobs(Backend *backend, LogprobRow *rows, int64_t num_rows, int64_t vocab);

}  // extern "C"
#pragma GCC visibility pop
