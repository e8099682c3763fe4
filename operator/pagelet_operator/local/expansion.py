"""What a container's command, arguments and environment become on this machine. Pure.

`$(NAME)` references follow Kubernetes' rules; paths inside the container become paths of this machine.
"""

import re
from collections.abc import Iterable, Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; an unknown name stays as it is, and `$$` means one `$`.

    Source: the descriptions of `command`, `args` and `env[].value` in Kubernetes' core/v1 Container.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return environment.get(match[1], match[0])

    return _REFERENCE.sub(value_of, text)


def expand_environment(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Resolve a container's variables in order: each may refer to the ones before it."""
    resolved: dict[str, str] = {}
    for name, value in entries:
        resolved[name] = expand(value, resolved)
    return resolved


def rewrite_paths(text: str, folders: Mapping[str, str]) -> str:
    """Replace each mount path (key) in `text` by its folder of this machine (value).

    Only whole path components count: `/mnt/model` is found in `--model=/mnt/model/x` and not in `/mnt/models`. All are
    replaced in one pass, the longest first, so that a replacement is never rewritten again.
    """
    if not folders:
        return text
    longest_first = sorted(folders, key=len, reverse=True)
    pattern = rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])"
    return re.sub(pattern, lambda match: folders[match[1]], text)
