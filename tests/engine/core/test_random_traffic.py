"""Random traffic over the real scheduler and pools: whatever arrives, is aborted, expires or runs out of blocks, the
ledger balances after every operation, and every answer is what it would be with nobody else around."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pagelet_engine.core.kv_events import AllBlocksCleared, BlockRemoved, BlockStored
from pagelet_engine.core.request import RejectReason, RequestRejected

from .fake_worker import NON_FINITE, NOTHING_LEFT, VOCABULARY, always_one
from .rig import Rig

# Prompts begin alike (system prompts, earlier turns) and are cut anywhere.
BEGINNINGS = tuple(tuple((7 * position + 3 * text) % VOCABULARY for position in range(40)) for text in range(2))
MAX_QUEUED = 8


def drafts(step: int, sample: int) -> int:
    """How many tokens a step draws with a worker that drafts; later always one, so that the slowest walk ends."""
    return (1, 1, 1, 2, 1, 3, 0, 1)[hash((step, sample)) % 8] if step < 300 else 1


def mishaps(step: int, sample: int) -> int:
    """Rows that are not finite, or have nothing left, now and then; no sample that gets very old is spared."""
    return {0: NON_FINITE, 1: NOTHING_LEFT}.get(hash((step, sample)) % 24, 1)


class RandomTraffic(RuleBasedStateMachine):
    @initialize(
        scarce=st.fixed_dictionaries(
            {
                "depth": st.integers(1, 2),
                "num_blocks": st.integers(1, 12) | st.integers(5, 30) | st.integers(1, 100),
                "block_size": st.integers(1, 4) | st.integers(1, 16),
                "max_model_len": st.integers(4, 60),
                "max_batched_tokens": st.integers(1, 9) | st.integers(1, 200),
                "max_num_seqs": st.integers(1, 8),
                "num_kv_groups": st.integers(1, 2),
                "prefix_caching": st.booleans(),
                "num_drawn": st.sampled_from((always_one, drafts, mishaps)),
                "num_host_blocks": st.sampled_from((0, 0, 3)) | st.integers(1, 60),
                "copy_s": st.sampled_from((0.0, 0.5, 5.0)),
                "overlaps": st.booleans(),
                "fair_share": st.booleans(),
            }
        )
    )
    def start(self, scarce):
        self.rig = Rig(max_queued=MAX_QUEUED, kv_events=True, **scarce)
        self.router = {}  # what a listener believes the cache holds

    @rule(
        copies=st.integers(1, 3),
        beginning=st.sampled_from(BEGINNINGS),
        shared=st.integers(0, 40),
        rest=st.lists(st.integers(0, VOCABULARY - 1), max_size=6),
        priority=st.sampled_from((0, 0, 0, 1, -1)),
        patience_s=st.none() | st.integers(0, 60),
        tenant=st.sampled_from(("", "", "bank", "shop")),
        salt=st.sampled_from(("", "", "secret")),
        sampling=st.fixed_dictionaries(
            {
                "n": st.sampled_from((1, 1, 2, 3, 4)),
                "max_tokens": st.none() | st.integers(1, 30),
                "min_tokens": st.integers(0, 4),
                "stop_token_ids": st.frozensets(st.integers(0, VOCABULARY - 1), max_size=3),
                "temperature": st.sampled_from((0.0, 1.0)),
                "seed": st.integers(0, 3),
                "logprobs": st.sampled_from((None, 0)),
                "prompt_logprobs": st.sampled_from((None, None, 0)),
            }
        ),
    )
    def requests_arrive(self, copies, beginning, shared, rest, priority, patience_s, tenant, salt, sampling):
        for copy in range(copies):
            prompt = (*beginning[:shared], *rest, *range(copy))
            asked = {
                "priority": priority,
                "deadline_s": None if patience_s is None else self.rig.now_s + patience_s,
                "cache_salt": salt,
                "tenant": tenant,
                **sampling,
            }
            wanted = len(prompt) + (sampling["max_tokens"] or 1)
            num_waiting = self.rig.engine.load().waiting
            refusal = None
            if not prompt:
                refusal = RejectReason.INVALID
            elif wanted > self.rig.scheduler.max_length:
                refusal = RejectReason.NEVER_FITS
            elif num_waiting >= MAX_QUEUED:  # preempted ones count
                refusal = RejectReason.QUEUE_FULL
            elif patience_s is not None and patience_s < len(prompt):  # a token of it costs a second here
                refusal = RejectReason.TOO_LATE
            id = f"request {len(self.rig.requests)}"
            if not refusal:
                self.arrive(id, prompt, asked)
                continue
            with pytest.raises(RequestRejected) as rejected:
                self.rig.add(id, prompt, **asked)
            assert rejected.value.reason is refusal

    def arrive(self, id, prompt, asked):
        """Somebody who is in a hurry may also find too many before them."""
        try:
            self.rig.add(id, prompt, **asked)
        except RequestRejected as rejected:
            if rejected.reason is not RejectReason.TOO_LATE or asked["deadline_s"] is None:
                raise

    @rule(count=st.integers(1, 12))
    def steps(self, count):
        self.rig.steps(count)

    @rule(number=st.integers(0, 30))
    def request_is_aborted(self, number):
        self.rig.engine.abort(f"request {number}")  # finished and unknown ones are ignored

    @rule(number=st.integers(0, 30), indices=st.sets(st.integers(0, 3), min_size=1, max_size=2))
    def samples_are_aborted(self, number, indices):
        self.rig.engine.abort(f"request {number}", indices)

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds):
        self.rig.now_s += seconds

    @invariant()
    def ledger_balances(self):
        self.rig.engine.check()

    @invariant()
    def idle_engine_holds_nothing(self):
        load = self.rig.engine.load()
        if not self.rig.engine.has_work:
            assert (load.running, load.waiting, load.blocks_in_use) == (0, 0, 0)

    @invariant()
    def router_knows_the_cache(self):
        for event in self.rig.engine.take_kv_events():
            match event:
                case BlockStored(block_hashes=(name,), medium=medium, group=group):
                    assert (medium, group, name) not in self.router, "a block is stored twice"
                    self.router[medium, group, name] = event
                case BlockRemoved(block_hashes=(name,), medium=medium, group=group):
                    del self.router[medium, group, name]
        cleared, *stored = self.rig.engine.kv_snapshot()
        assert cleared == AllBlocksCleared()
        assert {(event.medium, event.group, event.block_hashes[0]): event for event in stored} == self.router

    def teardown(self):
        if hasattr(self, "rig"):  # hypothesis may stop before it has started
            self.rig.drain()


TestRandomTraffic = RandomTraffic.TestCase
# Shrinking a walk takes longer than a test may; add Phase.shrink by hand to look for a shorter one.
TestRandomTraffic.settings = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
