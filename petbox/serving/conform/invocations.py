"""What SageMaker demands of POST /invocations."""

from __future__ import annotations

from petbox.serving.conform.finding import Finding, fails, holds, judged
from petbox.serving.conform.http import Address, Answer, NoAnswer, ask
from petbox.serving.conform.payload import Payload
from petbox.serving.conform.start import ANSWER_LIMIT, NO_ROUTE, outcome

# As they can arrive from SageMaker, and one from nobody.
HEADERS = {
    "Accept": "application/json",
    "Host": "model.aws.local:8080",
    "X-Amzn-SageMaker-Custom-Attributes": "trace=petbox-conform",
    "X-Amzn-SageMaker-Inference-Id": "petbox-conform-1",
    "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
    "X-Amzn-SageMaker-Enable-Explanations": "`false`",
    "X-Amzn-SageMaker-Session-Id": "petbox-conform",
    "X-Never-Heard-Of": "yes",
}


def answered(at: Address, payload: Payload) -> Finding:
    came = outcome(at, payload)
    if isinstance(came, NoAnswer):
        return fails(f"POST /invocations: {came}")
    if came.status == 200:
        return judged(came.seconds < ANSWER_LIMIT, f"200 after {came.seconds * 1000:.0f} ms")
    if came.status in NO_ROUTE:
        return fails(f"there is no POST /invocations: {came}")
    if came.status < 500:
        return fails(
            f"{came}; give a request that the model takes: --request FILE --content-type TYPE"
        )
    return fails(f"POST /invocations: {came}")


def with_headers(at: Address, payload: Payload) -> Finding:
    headers = {**HEADERS, "Content-Type": payload.kind}
    answer: Answer = ask(at, "POST", "/invocations", payload.body, headers)
    if answer.status == 200:
        return holds(f"200 with {len(HEADERS)} of them")
    return fails(f"with {', '.join(HEADERS)}: {answer}")
