"""OpenAI's HTTP API as data: request bodies, what becomes of every field, response shapes, the error shape.

Owns names, types, bounds and the sentences of refusals. Knows no server, no tokenizer and no engine: bounds that depend
on the loaded model are the gateway's to check.
"""
