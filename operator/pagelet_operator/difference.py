"""Where a live object is not what its rendering says, leaf by leaf.

Owns what "the same" means to the API server: which lists are matched by a key and which are replaced whole, which
spellings of a value are one, what it leaves out when it stores an object. Fields that the rendering does not name
(defaults, what others wrote) are nobody's business here; so is what to do about a difference.

Sources: the merge keys (`+listMapKey`, `patchMergeKey`) and `omitempty` marks of the Kubernetes API types.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pagelet_api.quantities import QuantityError, parse_quantity

Path = tuple[str, ...]

# The keys by which the entries of a list are told apart; lists that are not here are one value ("atomic"). Of several
# candidates, the first that every rendered entry has.
_LIST_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "imagePullSecrets": (("name",),),
    "hostAliases": (("ip",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "ownerReferences": (("uid",),),
}
_KEY_DEFAULTS = {"protocol": "TCP"}
# Sets: what others added stays theirs.
_SETS = frozenset({"finalizers"})
# Port numbers and the like: 80 and "80" mean one thing here, and either may come back.
_INT_OR_STRING = frozenset({"port", "targetPort", "maxUnavailable", "minAvailable", "maxSurge"})
_QUANTITIES = frozenset({"sizeLimit", "divisor"})
_QUANTITY_MAPS = frozenset({"limits", "requests", "capacity"})
# Maps of free keys: an empty text is a value there.
_TEXT_MAPS = frozenset({"data", "binaryData", "stringData", "labels", "annotations", "matchLabels", "nodeSelector"})
# Fields in which "not there" is not the same as zero or empty, and which the API server therefore always keeps.
_PRESENCE = frozenset(
    {
        *("replicas", "automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation", "backoffLimit"),
        *("runAsUser", "runAsGroup", "fsGroup", "runAsNonRoot", "terminationGracePeriodSeconds", "parallelism"),
        *("emptyDir", "podSelector", "namespaceSelector", "storageClassName"),
    }
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One leaf: `wanted` as rendered, `found` as it lives (None: not there)."""

    path: Path
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: wanted {self.wanted!r:.80}, found {self.found!r:.80}"


def differences(rendered: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Difference]:
    """Every rendered leaf that is not the live one, in the order of the rendering."""
    yield from _map(rendered, live, ())


def _map(rendered: Mapping[str, Any], live: Mapping[str, Any], path: Path) -> Iterator[Difference]:
    for name, wanted in rendered.items():
        yield from _value(wanted, live.get(name), (*path, name))


def _value(wanted: Any, found: Any, path: Path) -> Iterator[Difference]:
    if wanted is None:
        return  # what is applied as null is not owned
    if found is None:
        if not _may_be_left_out(wanted, path):
            yield Difference(path, wanted, None)
    elif isinstance(wanted, Mapping) and isinstance(found, Mapping):
        yield from _map(wanted, found, path)
    elif _is_list(wanted) and _is_list(found):
        yield from _list(wanted, found, path)
    elif not _same(wanted, found, path):
        yield Difference(path, wanted, found)


def _list(wanted: Sequence[Any], found: Sequence[Any], path: Path) -> Iterator[Difference]:
    if path[-1] in _SETS:
        yield from (Difference(path, item, None) for item in wanted if item not in found)
    elif keys := _keys(wanted, path):
        entries = {_identity(entry, keys): entry for entry in found if isinstance(entry, Mapping)}
        for entry in wanted:
            identity = _identity(entry, keys)
            yield from _value(entry, entries.get(identity), (*path, f"[{'/'.join(identity)}]"))
    elif len(wanted) != len(found):
        yield Difference(path, wanted, found)
    else:
        for index, (mine, theirs) in enumerate(zip(wanted, found, strict=True)):
            yield from _value(mine, theirs, (*path, f"[{index}]"))


def _keys(wanted: Sequence[Any], path: Path) -> tuple[str, ...]:
    """The list's merge keys; empty for an atomic list. A NetworkPolicy's lists are atomic, its ports too."""
    if {"ingress", "egress"} & set(path[:2]):
        return ()
    for keys in _LIST_KEYS.get(path[-1], ()):
        if all(isinstance(entry, Mapping) and _has(entry, keys) for entry in wanted):
            return keys
    return ()


def _has(entry: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return all(key in entry or key in _KEY_DEFAULTS for key in keys)


def _identity(entry: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, _KEY_DEFAULTS.get(key))) for key in keys)


def _may_be_left_out(wanted: Any, path: Path) -> bool:
    """Whether the API server stores an empty value by not storing it."""
    if path[-1] in _PRESENCE:
        return False
    if isinstance(wanted, Mapping):
        return all(_may_be_left_out(value, (*path, name)) for name, value in wanted.items())
    if len(path) > 1 and path[-2] in _TEXT_MAPS:
        return wanted is None
    return not wanted


def _same(wanted: Any, found: Any, path: Path) -> bool:
    if _is_quantity(path):
        return bool(_amount(wanted) == _amount(found))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if path[-1] in _INT_OR_STRING:
        return str(wanted) == str(found)
    return bool(wanted == found)


def _is_quantity(path: Path) -> bool:
    parent = path[-2] if len(path) > 1 else ""
    return parent in _QUANTITY_MAPS or (path[-1] in _QUANTITIES and parent not in _TEXT_MAPS)


def _amount(value: Any) -> Any:
    """The value of a quantity, or what stands there instead of one."""
    try:
        return value if isinstance(value, bool) else parse_quantity(str(value))
    except QuantityError:
        return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
