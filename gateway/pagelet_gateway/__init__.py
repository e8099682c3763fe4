"""The gateway: OpenAI's HTTP API in front of engines that know tokens only.

Owns text and protocol: HTTP, chat templates, tokenizing and detokenizing, stop strings, which engine gets a request.
Knows no tensors and no Kubernetes API.
"""
