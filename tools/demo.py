"""What `make demo` runs: serve a small real model from one file, ask it questions, show what it did, stop it.

Everything is used as a user would: `pagelet up` as a command, the `openai` client, the metrics that dashboards read. A
failure is one line on stderr and an exit code that is not 0.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from demo_answers import Answer, Conversation, ask_all
from demo_service import SAMPLE, Service, ServiceFailed, running
from openai import AsyncOpenAI, OpenAIError
from pagelet_api import names

MODEL = "smollm2"
MAX_TOKENS = 48
METRICS_EVERY_S = 0.1

# Four conversations of two questions each. The second question arrives with the conversation so far, which the engine
# still has in its KV cache.
FIRST_QUESTIONS = (
    "What is the capital of France?",
    "Explain in one sentence why the sky is blue.",
    "Give me three tips for sleeping well.",
    "Write two lines about the sea.",
)
SECOND_QUESTIONS = (
    "And what is it famous for?",
    "Say it again for a child of five.",
    "Which of them matters most?",
    "Now two lines about mountains.",
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a small real model on this machine and ask it questions.")
    parser.add_argument("--port", type=int, default=names.GATEWAY_HTTP_PORT, help="port of the endpoint")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with running(options.port) as service:
            print(f"  ready after {service.wait_until_ready():.1f} s\n", flush=True)
            asyncio.run(_show(service))
    except (ServiceFailed, OpenAIError, OSError) as error:
        if str(error):
            print(f"demo failed: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo interrupted", file=sys.stderr)
        return 130
    print(f"\nServe it yourself:  .venv/bin/pagelet up -f {SAMPLE}")
    return 0


async def _show(service: Service) -> None:
    """Two rounds of questions, then the table."""
    client = AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    conversations = [Conversation() for _ in FIRST_QUESTIONS]
    before = service.engine_metrics()
    watch = _BlockWatch(service)
    watching = asyncio.create_task(watch.run())
    began_s = time.monotonic()
    print("--- four questions at once\n")
    first = await ask_all(client, MODEL, conversations, FIRST_QUESTIONS, MAX_TOKENS)
    print("--- one more in each conversation, at once again\n")
    second = await ask_all(client, MODEL, conversations, SECOND_QUESTIONS, MAX_TOKENS)
    took_s = time.monotonic() - began_s
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    _print_answers([*first, *second])
    _print_totals([*first, *second], took_s, before, service.engine_metrics(), watch.peak)


class _BlockWatch:
    """The most KV blocks that were in use at any time we looked."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.peak = 0.0

    async def run(self) -> None:
        while True:
            metrics = await asyncio.to_thread(self._service.engine_metrics)
            self.peak = max(self.peak, metrics[names.METRIC_BLOCKS_IN_USE])
            await asyncio.sleep(METRICS_EVERY_S)


def _print_answers(answers: Sequence[Answer]) -> None:
    width = max(len(answer.question) for answer in answers)
    print(f"{'question':{width}}  first token  tokens/s  tokens  prompt  from cache")
    for answer in answers:
        print(
            f"{answer.question:{width}}  {answer.first_token_s * 1e3:8.0f} ms  {answer.tokens_per_s:8.1f}  "
            f"{answer.tokens:6}  {answer.prompt_tokens:6}  {answer.cached_tokens:10}"
        )


def _print_totals(
    answers: Sequence[Answer], took_s: float, before: dict[str, float], after: dict[str, float], peak_blocks: float
) -> None:
    tokens = sum(answer.tokens for answer in answers)
    queries, hits = (
        after[f"{name}_total"] - before[f"{name}_total"]
        for name in (names.METRIC_PREFIX_QUERIES, names.METRIC_PREFIX_HITS)
    )
    in_use, cached, total = (
        int(after[name]) for name in (names.METRIC_BLOCKS_IN_USE, names.METRIC_BLOCKS_CACHED, names.METRIC_BLOCKS_TOTAL)
    )
    print(f"\nall together       {tokens} tokens in {took_s:.1f} s = {tokens / took_s:.1f} tokens/s")
    print(f"KV blocks          {peak_blocks:.0f} of {total} in use at the peak; now {in_use} in use, {cached} cached")
    print(f"prefix cache       {hits:.0f} of {queries:.0f} prompt tokens found = {hits / max(1.0, queries):.0%}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
