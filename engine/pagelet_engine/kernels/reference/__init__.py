"""Every op in a few lines of torch: what the others are tested against, and what runs where nothing faster is built.

Ops know tensors, shapes and strides. They refuse to know models, requests and where their metadata comes from: it is
an argument, never a global.
"""
