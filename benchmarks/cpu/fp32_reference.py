"""What Hugging Face says in fp32, greedily, to eight questions: in this process, so after all measuring."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cpu.agreement import MAX_TOKENS, Reference
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = (
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about the sea.",
    "Give me three tips for staying healthy.",
    "What is 12 times 7? Show your steps.",
    "Translate 'good morning' into Spanish and Italian.",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Summarise the story of Romeo and Juliet in one paragraph.",
)
_LIKELIEST = 8


class HuggingFaceInFp32:
    """A model folder loaded by transformers."""

    def __init__(self, model: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._model.eval()

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    @torch.inference_mode()
    def answer(self, question: str) -> Reference:
        """Up to MAX_TOKENS, or its own end."""
        messages = [{"role": "user", "content": question}]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")
        said = self._model.generate(
            **prompt, max_new_tokens=MAX_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        tops = [logits[0].float().topk(_LIKELIEST) for logits in said.logits]
        length = prompt["input_ids"].shape[1]
        return Reference(
            tuple(prompt["input_ids"][0].tolist()),
            tuple(said.sequences[0, length:].tolist()),
            tuple(tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)) for top in tops),
        )
