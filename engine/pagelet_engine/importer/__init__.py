"""Turns a GGUF file or a Hugging Face folder into a verified model folder, which is all that an engine loads.

    python -m pagelet_engine.importer SOURCE DESTINATION [--dtype …] [--overwrite]

Owns formats: GGUF, safetensors, tokenizer files. Streams tensor by tensor, so memory stays small whatever the model's
size. Refuses to know torch, and what an engine does with the folder.
"""
