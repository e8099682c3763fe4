"""What a sampler says of a row of logits, beside its token: the same in every implementation.

What counts is a row's largest logit, and NaN is larger than everything. Where the model's own is infinite or NaN, the
row is not finite, whatever penalties, bias and min_tokens make of it; where it is a number and what they leave has
none, nothing is left to sample from.
"""

from enum import IntEnum


class RowStatus(IntEnum):
    NON_FINITE = 0
    """The model computed NaN or infinity: the token means nothing."""
    SAMPLED = 1
    NOTHING_LEFT = 2
    """The sample's own parameters exclude every token: the token means nothing."""
