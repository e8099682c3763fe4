"""Every op in C++, for CPUs: `native/` holds the sources, the modules here the way to them.

The library is loaded by ctypes and is handed data pointers: it knows neither Python nor torch.
"""
