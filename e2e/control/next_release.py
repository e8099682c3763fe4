"""The operator of a release to come: every pod it renders says so. For what an upgrade must leave alone.

python e2e/control/next_release.py FLAGS…
"""

from typing import Any

from pagelet_operator.__main__ import main
from pagelet_operator.desired import pods

MARK = "e2e.pagelet.io/next-release"


def change_renderer() -> None:
    """Whatever `container` makes is told apart by a variable, as a new release's new default would."""
    today = pods.container

    def tomorrow(*arguments: Any, **options: Any) -> Any:
        made = today(*arguments, **options)
        return {**made, "env": [*made.get("env", ()), {"name": "NEXT_RELEASE", "value": "yes"}]}

    import pagelet_operator.desired.engine_revision as engine_revision
    import pagelet_operator.desired.gateway as gateway

    for module in (pods, engine_revision, gateway):
        assert module.container is today
        module.container = tomorrow


if __name__ == "__main__":
    change_renderer()
    main()
