from pagelet_api import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommandFrame(_message.Message):
    __slots__ = ("commands",)
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[Command]
    def __init__(self, commands: _Optional[_Iterable[_Union[Command, _Mapping]]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("submit", "abort", "listen_kv")
    SUBMIT_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    LISTEN_KV_FIELD_NUMBER: _ClassVar[int]
    submit: Submit
    abort: _inference_pb2.Abort
    listen_kv: ListenKv
    def __init__(self, submit: _Optional[_Union[Submit, _Mapping]] = ..., abort: _Optional[_Union[_inference_pb2.Abort, _Mapping]] = ..., listen_kv: _Optional[_Union[ListenKv, _Mapping]] = ...) -> None: ...

class Submit(_message.Message):
    __slots__ = ("request", "arrived_s")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_S_FIELD_NUMBER: _ClassVar[int]
    request: _inference_pb2.GenerateRequest
    arrived_s: float
    def __init__(self, request: _Optional[_Union[_inference_pb2.GenerateRequest, _Mapping]] = ..., arrived_s: _Optional[float] = ...) -> None: ...

class ListenKv(_message.Message):
    __slots__ = ("on",)
    ON_FIELD_NUMBER: _ClassVar[int]
    on: bool
    def __init__(self, on: _Optional[bool] = ...) -> None: ...

class CoreFrame(_message.Message):
    __slots__ = ("ready", "step", "fatal")
    READY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FATAL_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    step: StepFrame
    fatal: Fatal
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., step: _Optional[_Union[StepFrame, _Mapping]] = ..., fatal: _Optional[_Union[Fatal, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("model", "load")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    model: _inference_pb2.ModelInfo
    load: _inference_pb2.Load
    def __init__(self, model: _Optional[_Union[_inference_pb2.ModelInfo, _Mapping]] = ..., load: _Optional[_Union[_inference_pb2.Load, _Mapping]] = ...) -> None: ...

class StepFrame(_message.Message):
    __slots__ = ("tokens", "updates", "load", "kv_events", "kv_snapshot", "kv_sequence", "waits_s", "drawn")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    KV_EVENTS_FIELD_NUMBER: _ClassVar[int]
    KV_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    KV_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WAITS_S_FIELD_NUMBER: _ClassVar[int]
    DRAWN_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    updates: _containers.RepeatedCompositeFieldContainer[_inference_pb2.RequestUpdate]
    load: _inference_pb2.Load
    kv_events: _containers.RepeatedCompositeFieldContainer[_inference_pb2.KvEvent]
    kv_snapshot: _containers.RepeatedCompositeFieldContainer[_inference_pb2.KvEvent]
    kv_sequence: int
    waits_s: _containers.RepeatedScalarFieldContainer[float]
    drawn: _inference_pb2.Drawn
    def __init__(self, tokens: _Optional[int] = ..., updates: _Optional[_Iterable[_Union[_inference_pb2.RequestUpdate, _Mapping]]] = ..., load: _Optional[_Union[_inference_pb2.Load, _Mapping]] = ..., kv_events: _Optional[_Iterable[_Union[_inference_pb2.KvEvent, _Mapping]]] = ..., kv_snapshot: _Optional[_Iterable[_Union[_inference_pb2.KvEvent, _Mapping]]] = ..., kv_sequence: _Optional[int] = ..., waits_s: _Optional[_Iterable[float]] = ..., drawn: _Optional[_Union[_inference_pb2.Drawn, _Mapping]] = ...) -> None: ...

class Fatal(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...
