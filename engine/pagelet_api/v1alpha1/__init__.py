"""The `InferenceService` of pagelet.io/v1alpha1: its types, its rules, and the CustomResourceDefinition made of them.

The types are the single source: the CRD's schema, the page `docs/configuration.md` and the checks of a local file all
come from them. A field exists here only once something acts on it. Knows no cluster and no YAML.
"""

from pagelet_api.v1alpha1.inference_service import API_VERSION, KIND, InferenceService, ObjectMeta
from pagelet_api.v1alpha1.manifest import ManifestError, load_inference_service
from pagelet_api.v1alpha1.model_source import (
    CaBundleRef,
    HuggingFaceSource,
    ModelSource,
    ModelStorage,
    PvcSource,
    PvcStorage,
    S3Source,
)
from pagelet_api.v1alpha1.pod_template import PodTemplate
from pagelet_api.v1alpha1.spec import (
    AcceleratorSpec,
    EgressRule,
    EngineSpec,
    GatewaySpec,
    InferenceServiceSpec,
    ModelSpec,
    Resources,
    RolloutSpec,
    RolloutStrategy,
    SecuritySpec,
)
from pagelet_api.v1alpha1.status import (
    CapacityStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    InferenceServiceStatus,
    ModelStatus,
    RevisionStatus,
)

__all__ = [
    "API_VERSION",
    "KIND",
    "AcceleratorSpec",
    "CaBundleRef",
    "CapacityStatus",
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "EgressRule",
    "EngineSpec",
    "GatewaySpec",
    "HuggingFaceSource",
    "InferenceService",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "ManifestError",
    "ModelSource",
    "ModelSpec",
    "ModelStatus",
    "ModelStorage",
    "ObjectMeta",
    "PodTemplate",
    "PvcSource",
    "PvcStorage",
    "Resources",
    "RevisionStatus",
    "RolloutSpec",
    "RolloutStrategy",
    "S3Source",
    "SecuritySpec",
    "load_inference_service",
]
