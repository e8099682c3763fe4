"""The files of a model folder that a gateway needs, in pieces that fit a message."""

from collections.abc import Iterator
from pathlib import Path

from pagelet_api import inference_pb2 as pb

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json")
CHUNK_BYTES = 2**20


def file_chunks(model_dir: Path) -> Iterator[pb.FileChunk]:
    """Every file that is there, one after the other, in ascending offsets; an empty file is one empty chunk."""
    for name in FILES:
        path = model_dir / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        for offset in range(0, max(len(data), 1), CHUNK_BYTES):
            yield pb.FileChunk(name=name, size=len(data), offset=offset, data=data[offset : offset + CHUNK_BYTES])
