"""What `podTemplate` adds to the engine pods, and what it cannot change."""

from typing import Any

from pagelet_operator.desired import KubernetesObject

from ..conftest import document
from .conftest import of, one


def template(**additions: Any) -> KubernetesObject:
    rendered: KubernetesObject = one(of(document(podTemplate=additions)), "ReplicaSet")["spec"]["template"]
    return rendered


def engine(**additions: Any) -> KubernetesObject:
    container: KubernetesObject = template(**additions)["spec"]["containers"][0]
    return container


def test_nothing_added_is_nothing_changed() -> None:
    assert template() == one(of(document()), "ReplicaSet")["spec"]["template"]


def test_labels_and_annotations_are_added_and_ours_win() -> None:
    metadata = template(
        labels={"team": "a", "pagelet.io/component": "x"},
        annotations={"note": "n", "cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
    )["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["labels"]["pagelet.io/component"] == "engine"
    assert metadata["annotations"] == {"note": "n", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_variables_are_merged_by_name_and_ours_alone_stay_ours() -> None:
    given = [{"name": "A", "value": "1"}, {"name": "TMPDIR", "value": "/t"}, {"name": "PAGELET_LISTEN_ADDRESS"}]
    env = {variable["name"]: variable.get("value") for variable in engine(env=given)["env"]}
    assert env == {"PAGELET_LISTEN_ADDRESS": "0.0.0.0", "TMPDIR": "/t", "A": "1"}


def test_a_container_named_engine_is_merged_into_ours_but_for_what_makes_it_an_engine() -> None:
    entry = {
        "name": "engine",
        "image": "mine",
        "command": ["sh"],
        "args": [],
        "ports": [],
        "livenessProbe": {},
        "securityContext": {"privileged": True},
        "imagePullPolicy": "Always",
        "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    }
    merged, plain = engine(containers=[entry]), engine()
    assert merged["env"] == [*plain["env"], *entry["env"]]
    assert merged["volumeMounts"] == [*plain["volumeMounts"], *entry["volumeMounts"]]
    assert (merged["imagePullPolicy"], merged["envFrom"]) == ("Always", entry["envFrom"])
    for ours in ("image", "command", "args", "ports", "livenessProbe", "securityContext"):
        assert merged[ours] == plain[ours]
    assert len(template(containers=[entry])["spec"]["containers"]) == 1


def test_sidecars_come_after_the_engine_and_are_locked_down_like_it() -> None:
    weak = {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}, "readOnlyRootFilesystem": False}
    spec = template(
        containers=[{"name": "logs", "image": "l", "securityContext": weak}],
        initContainers=[{"name": "proxy", "image": "p", "restartPolicy": "Always"}],
    )["spec"]
    assert [container["name"] for container in spec["containers"]] == ["engine", "logs"]
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["containers"][1]["securityContext"] == {**restricted, "readOnlyRootFilesystem": False}
    [proxy] = spec["initContainers"]
    assert proxy["securityContext"] == {**restricted, "readOnlyRootFilesystem": True}
    assert proxy["restartPolicy"] == "Always"


def test_a_model_that_each_pod_fetches_is_there_before_the_users_init_containers() -> None:
    model = {"source": {"huggingFace": {"repo": "m"}}, "storage": {"ephemeral": {}}}
    additions = {"initContainers": [{"name": "warm", "image": "w"}]}
    children = of(document(model=model, podTemplate=additions))
    init = one(children, "ReplicaSet")["spec"]["template"]["spec"]["initContainers"]
    assert [container["name"] for container in init] == ["fetch", "warm"]


def test_scratch_folders_may_be_the_users_own() -> None:
    volumes = [{"name": "disk", "emptyDir": {"sizeLimit": "9Gi"}}]
    mounts = [{"name": "disk", "mountPath": "/tmp"}]
    spec = template(volumes=volumes, volumeMounts=mounts)["spec"]
    assert volumes[0] in spec["volumes"]
    assert [m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == "/tmp"] == mounts


def test_what_may_not_be_replaced_is_given_twice_and_so_refused_by_the_api_server() -> None:
    mounts = [{"name": "disk", "mountPath": "/mnt/model"}]
    spec = template(volumes=[{"name": "model", "emptyDir": {}}], volumeMounts=mounts)["spec"]
    assert [volume["name"] for volume in spec["volumes"]].count("model") == 2
    assert [m["mountPath"] for m in spec["containers"][0]["volumeMounts"]].count("/mnt/model") == 2


def test_nonsense_inside_an_entry_is_handed_on() -> None:
    entry = {"name": "engine", "env": [{"value": "no name"}, 5], "volumeMounts": "all"}
    rendered = engine(containers=[entry], volumeMounts=[{"name": "w"}])
    assert {"value": "no name"} in rendered["env"]
    assert rendered["volumeMounts"][-2:] == ["all", {"name": "w"}]
    assert template(containers=[{"name": "side", "image": "s", "securityContext": 7}])
