"""`python -m pagelet_engine.importer`: says what it was asked."""

import sys

print("importer", *sys.argv[1:])
sys.exit(3)
