"""What becomes of the sampling table between draws: samples take their slots, and drawn tokens are remembered."""

import torch
from torch import Tensor

from pagelet_engine.kernels.sampling_table import COUNT_MASK, FLAGS, HAS_PENALTIES, IN_PROMPT, SamplingTable, StartRows


def start_rows(table: SamplingTable, starts: StartRows) -> None:
    """Seat new samples; whoever had their slots is forgotten."""
    table.params[starts.slots] = starts.params
    penalised = (starts.params[:, FLAGS] & HAS_PENALTIES) != 0
    table.token_counts[starts.slots[penalised]] = 0
    slot, place, token, value = starts.bias.unbind(1)
    table.bias_tokens[slot, place] = token
    table.bias_values[slot, place] = value.contiguous().view(torch.float32)
    slot, place, token = starts.forbidden.unbind(1)
    table.forbidden[slot, place] = token
    slot, token = starts.tokens.unbind(1)
    is_output = token < IN_PROMPT
    seen = torch.where(is_output, 1, 0).to(torch.int32)
    table.token_counts.index_put_((slot, token & COUNT_MASK), seen, accumulate=True)
    table.token_counts[slot[~is_output], token[~is_output] & COUNT_MASK] |= IN_PROMPT


def note_drawn(
    tokens: Tensor, draw_slots: Tensor, last_token: Tensor, table: SamplingTable, *, any_penalised: bool
) -> None:
    """Remember tokens (rows,) int32, drawn for these slots (rows,) int32, different ones or −1: a padded row.

    last_token (slots,) int32; any_penalised: whether a slot among them may have penalties, which want counts.
    """
    real = draw_slots >= 0
    slots, tokens = draw_slots[real], tokens[real]
    last_token[slots] = tokens
    if any_penalised:
        counted = (table.params[slots, FLAGS] & HAS_PENALTIES) != 0
        table.token_counts[slots[counted], tokens[counted]] += 1
