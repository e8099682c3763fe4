"""`python -m pagelet_engine.warm`: says what it was asked."""

import json
import sys
from pathlib import Path

*arguments, config = sys.argv[1:]
print(json.dumps({"arguments": arguments, "config": json.loads(Path(config).read_text())}))
sys.exit(3)
