"""Files as users write them: one InferenceService, or a sentence with file and line."""

from pathlib import Path

import pytest
from pagelet_operator.manifest import ManifestFileError, read_manifest

GOOD = """\
apiVersion: pagelet.io/v1alpha1
kind: InferenceService
metadata:
  name: {name}
spec:
  model:
    source:
      path: {path}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "service.yaml"
    file.write_text(text)
    return file


def complaint(folder: Path, text: str, name: str = "") -> str:
    """What is said about the file, without its folder."""
    with pytest.raises(ManifestFileError) as caught:
        read_manifest(written(folder, text), name)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_relative_model_path_begins_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    file = written(tmp_path / "manifests", GOOD.format(name="a", path="../models/x"))
    assert read_manifest(file).spec.model.source.path == str(tmp_path / "models/x")


def test_an_absolute_model_path_stays(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.format(name="a", path="/models/x"))
    assert read_manifest(file).spec.model.source.path == "/models/x"


def test_json_is_yaml_too(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        '{"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService", "metadata": {"name": "a"},'
        ' "spec": {"model": {"source": {"path": "/m"}}}}',
    )
    assert read_manifest(file).metadata.name == "a"


def test_empty_documents_are_not_documents(tmp_path: Path) -> None:
    file = written(tmp_path, f"---\n# nothing\n---\n{GOOD.format(name='a', path='/m')}---\n")
    assert read_manifest(file).metadata.name == "a"


def test_of_several_services_one_is_chosen_by_name(tmp_path: Path) -> None:
    both = GOOD.format(name="a", path="/m") + "---\n" + GOOD.format(name="b", path="/m")
    assert read_manifest(written(tmp_path, both), "b").metadata.name == "b"
    assert complaint(tmp_path, both) == "service.yaml: 2 InferenceServices (a, b); choose one with --name"
    assert complaint(tmp_path, both, "c") == "service.yaml: no InferenceService is named 'c'; there are: a, b"


def test_a_wrong_field_is_named_with_its_line_in_every_document(tmp_path: Path) -> None:
    wrong = GOOD.format(name="a", path="/m") + "  engine:\n    blockSze: 16\n    maxNumSeqs: many\n"
    lines = complaint(tmp_path, f"{wrong}---\n{GOOD.format(name='B', path='/m')}").splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == ["service.yaml:10", "service.yaml:11", "service.yaml:16"]
    assert "did you mean blockSize?" in "".join(lines)


def test_a_name_with_dots_is_found(tmp_path: Path) -> None:
    text = GOOD.format(name="a", path="/m") + "  resources:\n    limits:\n      cpu: 1\n      nvidia.com/gpu: lots\n"
    assert complaint(tmp_path, text).startswith("service.yaml:12: spec.resources.limits.nvidia.com/gpu: wanted")


def test_a_missing_field_is_reported_at_the_map_that_lacks_it(tmp_path: Path) -> None:
    text = GOOD.format(name="a", path="/m").replace("  model:\n    source:\n      path: /m\n", "  replicas: 1\n")
    assert complaint(tmp_path, text).startswith("service.yaml:5: spec.model: missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "service.yaml: wanted an InferenceService, found an empty file"),
        ("- a\n", "service.yaml:1: file: wanted one InferenceService, found a list of 1"),
        ("kind: Deployment\nspec: {}\n", "service.yaml:1: kind: wanted InferenceService, found Deployment; "),
        ("spec: {}\n", "service.yaml:1: kind: wanted InferenceService, found none; "),
        (
            "kind: InferenceService\napiVersion: v1\n",
            "service.yaml:2: apiVersion: wanted pagelet.io/v1alpha1, found v1",
        ),
        ("a: 1\nb: [\n", "service.yaml:3: not valid YAML: "),
        ("a: 1\n\ta: 2\n", "service.yaml:2: not valid YAML: "),
        ("a: 1\nb: 2\na: 3\n", "service.yaml:3: 'a' is given twice; remove one"),
        ("a: !!python/object:os.system x\n", "service.yaml:1: not valid YAML: could not determine a constructor"),
        ("a: *b\n", "service.yaml:1: not valid YAML: "),
        ("\x00", "service.yaml: not valid YAML: "),
        ("[" * 5000, "service.yaml"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    found = complaint(tmp_path, text)
    assert found.startswith(said)
    assert "\n" not in found


def test_bytes_that_are_no_text_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ManifestFileError, match="not valid YAML") as caught:
        read_manifest(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestFileError, match=r"cannot read .*absent\.yaml: No such file or directory"):
        read_manifest(tmp_path / "absent.yaml")
