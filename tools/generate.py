"""Write every file that is generated from another one: protobuf code, the CustomResourceDefinition, the chart's, docs.

python tools/generate.py            write them
python tools/generate.py --check    write nothing; name those that are not what their sources say, and exit 1
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from configuration_page import configuration_page
from grpc_tools import protoc
from openai_page import openai_page
from pagelet_api.v1alpha1.crd import custom_resource_definition
from pagelet_operator import permissions
from rules_page import rules_page

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "engine"
CHART_FILES = ROOT / "charts" / "pagelet" / "files"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not up to date")
    check = parser.parse_args().check
    stale = [path for path, content in generated_files().items() if not is_current(path, content)]
    for path, content in generated_files().items():
        if path in stale and not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'not up to date; run `make generate`' if check else 'written'}")
    return 1 if check and stale else 0


def is_current(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def generated_files() -> Mapping[Path, bytes]:
    """Every generated file's path and wanted content."""
    crd = custom_resource_definition()
    return {
        **dict(protobuf_files()),
        ROOT / "crds" / "pagelet.io_inferenceservices.yaml": crd_yaml(crd).encode(),
        CHART_FILES / "inferenceservices.yaml": crd_yaml(kept(crd)).encode(),
        CHART_FILES / "permissions.yaml": permissions_yaml().encode(),
        ROOT / "docs" / "configuration.md": configuration_page(crd).encode(),
        ROOT / "docs" / "openai-api.md": openai_page().encode(),
        ROOT / "docs" / "rules.md": rules_page().encode(),
    }


def crd_yaml(crd: Mapping[str, object]) -> str:
    comment = "# Generated from engine/pagelet_api/v1alpha1 by `make generate`. Do not edit.\n"
    return comment + yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)


def kept(crd: Mapping[str, Any]) -> dict[str, Any]:
    """The definition as the chart installs it: with it, every InferenceService would go."""
    annotations = {"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false"}
    metadata = {**crd["metadata"], "annotations": annotations}
    return {key: metadata if key == "metadata" else value for key, value in crd.items()}


def permissions_yaml() -> str:
    """The operator's permissions as rules of roles, by where they hold."""
    comment = "# Generated from operator/pagelet_operator/permissions.py by `make generate`. Do not edit.\n"
    rules = {
        "namespaced": permissions.rules(permissions.NAMESPACED),
        "cluster": permissions.rules(permissions.CLUSTER),
        "lease": permissions.rules(permissions.LEASE),
    }
    return comment + yaml.safe_dump(rules, sort_keys=False, width=120)


def protobuf_files() -> Iterator[tuple[Path, bytes]]:
    """The Python modules and stubs of every .proto file of the engine's source root."""
    with tempfile.TemporaryDirectory() as folder:
        for proto in sorted(SOURCES.rglob("*.proto")):
            # gRPC code only where there is a service: other files would get an empty module.
            grpc = [f"--grpc_python_out={folder}"] if "\nservice " in proto.read_text() else []
            arguments = [f"--python_out={folder}", f"--pyi_out={folder}", *grpc, str(proto.relative_to(SOURCES))]
            includes = [f"-I{SOURCES}", f"-I{files('grpc_tools') / '_proto'}"]
            if protoc.main(["protoc", *includes, *arguments]) != 0:
                sys.exit(f"protoc refused {proto.relative_to(ROOT)}; its message is above")
        for path in sorted(Path(folder).rglob("*.py*")):
            yield SOURCES / path.relative_to(folder), path.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
