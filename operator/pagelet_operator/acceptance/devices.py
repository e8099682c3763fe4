"""Which accelerators a pod asks for, and whether the engine could use them."""

from pagelet_api.config import Device
from pagelet_api.model_report import ModelFacts
from pagelet_api.sizes import uneven
from pagelet_api.v1alpha1 import InferenceService, InferenceServiceSpec

from pagelet_operator.acceptance.rule import Numbers, Rule
from pagelet_operator.capacity import devices
from pagelet_operator.desired.engine_revision import resolve_device

_VENDORS = {Device.CUDA: "nvidia.com/", Device.ROCM: "amd.com/"}
_MIG = "nvidia.com/mig-"
_SHARED = ".shared"


def _accelerators(spec: InferenceServiceSpec) -> dict[str, int]:
    """Accelerators of one pod by resource; none that are asked for zero times."""
    resources = {"limits": spec.resources.limits, "requests": spec.resources.requests}
    counts = devices({"containers": [{"resources": resources}]})
    return {name: count for name, count in counts.items() if name.startswith(tuple(_VENDORS.values()))}


def _several_kinds(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    found = _accelerators(service.spec)
    return {"found": " and ".join(sorted(found))} if len(found) > 1 else None


def _no_such_device(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    device = resolve_device(service.spec)
    vendor = _VENDORS.get(device)
    if vendor is None or any(name.startswith(vendor) for name in _accelerators(service.spec)):
        return None
    return {"device": device.value, "example": f"{vendor}gpu"}


def _several_shares(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    for name, count in _accelerators(service.spec).items():
        if name.endswith(_SHARED) and count > 1:
            return {"count": count, "resource": name}
    return None


def _several_slices(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    for name, count in _accelerators(service.spec).items():
        if name.startswith(_MIG) and count > 1:
            return {"count": count, "resource": name}
    return None


def _more_than_a_pod(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    if service.spec.engine.device is Device.CPU:
        return None  # its ranks are processes of one pod
    wanted, found = service.spec.engine.tensor_parallel_size, sum(_accelerators(service.spec).values())
    return {"wanted": wanted, "found": found} if wanted > max(1, found) else None


def _wasted(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    used, found = service.spec.engine.tensor_parallel_size, sum(_accelerators(service.spec).values())
    # On the cpu device, accelerators only say where the pod may run: a cluster that plays GPUs it has not.
    if resolve_device(service.spec) is Device.CPU or found <= used:
        return None
    return {"found": found, "used": used, "wasted": found - used}


def _uneven(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    size = service.spec.engine.tensor_parallel_size
    if model is None or not (found := uneven(model.shape, size)):
        return None
    return {"parts": found.parts, "size": size, "sums": found.sums, "fitting": found.fitting}


DEVICE_RULES: tuple[Rule, ...] = (
    Rule(
        "SeveralDeviceKinds",
        "spec.resources",
        "spec.resources: wanted accelerators of one kind, found {found}; an engine computes on one kind: remove the "
        "others",
        _several_kinds,
    ),
    Rule(
        "NoDevice",
        "spec.engine.device",
        "spec.engine.device: {device} needs a device that spec.resources does not ask for; ask for one, such as "
        "{example}: 1 in spec.resources.limits, or set device: cpu",
        _no_such_device,
    ),
    Rule(
        "SharesNotJoined",
        "spec.resources",
        "spec.resources: {count} × {resource} wanted, but more than one share of a GPU buys nothing: shares are turns, "
        "not memory; ask for 1",
        _several_shares,
    ),
    Rule(
        "SlicesNotJoined",
        "spec.resources",
        "spec.resources: {count} × {resource} wanted, but an engine computes on one slice of a GPU: slices cannot be "
        "joined; ask for 1, of a larger profile if need be",
        _several_slices,
    ),
    Rule(
        "TooFewDevices",
        "spec.engine.tensorParallelSize",
        "spec.engine.tensorParallelSize: wanted {wanted} accelerators, but spec.resources asks for {found} in a pod; "
        "replicas of several pods come later: ask for {wanted} in one pod, or lower it",
        _more_than_a_pod,
    ),
    Rule(
        "DevicesWasted",
        "spec.engine.tensorParallelSize",
        "spec.engine.tensorParallelSize: a pod is given {found} accelerators and uses {used}, so {wasted} would idle; "
        "set it to {found}, or ask for {used} in spec.resources",
        _wasted,
    ),
    Rule(
        "HeadsNotDivided",
        "spec.engine.tensorParallelSize",
        "spec.engine.tensorParallelSize: the model's {parts} cannot be spread evenly over {size} accelerators: {sums}; "
        "sizes that can: {fitting}",
        _uneven,
    ),
)
