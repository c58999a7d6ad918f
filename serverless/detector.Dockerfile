# The detector in Lambda, with TensorFlow: serverless/detector.py and a SavedModel, no endpoint.
# usage: docker build -f serverless/detector.Dockerfile -t petbox-detector .   (from the checkout's root)
#        --build-arg MODEL=model/pets                        (another model)
#        --target bare                                       (none: the function finds it in S3)
ARG BASE=public.ecr.aws/lambda/python:3.12
# hadolint ignore=DL3006  # the tag is in BASE
FROM ${BASE} AS bare
SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]

# Of the lock what the detector imports, which is less than TensorFlow asks for: Keras is not among
# it. Lambda's own runtime is in the base.
ARG PACKAGES="\
    absl-py \
    astunparse \
    aws-lambda-powertools \
    boto3 \
    botocore \
    certifi \
    charset-normalizer \
    flatbuffers \
    gast \
    google-pasta \
    grpcio \
    idna \
    jmespath \
    ml-dtypes \
    numpy \
    opt-einsum \
    packaging \
    pillow \
    protobuf \
    pybase64 \
    python-dateutil \
    python-multipart \
    requests \
    s3transfer \
    six \
    tensorflow \
    termcolor \
    typing-extensions \
    urllib3 \
    wrapt"
COPY constraints.txt /opt/petbox/
# awk, for the base is a minimal system.
RUN awk -v "wanted= $PACKAGES " '/^[^ #]/ { split($1, name, "=="); here = index(wanted, " " name[1] " ") } here' \
        /opt/petbox/constraints.txt \
    | python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --requirement /dev/stdin; \
    python3 -c 'import aws_lambda_powertools, boto3, PIL, pybase64, python_multipart, tensorflow'

WORKDIR /var/task
COPY petbox petbox
COPY serverless/detector.py ./
RUN python3 -m compileall -q .
# As Lambda runs it, whatever stands here: nobody it knows, who can write to /tmp only.
USER 993:990
CMD ["detector.handler"]

FROM bare
ARG MODEL=model/toy
COPY ${MODEL} model/
RUN python3 -c 'import pathlib; from petbox.serving import in_process; print(in_process.find_model(pathlib.Path("model")))'
