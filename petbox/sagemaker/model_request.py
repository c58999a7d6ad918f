"""CreateModel's request, for an endpoint or a transform job."""

from __future__ import annotations

from typing import Any

from petbox.aws import names as aws_names
from petbox.sagemaker.endpoint import names
from petbox.sagemaker.endpoint.spec import EndpointSpec
from petbox.sagemaker.shared_options import vpc_config
from petbox.sagemaker.transform.options import TransformOptions


def model_request(owner: str, options: EndpointSpec | TransformOptions) -> dict[str, Any]:
    """The model's name is that of its owner and a fingerprint."""
    models = getattr(options, "multi_model", None)
    content = names.present(
        PrimaryContainer=names.present(
            Image=options.image,
            ModelDataUrl=f"{models.rstrip('/')}/" if models else options.model_data,
            Mode="MultiModel" if models else None,
            Environment=aws_names.pairs(options.env),
        ),
        ExecutionRoleArn=options.role,
        VpcConfig=vpc_config(options),
        EnableNetworkIsolation=options.network_isolation or None,
    )
    tags = names.tag_list(names.tags(owner, options.tag))
    return {"ModelName": names.with_fingerprint(owner, content), **content, "Tags": tags}
