"""How much each tenant has been served: a virtual token counter each, after "Fairness in Serving Large Language Models"
(Sheng et al., OSDI 2024).

The tenant that was served least goes first. Who comes back after a pause starts where the least served of those present
is: a pause is no credit. While one tenant is alone, nothing is counted.
"""

from collections import Counter

PROMPT_WEIGHT = 1
"""Of a token that is computed for a prompt. One that the prefix cache has costs nobody anything."""
OUTPUT_WEIGHT = 2
"""Of a token that is drawn: it takes a step of its own."""


class FairShare:
    """Counts for tenants with unfinished samples. Not `enabled`: all are one."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._present: Counter[str] = Counter()  # tenant → its unfinished samples
        self._served: dict[str, int] = {}

    def __len__(self) -> int:
        """How many tenants are present."""
        return len(self._present)

    def of(self, tenant: str) -> str:
        """Whom a tenant's samples are counted for."""
        return tenant if self._enabled else ""

    def served(self, tenant: str) -> int:
        """Weighted tokens of a tenant that is present; comparable among those present only."""
        return self._served[tenant]

    def enter(self, tenant: str) -> None:
        """The tenant has one more sample."""
        if not self._present[tenant]:
            self._served[tenant] = max(self._least() or 0, self._served.get(tenant, 0))
        self._present[tenant] += 1

    def leave(self, tenant: str) -> None:
        """One of its samples has finished."""
        self._present[tenant] -= 1
        if self._present[tenant]:
            return
        del self._present[tenant]
        # Whoever is below the least served of those present starts there anyway.
        least = self._least()
        gone = [
            other
            for other, served in self._served.items()
            if other not in self._present and (least is None or served <= least)
        ]
        for other in gone:
            del self._served[other]

    def charge(self, tenant: str, weighted_tokens: int) -> None:
        if len(self._present) > 1:
            self._served[tenant] += weighted_tokens

    def _least(self) -> int | None:
        """What the least served of those present was served; None: nobody is."""
        return min((self._served[tenant] for tenant in self._present), default=None)
