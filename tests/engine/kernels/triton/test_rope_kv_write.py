"""RoPE and the way into the cache against float64, into a pool whose every other slot is poisoned."""

import pytest
import torch
from pagelet_engine.kernels.triton.rope_kv_write import rope_kv_write

# Relative to the largest number of a head: fp32 arithmetic, then one rounding.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


class Case:
    """A few tokens: one padded, three of one sequence; blocks in any order, a layer in the midst of others."""

    def __init__(self, generator, device, dtype, heads, kv_heads, head_dim, block_size=16, kv_dtype=None, layers=3):
        def integers(*values):
            return torch.tensor(values, dtype=torch.int32, device=device)

        self.heads, self.kv_heads, self.half, self.block_size = heads, kv_heads, head_dim // 2, block_size
        self.positions = integers(0, block_size - 1, block_size, 2 * block_size + 3, 7, 99)
        self.slots = integers(2, 2, 2, 0, 1, -1)
        garbage = 1 << 30
        self.tables = integers(8, 5, 1, 6, garbage, garbage, 3, 7, garbage).view(3, 3)
        self.qkv = torch.randn(6, heads + 2 * kv_heads, head_dim, generator=generator).to(device, dtype)
        angles = 100 * torch.rand(6, self.half, generator=generator, dtype=torch.float64)
        self.angles = angles.to(device)
        self.rotary = torch.stack((angles.cos(), angles.sin()), 1).float().to(device)
        pages = torch.full((9, layers, block_size, 2, kv_heads, head_dim), torch.nan, device=device)
        self.kv = pages.to(kv_dtype or dtype)[:, 1]
        self.scales = torch.full((9, layers, block_size, 2, kv_heads), torch.nan, device=device)[:, 1]

    def run(self, **options):
        self.before = self.qkv.double()
        rope_kv_write(self.qkv, self.rotary, self.positions, self.slots, self.tables, self.kv, **options)

    def rotated(self, q_norm=None, k_norm=None, eps=0.0):
        """Queries and keys as they should be, float64."""
        x = self.before[:, : self.heads + self.kv_heads]
        if q_norm is not None:
            weight = torch.cat((q_norm.expand(self.heads, -1), k_norm.expand(self.kv_heads, -1))).double()
            x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
        a, b = x[..., : self.half], x[..., self.half :]
        cos, sin = self.angles.cos()[:, None], self.angles.sin()[:, None]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def values(self):
        return self.before[:, self.heads + self.kv_heads :]

    def places(self):
        """(block, offset) of each token that is not padded."""
        for token in range(5):
            position = int(self.positions[token])
            yield token, int(self.tables[self.slots[token], position // self.block_size]), position % self.block_size

    def written(self, pool):
        return torch.stack([pool[block, offset] for _, block, offset in self.places()])

    def assert_nothing_else_was_written(self, pool):
        pool = pool.float()
        for _, block, offset in self.places():
            assert not pool[block, offset].isnan().any()
            pool[block, offset] = torch.nan
        assert pool.isnan().all()


def assert_close(found, wanted, dtype):
    assert found.dtype == dtype
    size = wanted.abs().amax(-1, keepdim=True)
    assert ((found.double() - wanted).abs() / size).max() <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "block_size", "dtype"),
    [
        (1, 1, 2, 16, torch.float32),
        (9, 3, 64, 16, torch.float32),
        (9, 3, 64, 16, torch.bfloat16),
        (8, 1, 80, 32, torch.float16),
        (4, 4, 96, 16, torch.bfloat16),
        (28, 4, 128, 128, torch.bfloat16),
        (4, 1, 256, 64, torch.float16),
    ],
)
def test_rotates_queries_and_keys_and_writes_where_the_tables_say(
    generator, device, heads, kv_heads, head_dim, block_size, dtype
):
    case = Case(generator, device, dtype, heads, kv_heads, head_dim, block_size)
    case.run()
    rotated, cached = case.rotated(), case.written(case.kv)
    assert_close(case.qkv[:5, :heads], rotated[:5, :heads], dtype)
    assert_close(cached[:, 0], rotated[:5, heads:], dtype)
    assert torch.equal(cached[:, 1].double(), case.values()[:5])
    assert torch.equal(case.qkv[:, heads:].double(), case.before[:, heads:])
    case.assert_nothing_else_was_written(case.kv)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "dtype"),
    [(16, 8, 128, torch.bfloat16), (4, 1, 256, torch.float32), (3, 1, 96, torch.bfloat16)],
)
def test_norms_queries_and_keys_by_head_and_leaves_values(generator, device, heads, kv_heads, head_dim, dtype):
    case = Case(generator, device, dtype, heads, kv_heads, head_dim)
    q_norm, k_norm = (0.5 + torch.rand(2, head_dim, generator=generator)).to(device)
    case.run(q_norm=q_norm, k_norm=k_norm, eps=1e-6)
    rotated, cached = case.rotated(q_norm, k_norm, 1e-6), case.written(case.kv)
    assert_close(case.qkv[:5, :heads], rotated[:5, :heads], dtype)
    assert_close(cached[:, 0], rotated[:5, heads:], dtype)
    assert torch.equal(cached[:, 1].double(), case.values()[:5])
    case.assert_nothing_else_was_written(case.kv)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, 64), (5, 1, 80)])
def test_fp8_scales_each_head_so_that_its_largest_number_is_the_formats(generator, device, heads, kv_heads, head_dim):
    case = Case(generator, device, torch.float32, heads, kv_heads, head_dim, kv_dtype=torch.float8_e4m3fn)
    # Numbers of the format, each head's largest 448, times a power of two; and quarter turns: nothing is rounded.
    numbers = case.qkv.clamp(-2, 2).mul(16).to(torch.float8_e4m3fn).float()
    numbers[..., 0] = 448
    exponents = torch.randint(-9, 9, numbers.shape[:2], generator=generator).to(device)
    case.qkv = numbers * torch.exp2(exponents)[..., None]
    case.rotary[:, 0], case.rotary[:, 1] = 0, 1
    case.run(kv_scales=case.scales)
    first, second = numbers.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    parts = torch.stack((turned[:, heads:-kv_heads], numbers[:, -kv_heads:]), 1)  # (tokens, 2, kv_heads, head_dim)
    assert torch.equal(case.written(case.kv.float()), parts[:5])
    assert torch.equal(case.written(case.scales), torch.exp2(exponents[:5, heads:]).view(5, 2, kv_heads))
    case.assert_nothing_else_was_written(case.kv)
    case.assert_nothing_else_was_written(case.scales)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, 64), (5, 1, 80)])
def test_fp8_rounds_to_the_nearest(generator, device, heads, kv_heads, head_dim):
    if device.type == "cpu":
        pytest.skip("missing: a GPU; Triton's interpreter loses the carry when it rounds to FP8")
    case = Case(generator, device, torch.bfloat16, heads, kv_heads, head_dim, kv_dtype=torch.float8_e4m3fn)
    case.qkv[1] *= 1000
    case.run(kv_scales=case.scales)
    wanted = torch.stack((case.rotated()[:5, heads:], case.values()[:5]), 1)  # (tokens, 2, kv_heads, head_dim)
    largest, scales = wanted.abs().amax(-1), case.written(case.scales).double()
    torch.testing.assert_close(scales, largest / 448, rtol=1e-6, atol=0)
    numbers = case.written(case.kv.float()).double() * scales[..., None]
    bound = torch.maximum(wanted.abs() / 16, largest[..., None] / 448 / 1024)  # half a step, of normal ones and others
    assert ((numbers - wanted).abs() <= 1.001 * bound).all()


def test_fp8_of_zeros_is_zero(generator, device):
    case = Case(generator, device, torch.bfloat16, 1, 1, 64, kv_dtype=torch.float8_e4m3fn)
    case.qkv[0] = 0
    case.run(kv_scales=case.scales)
    assert case.written(case.kv.float())[0].eq(0).all()
    assert case.written(case.scales)[0].eq(0).all()


def test_a_step_of_padded_tokens_alone_writes_nothing(generator, device):
    case = Case(generator, device, torch.float32, 2, 1, 16)
    case.slots.fill_(-1)
    case.run()
    assert case.kv.isnan().all()
