"""From a checkpoint's files into parameters. Knows safetensors; refuses pickle, and refuses to know models."""
