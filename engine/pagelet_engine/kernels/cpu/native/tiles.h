// Matrix products on AMX's tiles: sixteen rows of 64 bytes each.
//
// A tile of activations is 16 rows × 32 bf16 numbers along the inputs; a tile of a panel is 16 words along the inputs ×
// 16 columns, the layout that panels and cached keys have anyway.
#pragma once

#include "simd.h"

#if defined(__AMX_BF16__)

namespace {

struct __attribute__((packed)) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Tiles 0-3 sums, 4 and 5 activations, 6 and 7 weights; all whole.
INLINE void configure_linear_tiles() {
    TileConfig config;
    for (int tile = 0; tile < 8; tile++) config.row_bytes[tile] = 64, config.rows[tile] = 16;
    _tile_loadconfig(&config);
}

// Tiles 0-3 sums, 4 and 5 whole (queries, keys), 6 weights of 16 keys, 7 values of 16 keys.
INLINE void configure_attention_tiles() {
    TileConfig config;
    for (int tile = 0; tile < 6; tile++) config.row_bytes[tile] = 64, config.rows[tile] = 16;
    config.row_bytes[6] = 32, config.rows[6] = 16;
    config.row_bytes[7] = 64, config.rows[7] = 8;
    _tile_loadconfig(&config);
}

INLINE void zero_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

// upper, lower (16, inputs) · panel → products (32, 32)
INLINE void product_of_tiles_32(const bf16 *upper, const bf16 *lower, const bf16 *panel, int64_t inputs,
                                float *products) {
    const int64_t stride = inputs * 2;
    zero_sums();
    for (int64_t k = 0; k < inputs; k += 32) {
        _tile_loadd(6, panel + k * 32, 128);
        _tile_loadd(7, panel + k * 32 + 32, 128);
        _tile_loadd(4, upper + k, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, lower + k, stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, products, 128);
    _tile_stored(1, products + 16, 128);
    _tile_stored(2, products + 16 * 32, 128);
    _tile_stored(3, products + 16 * 32 + 16, 128);
}

// upper (16, inputs) · panel → products (16, 32)
INLINE void product_of_tiles_16(const bf16 *upper, const bf16 *panel, int64_t inputs, float *products) {
    const int64_t stride = inputs * 2;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t k = 0; k < inputs; k += 32) {
        _tile_loadd(4, upper + k, stride);
        _tile_loadd(6, panel + k * 32, 128);
        _tile_loadd(7, panel + k * 32 + 32, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, products, 128);
    _tile_stored(1, products + 16, 128);
}

}  // namespace

#endif
