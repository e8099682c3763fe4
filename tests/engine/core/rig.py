"""An engine on a fake worker, with a clock that tests turn by hand and an ear for every update.

Whatever a test does, the ledger is checked after every step, and every answer is compared with what it would be alone.
"""

from collections.abc import Callable, Mapping

from pagelet_engine.core.costs import Costs, WorkerCosts
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import FinishReason, PromptReport, Request, RequestUpdate
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.step import Sampled, Segment, Step

from .fake_worker import Execution, FakeWorker, always_one, answer_alone

ENOUGH_STEPS = 5_000


class SteadyCosts(Costs):
    """A token costs what it costs, whatever the clock says."""

    def __init__(self, worker: WorkerCosts, token_s: float) -> None:
        super().__init__(worker)
        self.token_s = token_s

    def note(self, more_tokens: int, num_copies: int, seconds: float) -> None:
        pass


class Rig:
    """The defaults are ample; a test names what it makes scarce."""

    def __init__(
        self,
        *,
        depth: int = 1,
        num_blocks: int = 100,
        block_size: int = 4,
        max_model_len: int = 100,
        max_num_seqs: int = 8,
        max_batched_tokens: int = 100,
        num_kv_groups: int = 1,
        num_drawn=always_one,
        num_host_blocks: int = 0,
        copy_s: float = 0.0,
        overlaps: bool = True,
        token_s: float = 1.0,
        **scheduler,
    ) -> None:
        """`copy_s`: what copying a block costs; `token_s`: computing a token."""
        costs = SteadyCosts(WorkerCosts(copy_s, overlaps), token_s)
        self.scheduler = Scheduler(
            num_blocks=num_blocks,
            block_size=block_size,
            max_model_len=max_model_len,
            max_batched_tokens=max_batched_tokens,
            max_num_seqs=max_num_seqs,
            num_kv_groups=num_kv_groups,
            num_host_blocks=num_host_blocks,
            costs=costs,
            **{"max_queued": 100, **scheduler},
        )
        self.worker = FakeWorker(num_blocks, block_size, max_num_seqs, num_kv_groups, num_drawn, num_host_blocks)
        self.now_s = 0.0
        self.step_takes_s = 0.0
        self.engine = EngineCore(self.scheduler, self, depth, clock_s=lambda: self.now_s)
        self.requests: dict[str, Request] = {}
        self.answers: dict[tuple[str, int], list[int]] = {}
        self.reasons: dict[tuple[str, int], FinishReason] = {}
        self.reports: dict[str, PromptReport] = {}
        self.finishing: list[str] = []
        """In the order in which they finish."""

    def add(self, id: str, prompt: int | tuple[int, ...], *, priority: int = 0, deadline_s: float | None = None,
            cache_salt: str = "", adapter: str = "", tenant: str = "", **sampling) -> None:  # fmt: skip
        """Queue a request; a prompt given as a number is that many tokens nobody else has."""
        if isinstance(prompt, int):
            prompt = tuple(1000 * (len(self.requests) + 1) + position for position in range(prompt))
        request = Request(
            id,
            prompt,
            SamplingParams(**sampling),
            priority=priority,
            deadline_s=deadline_s,
            cache_salt=cache_salt,
            adapter=adapter,
            tenant=tenant,
        )
        self.engine.add(request)
        self.requests[id] = request

    def submit(self, step: Step) -> "_Lasting":
        """The engine's worker: the fake one, with a step that takes time."""
        return _Lasting(self, self.worker.submit(step))

    def step(self) -> list[RequestUpdate]:
        updates = list(self.engine.step())
        self.engine.check()
        for update in updates:
            self._hear(update)
        return updates

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def until(self, condition: Callable[[], bool]) -> None:
        """Step until the condition holds."""
        for _ in range(ENOUGH_STEPS):
            if condition():
                return
            self.step()
        raise AssertionError(f"still waiting after {ENOUGH_STEPS} steps: {self.engine.load()}")

    def drain(self) -> None:
        """Step until nothing is left; then nothing may be held."""
        self.until(lambda: not self.engine.has_work)
        load = self.engine.load()
        assert (load.running, load.waiting, load.blocks_in_use) == (0, 0, 0)
        assert self.finished == set(self.requests)

    @property
    def finished(self) -> set[str]:
        return set(self.finishing)

    @property
    def alive(self) -> list[str]:
        return [id for id in self.requests if id not in self.finished]

    def preempted(self, times: int) -> Callable[[], bool]:
        return lambda: self.engine.load().preemptions >= times

    @property
    def last_step(self) -> Step:
        return self.worker.submitted[-1]

    def shares(self) -> list[tuple[int, int]]:
        """(start, number of tokens) of each segment in the last step."""
        return [(segment.start, segment.num_tokens) for segment in self.last_step.segments]

    def segments_of(self, sample: int) -> list[Segment]:
        """All segments that were ever submitted for this sample number."""
        return [segment for step in self.worker.submitted for segment in step.segments if segment.sample == sample]

    def alone(self, id: str, index: int = 0) -> list[int]:
        """What this sample says with nobody else around."""
        request = self.requests[id]
        return answer_alone(request.prompt, request.sampling, index, self.scheduler.max_length)[0]

    def _hear(self, update: RequestUpdate) -> None:
        request = self.requests[update.request_id]
        assert update.request_id not in self.finished, "an update after the last one"
        if update.prompt:
            assert update.request_id not in self.reports, "the prompt is reported twice"
            self._check_report(request, update.prompt)
            self.reports[update.request_id] = update.prompt
        for sample in update.samples:
            key = update.request_id, sample.index
            assert key not in self.reasons, "a sample speaks after its end"
            assert update.request_id in self.reports or not sample.tokens, "tokens came before the prompt's report"
            self.answers.setdefault(key, []).extend(sample.tokens)
            about = tuple(logprob.token for logprob in sample.logprobs)
            assert about == (sample.tokens if request.sampling.logprobs is not None else ())
            if sample.finish_reason:
                self.reasons[key] = sample.finish_reason
                self._check_answer(request, sample.index, sample.stop_token)
        ended = all((request.id, index) in self.reasons for index in range(request.sampling.n))
        assert update.finished == ended
        if ended:
            self.finishing.append(request.id)

    def _check_report(self, request: Request, report: PromptReport) -> None:
        assert report.tokens == len(request.prompt)
        assert report.cached_tokens < len(request.prompt)
        wanted = [None, *request.prompt[1:]] if request.sampling.prompt_logprobs is not None else []
        assert [logprob and logprob.token for logprob in report.logprobs] == wanted

    def _check_answer(self, request: Request, index: int, stop_token: int | None) -> None:
        said, reason = self.answers[request.id, index], self.reasons[request.id, index]
        alone, stopped = answer_alone(request.prompt, request.sampling, index, self.scheduler.max_length)
        if reason not in (FinishReason.STOP, FinishReason.LENGTH):
            assert said == alone[: len(said)]
        else:
            assert said == alone
            assert reason is (FinishReason.STOP if stopped else FinishReason.LENGTH)
            assert stop_token == (alone[-1] if stopped else None)


class _Lasting:
    def __init__(self, rig: Rig, execution: Execution) -> None:
        self._rig, self._execution = rig, execution

    def result(self) -> Mapping[int, Sampled]:
        self._rig.now_s += self._rig.step_takes_s
        return self._execution.result()
