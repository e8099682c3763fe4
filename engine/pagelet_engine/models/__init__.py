"""Architectures, as plain modules over `layers`. A file a family; it reads like the paper's figure."""
