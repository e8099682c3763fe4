"""Names that two or more parts must agree on: ports, paths, environment variables, labels, metrics.

A name used by one part alone lives with that part.
"""

GROUP = "pagelet.io"
VERSION = "v1alpha1"

# Ports of the containers. Health and metrics have a port of their own: the kubelet's probes speak no TLS.
ENGINE_GRPC_PORT = 9000
ENGINE_OPS_PORT = 9001
ENGINE_RANKS_PORT = 9002  # of an engine that is spread over pods: where the ranks of the other pods find rank 0
GATEWAY_HTTP_PORT = 8000
GATEWAY_OPS_PORT = 8001

# Ops paths, the same in engine and gateway.
LIVE_PATH = "/health"
READY_PATH = "/ready"
METRICS_PATH = "/metrics"

# Paths inside containers. The local runtime rewrites them to folders of this machine in command, args and env, so no
# configuration file may contain one.
MODEL_MOUNT = "/mnt/model"
CONFIG_MOUNT = "/etc/pagelet"
CONFIG_FILE = "config.json"
SOURCE_MOUNT = "/mnt/source"  # the model Job: where a volume that holds the model already is mounted, read-only
STORAGE_MOUNT = "/mnt/storage"  # the model Job and the fetching init container: where a fetched model is written
CREDENTIALS_MOUNT = "/etc/pagelet-credentials"  # keys of Secrets and ConfigMaps that a source needs, as files
TERMINATION_LOG = "/dev/termination-log"  # the kubelet's default: at most 4096 bytes reach the pod's status

# Environment variables of containers.
LISTEN_ADDRESS_ENV = "PAGELET_LISTEN_ADDRESS"  # the address servers bind: 0.0.0.0 in a cluster, the pod's locally
HOSTS_FILE_ENV = "PAGELET_HOSTS_FILE"  # names looked up here before DNS, in the form of /etc/hosts

# Labels and annotations on everything rendered from an InferenceService.
LABEL_SERVICE = f"{GROUP}/inference-service"
LABEL_COMPONENT = f"{GROUP}/component"
LABEL_REVISION = f"{GROUP}/revision"
COMPONENT_ENGINE = "engine"
COMPONENT_GATEWAY = "gateway"
COMPONENT_MODEL = "model"  # the Job that fetches or verifies the model

# Metrics of an engine, in the field's names, so that existing dashboards and endpoint pickers work unchanged.
METRIC_REQUESTS_RUNNING = "vllm:num_requests_running"
METRIC_REQUESTS_WAITING = "vllm:num_requests_waiting"
METRIC_KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"  # 0 to 1, the field's misnomer kept
METRIC_CACHE_CONFIG = "vllm:cache_config_info"
METRIC_PREFIX_QUERIES = "vllm:prefix_cache_queries"  # counters: exposed with _total
METRIC_PREFIX_HITS = "vllm:prefix_cache_hits"
METRIC_PREEMPTIONS = "vllm:num_preemptions"
METRIC_PROMPT_TOKENS = "vllm:prompt_tokens"
METRIC_GENERATION_TOKENS = "vllm:generation_tokens"
METRIC_REQUEST_SUCCESS = "vllm:request_success"
METRIC_TTFT = "vllm:time_to_first_token_seconds"
METRIC_INTER_TOKEN = "vllm:inter_token_latency_seconds"
METRIC_E2E_LATENCY = "vllm:e2e_request_latency_seconds"
METRIC_QUEUE_TIME = "vllm:request_queue_time_seconds"
METRIC_ITERATION_TOKENS = "vllm:iteration_tokens_total"  # a histogram, for all its name
# Our own, where the field has no name.
METRIC_BLOCKS_IN_USE = "pagelet:kv_blocks_in_use"
METRIC_BLOCKS_CACHED = "pagelet:kv_blocks_cached"
METRIC_BLOCKS_TOTAL = "pagelet:kv_blocks_total"
METRIC_HOST_BLOCKS_IN_USE = "pagelet:kv_host_blocks_in_use"
METRIC_HOST_BLOCKS_CACHED = "pagelet:kv_host_blocks_cached"
METRIC_HOST_BLOCKS_TOTAL = "pagelet:kv_host_blocks_total"
METRIC_BLOCKS_SAVED = "pagelet:kv_blocks_saved"
METRIC_BLOCKS_LOADED = "pagelet:kv_blocks_loaded"
METRIC_BROKEN = "pagelet:requests_broken"
# What a gateway sees of the same requests, in names of its own: dashboards add up the field's names over all pods.
METRIC_GATEWAY_RUNNING = "pagelet:gateway_requests_running"
METRIC_GATEWAY_TTFT = "pagelet:gateway_time_to_first_token_seconds"
METRIC_GATEWAY_INTER_TOKEN = "pagelet:gateway_inter_token_latency_seconds"
METRIC_GATEWAY_E2E_LATENCY = "pagelet:gateway_e2e_request_latency_seconds"
METRIC_GATEWAY_PROMPT_TOKENS = "pagelet:gateway_prompt_tokens"
METRIC_GATEWAY_GENERATION_TOKENS = "pagelet:gateway_generation_tokens"
METRIC_GATEWAY_CHOICES = "pagelet:gateway_choices"
