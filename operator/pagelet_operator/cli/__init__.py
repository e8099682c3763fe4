"""The command line: `pagelet up`, `chat`, `plan`, `import`, `render`, `warm`.

Owns arguments, exit codes and what a person reads. Each command lives in a module of its own, imported only when it is
called: `pagelet --help` must not wait for an HTTP client.

Exit codes: 0 done, 1 it cannot be done (one line on standard error says why), 2 wrong arguments, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pagelet_api import names


class CommandError(Exception):
    """What was asked for cannot be done; the message says what was wanted, what was found and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "import":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(options, rest)
    except CommandError as error:
        print(f"pagelet {options.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough. Nothing may be flushed to it at exit.
        sys.stdout = None
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    match options.command:
        case "up":
            from pagelet_operator.cli.up import up

            return up(options.file, options.name, options.port, options.state_dir, options.logs)
        case "chat":
            from pagelet_operator.cli.chat import chat

            return chat(
                options.url,
                options.model,
                options.system,
                options.message,
                api_key=options.api_key,
                temperature=options.temperature,
                max_tokens=options.max_tokens,
            )
        case "plan":
            from pagelet_operator.cli.plan import plan

            return plan(
                options.file,
                options.name,
                gpu=options.gpu,
                memory=options.memory,
                lengths=options.lengths,
                as_json=options.json,
            )
        case "import":
            from pagelet_operator.cli.importing import import_model

            return import_model(rest)
        case "render":
            from pagelet_operator.cli.render import render

            return render(options.file, options.name)
        case "warm":
            from pagelet_operator.cli.warming import warm

            return warm(options.file, options.name, targets=options.target, cache=options.cache)
    raise AssertionError(options.command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pagelet", description="Large language models from one file: an InferenceService in, an endpoint out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run an InferenceService on this machine until Ctrl-C")
    _add_file(up)
    up.add_argument(
        "--port", type=_port, default=names.GATEWAY_HTTP_PORT, help="port of the endpoint (default: %(default)s)"
    )
    up.add_argument("--state-dir", type=Path, help="folder for logs and state (default: under ~/.local/state/pagelet)")
    up.add_argument("--logs", action="store_true", help="also print what the containers write")

    chat = commands.add_parser("chat", help="talk to a model")
    chat.add_argument(
        "--url",
        default=f"http://127.0.0.1:{names.GATEWAY_HTTP_PORT}",
        help="address of an OpenAI-compatible endpoint (default: %(default)s)",
    )
    chat.add_argument("--model", default="", help="served name (default: the first the endpoint has)")
    chat.add_argument("--system", default="", help="system prompt")
    chat.add_argument("-m", "--message", help="ask this one thing, print the answer and end")
    chat.add_argument("--temperature", type=float, help="0 always takes the likeliest word (default: the endpoint's)")
    chat.add_argument("--max-tokens", type=int, help="longest answer (default: the endpoint's)")
    chat.add_argument("--api-key", default="", help="API key (default: $OPENAI_API_KEY)")

    plan = commands.add_parser("plan", help="print the memory plan: weights, KV blocks, sessions that fit")
    _add_file(plan)
    where = plan.add_mutually_exclusive_group()
    where.add_argument("--gpu", help="plan for one GPU of this name, such as L40S or NVIDIA-H100-80GB-HBM3")
    where.add_argument("--memory", help="plan for one GPU with this much memory, such as 40Gi")
    plan.add_argument("--lengths", type=_lengths, help="session lengths in tokens, such as 1024,4096")
    plan.add_argument("--json", action="store_true", help="print JSON instead of a table")

    # Its arguments are the importer's own, and so is its help.
    commands.add_parser("import", help="turn a GGUF file or a Hugging Face folder into a model folder", add_help=False)

    render = commands.add_parser("render", help="print the Kubernetes objects of an InferenceService")
    _add_file(render)

    warm = commands.add_parser("warm", help="compile the kernels that an InferenceService's engines launch on GPUs")
    _add_file(warm)
    warm.add_argument(
        "--target",
        action="append",
        default=[],
        help="GPU to compile for, such as sm_90; may be repeated (default: the one of this machine)",
    )
    warm.add_argument("--cache", type=Path, help="folder to fill (default: Triton's own)")
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", type=Path, required=True, help="file with an InferenceService; -: standard input"
    )
    parser.add_argument("--name", default="", help="which one, where the file holds several")


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) < 2**16 - 1:
        raise argparse.ArgumentTypeError(f"wanted a port from 1 to 65534, found {text!r}")
    return int(text)


def _lengths(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"wanted numbers of tokens such as 1024,4096, found {text!r}")
    return [int(part) for part in parts]
