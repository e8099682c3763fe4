"""What becomes of the sampling table between draws: samples take their slots, and drawn tokens are remembered."""

import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels import sampling_table
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows

_NUM_PARAMS = tl.constexpr(sampling_table.NUM_PARAMS)
_FLAGS = tl.constexpr(sampling_table.FLAGS)
_HAS_PENALTIES = tl.constexpr(sampling_table.HAS_PENALTIES)
_IN_PROMPT = tl.constexpr(sampling_table.IN_PROMPT)
_COUNT_MASK = tl.constexpr(sampling_table.COUNT_MASK)

_BLOCK = 128  # entries a program
_COUNTS = 4096  # counts that a program clears


def start_rows(table: SamplingTable, starts: StartRows) -> None:
    """Seat new samples; whoever had their slots is forgotten.

    One launch for the rows and one for each kind of entry there is: four at most. Entries go to different places, or
    are added by atomics, so their order does not matter.
    """
    vocab = table.vocab_size
    if num_starts := starts.slots.shape[0]:
        _take_rows[(num_starts, triton.cdiv(vocab, _COUNTS))](
            starts.slots, starts.params, table.params, table.token_counts, vocab, BLOCK=_COUNTS, enable_fp_fusion=True
        )
    if num_bias := starts.bias.shape[0]:
        most = table.bias_tokens.shape[1]
        values = table.bias_values
        grid = (triton.cdiv(num_bias, _BLOCK),)
        _put_bias[grid](starts.bias, num_bias, table.bias_tokens, values, most, BLOCK=_BLOCK, enable_fp_fusion=True)
    if num_forbidden := starts.forbidden.shape[0]:
        most = table.forbidden.shape[1]
        grid = (triton.cdiv(num_forbidden, _BLOCK),)
        _put_forbidden[grid](
            starts.forbidden, num_forbidden, table.forbidden, most, BLOCK=_BLOCK, enable_fp_fusion=True
        )
    if num_tokens := starts.tokens.shape[0]:
        grid = (triton.cdiv(num_tokens, _BLOCK),)
        _count_tokens[grid](starts.tokens, num_tokens, table.token_counts, vocab, BLOCK=_BLOCK, enable_fp_fusion=True)


def note_drawn(
    tokens: Tensor, draw_slots: Tensor, last_token: Tensor, table: SamplingTable, *, any_penalised: bool
) -> None:
    """Remember tokens (rows,) int32, drawn for these slots (rows,) int32, different ones or −1: a padded row.

    last_token (slots,) int32; any_penalised: whether a slot among them may have penalties, which want counts.
    """
    rows = tokens.shape[0]
    _note_drawn[(triton.cdiv(rows, _BLOCK),)](
        tokens,
        draw_slots,
        last_token,
        table.params,
        table.token_counts,
        rows,
        table.vocab_size,
        COUNTED=any_penalised,
        BLOCK=_BLOCK,
        enable_fp_fusion=True,
    )


@triton.jit(do_not_specialize=["rows"])  # what new samples bring is sent as one piece: its parts lie anywhere
def _take_rows(slots, rows, parameters, token_counts, vocab, BLOCK: tl.constexpr):
    start, block = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + start).to(tl.int64)
    if block == 0:
        column = tl.arange(0, 16)
        inside = column < _NUM_PARAMS
        values = tl.load(rows + start * _NUM_PARAMS + column, mask=inside)
        tl.store(parameters + slot * _NUM_PARAMS + column, values, mask=inside)
    if tl.load(rows + start * _NUM_PARAMS + _FLAGS) & _HAS_PENALTIES:
        token = block * BLOCK + tl.arange(0, BLOCK)
        nothing = tl.zeros((BLOCK,), tl.int32)
        tl.store(token_counts + slot * vocab + token, nothing, mask=token < vocab)


@triton.jit(do_not_specialize=["entries", "num_entries"])
def _put_bias(entries, num_entries, bias_tokens, bias_values, most, BLOCK: tl.constexpr):
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < num_entries
    slot = tl.load(entries + entry * 4, mask=inside, other=0).to(tl.int64)
    place = slot * most + tl.load(entries + entry * 4 + 1, mask=inside, other=0)
    value = tl.load(entries + entry * 4 + 3, mask=inside, other=0).to(tl.float32, bitcast=True)
    tl.store(bias_tokens + place, tl.load(entries + entry * 4 + 2, mask=inside, other=0), mask=inside)
    tl.store(bias_values + place, value, mask=inside)


@triton.jit(do_not_specialize=["entries", "num_entries"])
def _put_forbidden(entries, num_entries, forbidden, most, BLOCK: tl.constexpr):
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < num_entries
    slot = tl.load(entries + entry * 3, mask=inside, other=0).to(tl.int64)
    place = slot * most + tl.load(entries + entry * 3 + 1, mask=inside, other=0)
    tl.store(forbidden + place, tl.load(entries + entry * 3 + 2, mask=inside, other=0), mask=inside)


@triton.jit(do_not_specialize=["entries", "num_entries"])
def _count_tokens(entries, num_entries, token_counts, vocab, BLOCK: tl.constexpr):
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < num_entries
    slot = tl.load(entries + entry * 2, mask=inside, other=0).to(tl.int64)
    token = tl.load(entries + entry * 2 + 1, mask=inside, other=0)
    of_prompt = token >= _IN_PROMPT
    place = token_counts + slot * vocab + (token & _COUNT_MASK)
    tl.atomic_or(place, tl.full((BLOCK,), _IN_PROMPT, tl.int32), mask=inside & of_prompt)
    tl.atomic_add(place, tl.full((BLOCK,), 1, tl.int32), mask=inside & (token < _IN_PROMPT))


@triton.jit(do_not_specialize=["rows"])
def _note_drawn(
    tokens, slots, last_token, parameters, token_counts, rows, vocab, COUNTED: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    slot = tl.load(slots + row, mask=row < rows, other=-1).to(tl.int64)
    real = slot >= 0
    token = tl.load(tokens + row, mask=real, other=0)
    tl.store(last_token + slot, token, mask=real)
    if COUNTED:
        flags = tl.load(parameters + slot * _NUM_PARAMS + _FLAGS, mask=real, other=0)
        counted = real & ((flags & _HAS_PENALTIES) != 0)
        place = token_counts + slot * vocab + token
        tl.store(place, tl.load(place, mask=counted, other=0) + 1, mask=counted)
