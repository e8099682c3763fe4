"""Rules that a field's own type cannot state: one table for the API server (CEL) and for a local file (Python).

Each rule is written twice, side by side, with one sentence for the user: what the cluster refuses, `pagelet up` refuses
in the same words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pagelet_api.config import Device, Dtype, KvCacheDtype, Quantization
from pagelet_api.v1alpha1.inference_service import InferenceService
from pagelet_api.v1alpha1.model_source import CaBundleRef, PvcStorage
from pagelet_api.v1alpha1.part import Part
from pagelet_api.v1alpha1.spec import ACCELERATOR_PREFIXES, InferenceServiceSpec

# Children append a revision's hash and must stay within the 63 characters of a DNS label; Services begin with a letter.
MAX_NAME = 40
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Rule:
    """`cel` is evaluated at `path` ("" is the root) by the API server; `holds` is the same for a parsed file."""

    path: str
    cel: str
    sentence: str
    holds: Callable[[InferenceService], bool]


def _exactly_one(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size() == 1"


def _given(part: Part) -> int:
    """How many of a union's fields are given."""
    return len(part.model_dump(exclude_none=True))


def _pvc(service: InferenceService) -> PvcStorage | None:
    storage = service.spec.model.storage
    return storage.pvc if storage else None


def _ca_bundle(service: InferenceService) -> CaBundleRef | None:
    s3 = service.spec.model.source.s3
    return s3.ca_bundle_ref if s3 else None


def _names_accelerators(resources: str) -> str:
    """CEL: whether limits or requests name an accelerator."""
    named = " || ".join(f"n.startsWith('{prefix}')" for prefix in ACCELERATOR_PREFIXES)
    return " || ".join(
        f"(has({resources}.{kind}) && {resources}.{kind}.exists(n, {named}))" for kind in ("limits", "requests")
    )


_ON_CPU = (
    f"(self.engine.device == 'cpu' || (self.engine.device == 'auto' && !({_names_accelerators('self.resources')})))"
)
"""CEL: `_on_cpu`."""
_CPU_QUANTIZATIONS = (Quantization.INT8, Quantization.INT4)


def _on_cpu(spec: InferenceServiceSpec) -> bool:
    """Whether the engine computes on the CPU, as far as the spec says."""
    device = spec.engine.device
    return device is Device.CPU or (device is Device.AUTO and not spec.resources.has_accelerators)


RULES = (
    Rule(
        path="",
        cel="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        sentence="metadata.name: wanted lower-case letters, digits and '-', first a letter and last no '-'",
        holds=lambda service: bool(_NAME.fullmatch(service.metadata.name)),
    ),
    Rule(
        path="",
        cel=f"size(self.metadata.name) <= {MAX_NAME}",
        sentence=f"metadata.name: wanted at most {MAX_NAME} characters, because the names of child objects add to it",
        holds=lambda service: len(service.metadata.name) <= MAX_NAME,
    ),
    Rule(
        path="spec.model.source",
        cel=_exactly_one("path", "pvc", "s3", "huggingFace"),
        sentence="spec.model.source: give exactly one source: path, pvc, s3 or huggingFace",
        holds=lambda service: _given(service.spec.model.source) == 1,
    ),
    Rule(
        path="spec.model",
        cel="has(self.storage) == (has(self.source.s3) || has(self.source.huggingFace))",
        sentence=(
            "spec.model.storage: the sources s3 and huggingFace need one, because a fetched model has to be kept "
            "somewhere; path and pvc are served where they lie and take none"
        ),
        holds=lambda service: (service.spec.model.storage is not None) == service.spec.model.source.is_fetched,
    ),
    Rule(
        path="spec.model.storage",
        cel=_exactly_one("ephemeral", "pvc"),
        sentence="spec.model.storage: give exactly one: ephemeral or pvc",
        holds=lambda service: not service.spec.model.storage or _given(service.spec.model.storage) == 1,
    ),
    Rule(
        path="spec.model.storage.pvc",
        cel="(self.claimName != '') != has(self.size)",
        sentence="spec.model.storage.pvc: give exactly one: claimName of a claim that exists, or size of one to make",
        holds=lambda service: (pvc := _pvc(service)) is None or bool(pvc.claim_name) != (pvc.size is not None),
    ),
    Rule(
        path="spec.model.storage.pvc",
        cel="has(self.size) || self.storageClassName == ''",
        sentence="spec.model.storage.pvc.storageClassName: only for a claim to make; give a size, or remove it",
        holds=lambda service: (pvc := _pvc(service)) is None or pvc.size is not None or not pvc.storage_class_name,
    ),
    Rule(
        path="spec.model.source.s3.caBundleRef",
        cel=_exactly_one("configMap", "secret"),
        sentence="spec.model.source.s3.caBundleRef: give exactly one: configMap or secret",
        holds=lambda service: (ref := _ca_bundle(service)) is None or (ref.config_map is None) != (ref.secret is None),
    ),
    Rule(
        path="spec.model",
        cel="!(self.name in self.aliases)",
        sentence="spec.model.aliases: an alias is the same as spec.model.name; remove it",
        holds=lambda service: service.spec.model.name not in service.spec.model.aliases,
    ),
    Rule(
        path="spec.engine",
        cel="self.maxNumBatchedTokens >= self.maxNumSeqs",
        sentence=(
            "spec.engine: maxNumBatchedTokens is below maxNumSeqs, but a step computes at least one token of each "
            "sample; raise maxNumBatchedTokens or lower maxNumSeqs"
        ),
        holds=lambda service: service.spec.engine.max_num_batched_tokens >= service.spec.engine.max_num_seqs,
    ),
    Rule(
        path="spec",
        cel=(
            "self.engine.tensorParallelSize == 1 || "
            "!((has(self.resources.limits) && self.resources.limits.exists(n, n.startsWith('nvidia.com/mig-'))) || "
            "(has(self.resources.requests) && self.resources.requests.exists(n, n.startsWith('nvidia.com/mig-'))))"
        ),
        sentence=(
            "spec.engine.tensorParallelSize: slices of a GPU (nvidia.com/mig-…) cannot be joined, because NCCL does "
            "not work between them; set it to 1, or ask for whole GPUs"
        ),
        holds=lambda service: (
            service.spec.engine.tensor_parallel_size == 1
            or not any(name.startswith("nvidia.com/mig-") for name in service.spec.resources.names)
        ),
    ),
    Rule(
        path="spec.engine",
        cel="!(self.quantization in ['int8', 'int4']) || self.dtype != 'float16'",
        sentence=(
            "spec.engine.dtype: quantization int8 and int4 compute in bfloat16 or float32, and float16 is asked for; "
            "set dtype to bfloat16, or quantization to none"
        ),
        holds=lambda service: (
            service.spec.engine.quantization not in _CPU_QUANTIZATIONS or service.spec.engine.dtype is not Dtype.FLOAT16
        ),
    ),
    Rule(
        path="spec.engine",
        cel="self.quantization != 'fp8' || self.dtype in ['auto', 'bfloat16']",
        sentence=(
            "spec.engine.dtype: quantization fp8 computes in bfloat16, and another type is asked for; set dtype to "
            "bfloat16, or quantization to none"
        ),
        holds=lambda service: (
            service.spec.engine.quantization is not Quantization.FP8
            or service.spec.engine.dtype in (Dtype.AUTO, Dtype.BFLOAT16)
        ),
    ),
    Rule(
        path="spec",
        cel=f"!(self.engine.quantization in ['int8', 'int4']) || {_ON_CPU}",
        sentence=(
            "spec.engine.quantization: int8 and int4 are formats of the cpu device, and an accelerator is asked for; "
            "set quantization to fp8 or none, or device to cpu"
        ),
        holds=lambda service: service.spec.engine.quantization not in _CPU_QUANTIZATIONS or _on_cpu(service.spec),
    ),
    Rule(
        path="spec",
        cel=f"self.engine.quantization != 'fp8' || !{_ON_CPU}",
        sentence=(
            "spec.engine.quantization: fp8 is a format of accelerators, and the engine computes on the cpu; set "
            "quantization to int8, int4 or none, or ask for an accelerator"
        ),
        holds=lambda service: service.spec.engine.quantization is not Quantization.FP8 or not _on_cpu(service.spec),
    ),
    Rule(
        path="spec",
        cel=f"self.engine.kvCacheDtype == 'auto' || !{_ON_CPU}",
        sentence=(
            "spec.engine.kvCacheDtype: fp8 is a type of accelerators, and the engine computes on the cpu; set "
            "kvCacheDtype to auto, or ask for an accelerator"
        ),
        holds=lambda service: service.spec.engine.kv_cache_dtype is KvCacheDtype.AUTO or not _on_cpu(service.spec),
    ),
)
