"""HTTP/1.1 as a server must speak it to clients it does not trust: connections, message framing, bounds of both.

Knows ASGI applications and OpenAI's error shape; knows no route, no model and no engine.
"""
