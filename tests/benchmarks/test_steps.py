"""The real scheduler over a worker that computes nothing."""

from cpu.steps import Span, StepSpans, real_steps
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceServiceSpec
from workload import Request, Workload, mixed, shared_prefix

SHAPE = ModelShape(
    architecture="LlamaForCausalLM",
    hidden_size=576,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    intermediate_size=1536,
    vocab_size=49_152,
    max_position=8192,
    windows=(None,) * 30,
    tie_word_embeddings=True,
)


def spec(**engine: object) -> InferenceServiceSpec:
    return InferenceServiceSpec.model_validate(
        {"model": {"source": {"path": "/models/m"}}, "engine": {"kvCacheMemory": "1Gi", "maxNumSeqs": 64, **engine}}
    )


def test_one_request_is_a_prompt_and_a_step_a_token() -> None:
    workload = Workload("one", (Request(tuple(range(20)), 3),))
    steps = real_steps(workload, SHAPE, "bfloat16", spec())
    assert [(span.start, span.num_tokens, span.draws) for (span,) in steps] == [
        (0, 20, True),
        (20, 1, True),
        (21, 1, True),
    ]
    assert [len(span.blocks) for (span,) in steps] == [0, 2, 2]


def test_a_long_prompt_is_cut_by_the_token_budget() -> None:
    workload = Workload("one", (Request(tuple(range(20)), 1),))
    steps = real_steps(workload, SHAPE, "bfloat16", spec(maxNumBatchedTokens=16))
    assert [[(span.start, span.num_tokens, span.draws) for span in step] for step in steps] == [
        [(0, 16, False)],
        [(16, 4, True)],
    ]


def test_the_mixed_workload_computes_every_token_once() -> None:
    workload = mixed(0)
    steps = real_steps(workload, SHAPE, "bfloat16", spec())
    assert drawn(steps) == workload.output_tokens
    # The last token that is drawn is never computed.
    assert computed(steps) == workload.prompt_tokens + workload.output_tokens - len(workload.requests)


def test_a_shared_prefix_is_found_in_blocks_that_others_computed() -> None:
    workload = shared_prefix(0)
    steps = real_steps(workload, SHAPE, "bfloat16", spec())
    assert drawn(steps) == workload.output_tokens
    assert computed(steps) < workload.prompt_tokens / 2
    last = steps[-1]
    assert len({span.blocks[0] for span in last if len(span.blocks) > 32}) <= 4


def drawn(steps: list[StepSpans]) -> int:
    return sum(span.draws for step in steps for span in step)


def computed(steps: list[StepSpans]) -> int:
    return sum(span.num_tokens for step in steps for span in step)


def test_a_span_names_the_blocks_before_it_only() -> None:
    workload = Workload("one", (Request(tuple(range(16)), 2),))
    steps = real_steps(workload, SHAPE, "bfloat16", spec())
    assert steps[0] == (Span(0, 16, (), True),)
    assert len(steps[1][0].blocks) == 1
