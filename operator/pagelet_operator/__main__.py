"""`python -m pagelet_operator`: the operator as a process."""

import asyncio
import sys

from pagelet_operator.cluster.client import connect
from pagelet_operator.daemon import run
from pagelet_operator.logs import set_up_logs
from pagelet_operator.settings import parse_settings


def main() -> None:
    settings = parse_settings(sys.argv[1:])
    set_up_logs(settings.log_format)
    asyncio.run(run(settings, connect))


if __name__ == "__main__":
    main()
