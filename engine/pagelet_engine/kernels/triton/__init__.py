"""Every op as a Triton kernel for NVIDIA and AMD GPUs: one op a file, kernel and launcher.

A launcher knows shapes, strides and numbers that the host holds. It refuses to look at data on the device, to wait for
it, and to know whose GPU it is: the same call runs natively, in Triton's interpreter on a CPU (TRITON_INTERPRET=1), and
compiles for a named target on a machine without a GPU (`compile_only`). Outputs are fresh tensors or arguments, so each
launch may be captured in a CUDA graph.
"""
