"""The definition of InferenceServices in the chart: the generated one, kept when the release goes. And versions."""

import re
import tomllib

import pytest
import yaml

from .rendered import CHART, ROOT, of_kind

PARTS = ("operator", "gateway", "engine")


def test_the_definition_is_the_generated_one_and_is_kept_when_the_release_goes(helm):
    [rendered] = of_kind(helm.render(), "CustomResourceDefinition")
    generated = yaml.safe_load((ROOT / "crds" / "pagelet.io_inferenceservices.yaml").read_text())
    assert rendered["metadata"].pop("annotations") == {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "Prune=false",
    }
    assert rendered == generated


def test_somebody_else_may_install_the_definition(helm):
    assert not of_kind(helm.render("--set", "crds.install=false"), "CustomResourceDefinition")


def test_helm_notes_say_what_is_watched_and_what_is_kept(helm):
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    assert "helm uninstall keeps" in notes
    assert "helm -n" in notes


def test_chart_package_and_images_have_one_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for part in PARTS:
        assert f"ARG VERSION={version}\n" in (ROOT / "images" / part / "Containerfile").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_an_image_is_locked_by_hash_and_names_no_place_to_get_it_from(part):
    lock = (ROOT / "requirements" / f"{part}.txt").read_text()
    names = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert names
    assert len(re.findall(r"^[a-z0-9._-]+==[^\n]*\\\n    --hash=sha256:", lock, re.MULTILINE)) == len(names)
    assert "://" not in lock
    assert ("torch" in names) == (part == "engine")
    containerfile = (ROOT / "images" / part / "Containerfile").read_text()
    assert "://" not in containerfile
    assert re.findall(r"^FROM (.*?)(?: AS .*)?$", containerfile, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert "\nUSER 10001:10001\n" in containerfile


@pytest.mark.parametrize(
    ("part", "extras"), [("operator", ("operator", "model")), ("gateway", ("gateway",)), ("engine", ("engine",))]
)
def test_a_lock_holds_all_that_the_package_declares_for_the_image(part, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    wanted = {re.split(r"[<>=!;\[]", line)[0].strip() for line in declared}
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / f"{part}.txt").read_text(), re.MULTILINE))
    assert wanted <= locked


def test_python_of_the_images_is_compiled_once_and_writes_nothing():
    for part in PARTS:
        text = (ROOT / "images" / part / "Containerfile").read_text()
        assert text.count("--invalidation-mode unchecked-hash") == 3
        assert "PYTHONDONTWRITEBYTECODE=1" in text
