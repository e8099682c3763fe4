"""Runs a command beside a real gateway, and tells it where that is:

    python -m e2e.ceph .venv/bin/pytest tests/engine/fetcher/test_s3.py

The environment variable PAGELET_TEST_S3 then holds JSON: port, key, secret, authority (a file).
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict

from .gateway import CephError, running_gateway


def main() -> int:
    try:
        with running_gateway() as gateway:
            told = json.dumps(asdict(gateway), default=str)
            return subprocess.run(sys.argv[1:], env={**os.environ, "PAGELET_TEST_S3": told}, check=False).returncode
    except CephError as error:
        print(f"no Ceph gateway: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
