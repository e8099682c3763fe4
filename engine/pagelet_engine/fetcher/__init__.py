"""Brings a model from where it is kept into a verified model folder, and reports what it is or why it did not come.

    python -m pagelet_engine.fetcher --source FILE.json (--storage DIR | --into DIR | --facts-only) …

Owns sources (S3, Hugging Face hubs, mounted folders), the transfer, and where a model lands. Formats are the
importer's. Refuses to know torch, Kubernetes, and what anybody does with the folder.
"""
