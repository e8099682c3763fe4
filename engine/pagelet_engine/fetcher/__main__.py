"""The command: arguments in, a report out, whatever happens."""

import argparse
import asyncio
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from pagelet_api import names
from pagelet_api.config import ConfigError, FetcherConfig
from pagelet_api.model_report import FailureReason, ModelFacts, ModelFailure, ModelReport

from pagelet_engine.fetcher.credentials import Credentials, forget_environment
from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.hub import open_hub
from pagelet_engine.fetcher.mounted_folder import check
from pagelet_engine.fetcher.place import Place, storage_failure
from pagelet_engine.fetcher.pod_folder import PodFolder
from pagelet_engine.fetcher.s3 import S3
from pagelet_engine.fetcher.shared_storage import SharedStorage
from pagelet_engine.fetcher.source import Source
from pagelet_engine.fetcher.transfer import fetch, look


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    forget_environment()
    credentials = Credentials(options.credentials)
    try:
        report = ModelReport(facts=_run(options, credentials))
    except FetchFailed as error:
        report = ModelReport(failure=error.failure)
    except OSError as error:
        report = ModelReport(failure=storage_failure(error, options.storage or options.into or Path("/")).failure)
    except asyncio.CancelledError:
        report = _failed(FailureReason.INTERNAL, "stopped before the model was there (SIGTERM); it will be tried again")
    except Exception as error:
        print(credentials.scrub("".join(traceback.format_exception(error))), file=sys.stderr)
        report = _failed(FailureReason.INTERNAL, f"unexpected: {type(error).__name__}: {error}; see the Job's log")
    if report.failure:
        report = _failed(report.failure.reason, credentials.scrub(report.failure.message))
    return _deliver(report, options.report)


def _run(options: argparse.Namespace, credentials: Credentials) -> ModelFacts:
    # Not asyncio.run: it waits for threads, which may hang in a volume that does not answer; the report cannot.
    loop = asyncio.new_event_loop()
    task = loop.create_task(_model(options, credentials))
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    return loop.run_until_complete(task)


async def _model(options: argparse.Namespace, credentials: Credentials) -> ModelFacts:
    try:
        config = FetcherConfig.read(options.source)
    except ConfigError as error:
        raise FetchFailed(FailureReason.INTERNAL, str(error)) from error
    place: Place | None = None
    if options.storage:
        place = SharedStorage(options.storage, _job(config, options.digest))
    elif options.into:
        place = PodFolder(options.into)
    if config.s3:
        return await _fetched(S3(config.s3, credentials), place, options)
    if config.hugging_face:
        async with open_hub(config.hugging_face, credentials) as hub:
            return await _fetched(hub, place, options)
    return await check(options.folder, place, options.digest)


async def _fetched(source: Source, place: Place | None, options: argparse.Namespace) -> ModelFacts:
    if place is None:
        _, facts = await look(source, options.digest, options.patience)
        return facts
    return await fetch(source, place, options.digest, options.patience)


def _job(config: FetcherConfig, digest: str) -> str:
    """The same for every attempt at the same thing."""
    return hashlib.sha256(f"{config.to_json()}{digest}".encode()).hexdigest()[:10]


def _failed(reason: FailureReason, message: str) -> ModelReport:
    return ModelReport(failure=ModelFailure(reason=reason, message=" ".join(message.split())))


def _deliver(report: ModelReport, file: Path | None) -> int:
    if report.failure:
        print(f"fetch failed: {report.failure.reason}: {report.failure.message}", file=sys.stderr, flush=True)
    if report.facts:
        facts = report.facts
        megabytes, digest = f"{facts.num_bytes / 1e6:,.1f} MB", facts.digest or "no digest yet"
        print(f"{facts.folder or '.'}: {facts.shape.architecture}, {megabytes}, {digest}", flush=True)
    if file:
        try:
            file.write_text(report.to_json())  # in place: a file that is mounted cannot be renamed over
        except OSError as error:
            print(f"cannot write the report {file}: {error.strerror}", file=sys.stderr)
            return 1
    return 1 if report.failure else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pagelet_engine.fetcher", description="Bring a model into a verified model folder."
    )
    parser.add_argument("--source", type=Path, required=True, metavar="FILE", help="where it comes from, JSON")
    parser.add_argument(
        "--credentials", type=Path, default=Path(names.CREDENTIALS_MOUNT), metavar="DIR", help="keys and certificates"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(names.SOURCE_MOUNT), metavar="DIR", help="of a pvc source: where it is"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--storage", type=Path, metavar="DIR", help="a volume of models, in folders named by digest")
    place.add_argument("--into", type=Path, metavar="DIR", help="an empty folder that becomes the model folder")
    place.add_argument("--facts-only", action="store_true", help="fetch no weights (the default)")
    parser.add_argument("--digest", default="", help="the wanted digest, sha256:…; empty: any")
    parser.add_argument("--report", type=Path, metavar="FILE", help="what was found or why not, JSON")
    parser.add_argument(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="to go on without an answer (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that write or hash cannot be interrupted, and nobody waits for them any more.
    os._exit(code)
