"""`python -m pagelet_gateway.workers.fork_server FD`: reads models once, and forks workers that have them already.

A process with one thread and no event loop, so that forking it is safe, at the other end of the socket FD. Workers
share its memory, and a new one is ready in milliseconds: one that has grown or that hangs is cheap to replace. All of
them end when the gateway ends, whichever way.
"""

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

from pagelet_api import inference_pb2 as pb
from pagelet_api.gateway_memory import KEPT_PART

from pagelet_gateway.model import ModelFilesError, read_model
from pagelet_gateway.workers.job import Job, Kind, MessageDecoder, Refused, encode
from pagelet_gateway.workers.limits import too_much_memory
from pagelet_gateway.workers.preparation import PromptModel, prepare

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 2**18
_FIRST_JOB = Job(Kind.CHAT, b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}', ("m",), 0, 2**31)


def main(arguments: list[str]) -> int:
    control = socket.socket(fileno=int(arguments[0]))
    # A terminal's Ctrl-C reaches the whole group, and requests in flight are still to be finished.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers need no waiting for
    _serve(control)
    return 0


def _serve(control: socket.socket) -> None:
    """Until the gateway hangs up."""
    models: dict[int, PromptModel] = {}
    decoder = MessageDecoder()
    while True:
        piece, descriptors, _, _ = socket.recv_fds(control, _READ_BYTES, 1)
        if not piece:
            return
        messages = decoder.feed(piece)
        assert len(messages) <= 1, "the gateway waits for each answer"
        for header, blob in messages:
            match header["command"]:
                case "load":
                    control.sendall(encode({"error": _load(models, header, blob)}, b""))
                case "forget":
                    for number in header["models"]:
                        models.pop(number, None)
                    control.sendall(encode({}, b""))
                case "fork":
                    gc.freeze()  # the collector would touch, and so copy, every page that is shared
                    pid = os.fork()
                    if pid == 0:
                        control.close()
                        _work(descriptors[0], models, header["niceness"], header["memory_bytes"])
                    os.close(descriptors[0])
                    control.sendall(encode({"pid": pid}, b""))


def _load(models: dict[int, PromptModel], header: dict[str, Any], blob: bytes) -> str | None:
    """None, or why the model cannot be used."""
    files: dict[str, bytes] = {}
    first = 0
    for name, size in header["files"].items():
        files[name] = blob[first : first + size]
        first += size
    try:
        model = read_model(pb.ModelInfo(), files)
    except ModelFilesError as error:
        return str(error)
    loaded = PromptModel(model.tokenizer, model.template, model.template_error, header["vocab_size"])
    prepare(_FIRST_JOB, loaded)  # what is made when it is first needed is made before workers are forked
    models[header["model"]] = loaded
    return None


# ---- a worker ------------------------------------------------------------------------------------------------------


def _work(descriptor: int, models: dict[int, PromptModel], niceness: int, memory_bytes: int) -> NoReturn:
    """One job after the other until the gateway hangs up, or until too much memory has stayed with this process."""
    try:
        _end_with_parent()
        os.nice(niceness)
        before = _data_bytes()
        resource.setrlimit(resource.RLIMIT_DATA, (before + memory_bytes, before + memory_bytes))
        gateway, decoder = socket.socket(fileno=descriptor), MessageDecoder()
        has_grown = False
        while not has_grown and (piece := gateway.recv(_READ_BYTES)):
            for header, blob in decoder.feed(piece):
                gateway.sendall(_answer(Job.decode(header, blob), models, memory_bytes))
                has_grown = _data_bytes() - before > memory_bytes // KEPT_PART
    except OSError:
        pass  # the gateway has gone
    finally:
        os._exit(0)


def _answer(job: Job, models: dict[int, PromptModel], memory_bytes: int) -> bytes:
    try:
        return prepare(job, None if job.model is None else models.get(job.model)).encode()
    except MemoryError:
        return Refused(too_much_memory(memory_bytes), by_field=False).encode()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it ended before that
        os._exit(0)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: private writable memory of this process."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
