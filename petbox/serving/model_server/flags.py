"""The flags of tensorflow_model_server 2.20, so that this server can replace it.

All flags of the original are accepted; those without effect here cause a warning. Unknown flags
cause a warning and are ignored, as in the original.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from petbox.serving.model_server.status import StatusError


@dataclass(frozen=True)
class Flags:
    """The flags with an effect here, with the original's defaults."""

    port: int = 8500  # for gRPC; nothing listens on it
    rest_api_port: int = 0
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    allow_version_labels_for_unavailable_models: bool = False
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    model_name: str = "default"
    model_base_path: str = ""
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    file_system_poll_wait_seconds: int = 1
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    saved_model_tags: str = "serve"
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1
    version: bool = False


# Accepted without effect: this server has no gRPC, batching, metrics or accelerators, and one
# thread per connection.
NO_EFFECT: dict[str, type] = {
    name: kind
    for kind, names in {
        bool: """
            enable_batching enable_grpc_healthcheck_service enable_per_model_batching_parameters
            enable_profiler enable_serialization_as_tensor_content
            enable_signature_method_name_check flush_filesystem_caches prefer_tflite_model
            remove_unused_fields_from_bundle_metagraph skip_initialize_tpu use_alts_credentials
            xla_cpu_compilation_enabled xla_gpu_compilation_enabled""",
        int: """
            grpc_max_threads num_load_threads num_tflite_interpreters_per_pool num_tflite_pools
            num_unload_threads rest_api_num_threads""",
        float: "per_process_gpu_memory_fraction",
        str: """
            batching_parameters_file grpc_channel_arguments grpc_socket_path mixed_precision
            monitoring_config_file platform_config_file ssl_config_file
            tensorflow_session_config_file thread_pool_factory_config_file""",
    }.items()
    for name in names.split()
}
# No client notices that they have no effect, and container/serve always passes them.
UNNOTICED = {"grpc_socket_path", "num_load_threads", "num_unload_threads", "rest_api_num_threads"}
BOOLEANS = {"": True, "true": True, "1": True, "false": False, "0": False}


def parse(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags, and warnings about those without effect."""
    ours: dict[str, type] = {f.name: type(f.default) for f in dataclasses.fields(Flags)}
    kinds = {**NO_EFFECT, **ours}
    values: dict[str, Any] = {}
    warnings = []
    for argument in arguments:
        match = re.fullmatch(r"--(\w+)(?:=(.*))?", argument, re.DOTALL)
        kind = kinds.get(match[1]) if match else None
        # The original does not accept `--name value` either.
        if match is None or kind is None or (match[2] is None and kind is not bool):
            warnings.append(f"unknown argument: {argument}")
            continue
        value = _value(match[1], match[2] or "", kind)
        if match[1] in ours:
            values[match[1]] = value
        if match[1] in NO_EFFECT and match[1] not in UNNOTICED:
            warnings.append(f"{argument}: has no effect here")
    return Flags(**values), warnings


def _value(name: str, text: str, kind: type) -> Any:
    try:
        if kind in (int, float) and "_" in text:  # which Python allows in numbers
            raise ValueError(text)
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise StatusError(f"Couldn't interpret value {text} for flag {name}.") from None
