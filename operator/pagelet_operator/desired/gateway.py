"""The gateway's objects: Deployment, ConfigMap, Service, and a disruption budget from two replicas on.

A Deployment, unlike the engines: gateways hold no devices, so the usual surge is right for them.
"""

from pagelet_api import names
from pagelet_api.config import GatewayConfig
from pagelet_api.gateway_memory import GATEWAY_MEMORY_BYTES
from pagelet_api.v1alpha1 import InferenceService, Resources

from pagelet_operator.desired.facts import Facts
from pagelet_operator.desired.metadata import (
    CONFIG_HASH_ANNOTATION,
    KubernetesObject,
    engine_service_name,
    gateway_name,
    labels,
    metadata,
    selector,
)
from pagelet_operator.desired.pods import (
    GRACE_MARGIN_S,
    config_map,
    config_mount,
    config_volume,
    container,
    disruption_budget,
    pod_template,
    resource_amounts,
    serving,
)
from pagelet_operator.revision import content_hash

_STARTUP_TIMEOUT_S = 60
_LEAVING_S = 5
"""From when a gateway is told to go until it stops listening: the time in which every node learns to send no more."""


_MEMORY = {"limits": f"{GATEWAY_MEMORY_BYTES >> 20}Mi", "requests": "512Mi"}
"""Where the file names none: the most that a gateway keeps itself to, and about what it takes when little is asked."""


def gateway_config(service: InferenceService) -> GatewayConfig:
    """What the gateway's containers are started with."""
    return GatewayConfig(
        model_name=service.served_name,
        aliases=service.spec.model.aliases,
        engine_host=f"{engine_service_name(service)}.{service.metadata.namespace}.svc",
        engine_port=names.ENGINE_GRPC_PORT,
        request_timeout_s=service.spec.gateway.request_timeout.seconds,
        drain_timeout_s=service.spec.engine.drain_timeout.seconds,
    )


def gateway_children(service: InferenceService, facts: Facts) -> list[KubernetesObject]:
    component, name = names.COMPONENT_GATEWAY, gateway_name(service)
    config = gateway_config(service).to_json()
    children = [
        config_map(metadata(service, name, component), {names.CONFIG_FILE: config}, immutable=False),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(service, name, component),
            "spec": {
                "replicas": service.spec.gateway.replicas,
                "selector": {"matchLabels": selector(service, component)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": _pod_template(service, config, facts),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(service, service.metadata.name, component),
            "spec": {
                "type": "ClusterIP",
                "selector": selector(service, component),
                "ports": [{"name": "http", "port": facts.http_port, "targetPort": "http", "protocol": "TCP"}],
            },
        },
    ]
    if service.spec.gateway.replicas > 1:
        children.append(disruption_budget(metadata(service, name, component), selector(service, component)))
    return children


def _pod_template(service: InferenceService, config: str, facts: Facts) -> KubernetesObject:
    component = names.COMPONENT_GATEWAY
    gateway = serving(
        container(
            "gateway",
            facts.gateway_image,
            ["python", "-m", "pagelet_gateway"],
            [
                *("--config", f"{names.CONFIG_MOUNT}/{names.CONFIG_FILE}"),
                *("--http-port", str(facts.http_port)),
                *("--ops-port", str(facts.gateway_ops_port)),
            ],
            [config_mount()],
            _resources(service.spec.gateway.resources),
        ),
        {"http": facts.http_port, "ops": facts.gateway_ops_port},
        # Not the readiness path: a gateway that waits for an engine is healthy, however long that takes.
        startup_path=names.LIVE_PATH,
        startup_timeout_s=_STARTUP_TIMEOUT_S,
    )
    return pod_template(
        service,
        labels(service, component),
        # Changes with the configuration, and so replaces the pods that read the old one.
        {CONFIG_HASH_ANNOTATION: content_hash(config)},
        [{**gateway, "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVING_S}}}}],
        [config_volume(gateway_name(service), names.CONFIG_FILE)],
        grace_s=_LEAVING_S + service.spec.engine.drain_timeout.seconds + GRACE_MARGIN_S,
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(service, component)},
            }
        ],
    )


def _resources(resources: Resources) -> KubernetesObject:
    """As the file has them; its own amount of memory stands, be it limit or request."""
    amounts = resource_amounts(resources)
    if any("memory" in named for named in amounts.values()):
        return amounts
    return {kind: {"memory": memory, **amounts.get(kind, {})} for kind, memory in _MEMORY.items()}
