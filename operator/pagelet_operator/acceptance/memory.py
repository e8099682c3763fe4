"""Whether the model, and what is to be held of it, fits: with the sum, once the model is known."""

from pagelet_api.config import Device
from pagelet_api.memory_plan import DoesNotFitError, resolve_max_model_len
from pagelet_api.model_report import ModelFacts
from pagelet_api.quantities import QuantityError, mib, parse_bytes
from pagelet_api.sizes import ModelConfigError, resolve_dtype, weight_bytes
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.acceptance.rule import Numbers, Rule
from pagelet_operator.desired.engine_revision import resolve_device
from pagelet_operator.replica_memory import PROCESS_OVERHEAD_BYTES, replica_plan


def _too_long(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    wanted = service.spec.engine.max_model_len
    try:
        if model is not None:
            resolve_max_model_len(wanted, model.shape)
    except ModelConfigError:
        return {"wanted": wanted, "found": model.shape.max_position} if model else None
    return None


def _not_quantizable(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    engine = service.spec.engine
    try:
        if model is not None:
            weight_bytes(model.shape, resolve_dtype(engine.dtype, model.shape), engine.quantization)
    except ModelConfigError as error:
        return {"sum": error}
    return None


def _pool_too_small(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    return _unfit(service, model) if resolve_device(service.spec) is Device.CPU else None


def _device_too_small(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    return None if resolve_device(service.spec) is Device.CPU else _unfit(service, model)


def _unfit(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    try:
        if model is not None:
            replica_plan(service.spec, model.shape)
    except DoesNotFitError as error:
        return {"sum": error}
    return None


def _limit_too_low(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    limit = service.spec.resources.limits.get("memory")
    if model is None or limit is None or resolve_device(service.spec) is not Device.CPU:
        return None
    plan = replica_plan(service.spec, model.shape)
    try:
        found = parse_bytes(str(limit))
    except QuantityError:
        return None  # no memory that a pod could have: the API server will say so
    size = service.spec.engine.tensor_parallel_size
    overhead = size * PROCESS_OVERHEAD_BYTES
    wanted = plan.weight_bytes + plan.pool_bytes + overhead if plan else 0
    if plan is None or found >= wanted:
        return None
    return {
        "weights": mib(plan.weight_bytes),
        "pool": mib(plan.pool_bytes),
        "overhead": mib(overhead),
        "processes": "the process" if size == 1 else f"{size} processes",
        "wanted": mib(wanted),
        "found": mib(found),
    }


MEMORY_RULES: tuple[Rule, ...] = (
    Rule(
        "ModelTooShort",
        "spec.engine.maxModelLen",
        "spec.engine.maxModelLen: wanted {wanted} tokens, the model was made for {found}; lower it",
        _too_long,
    ),
    Rule(
        "NotQuantizable",
        "spec.engine.quantization",
        "spec.engine.quantization: {sum}",
        _not_quantizable,
    ),
    Rule(
        "KvCacheTooSmall",
        "spec.engine.kvCacheMemory",
        "spec.engine.kvCacheMemory: {sum}",
        _pool_too_small,
    ),
    Rule(
        "TooLittleDeviceMemory",
        "spec.accelerator.memory",
        "spec.accelerator: the model does not fit: {sum}",
        _device_too_small,
    ),
    Rule(
        "TooLittleMemory",
        "spec.resources.limits.memory",
        "spec.resources.limits.memory: weights {weights} + KV cache {pool} + {overhead} for {processes} = {wanted}, "
        "but the limit is {found}; raise it, or lower spec.engine.kvCacheMemory",
        _limit_too_low,
    ),
)
