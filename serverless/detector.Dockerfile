# The detector in Lambda, with TensorFlow: serverless/detector.py and a SavedModel, no endpoint.
# usage: docker build -f serverless/detector.Dockerfile -t petbox-detector .   (from the checkout's root)
#        --build-arg MODEL=model/pets                        (another model)
#        --target bare                                       (no model: the function fetches it from S3)
ARG BASE=public.ecr.aws/lambda/python:3.12
# hadolint ignore=DL3006  # the tag is in BASE
FROM ${BASE} AS bare
SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]

# TensorFlow without Keras and the others that the detector never imports (scripts/lock.sh).
# Lambda's own runtime is in the base.
COPY locks/detector_image.txt /opt/petbox/locks/
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --requirement /opt/petbox/locks/detector_image.txt; \
    python3 -c 'import aws_lambda_powertools, boto3, PIL, pybase64, python_multipart, tensorflow'

WORKDIR /var/task
COPY petbox petbox
COPY serverless/detector.py ./
RUN python3 -m compileall -q .
# Lambda runs every image as an unprivileged user that can write to /tmp only, whatever USER says.
USER 993:990
CMD ["detector.handler"]

FROM bare
ARG MODEL=model/toy
COPY ${MODEL} model/
RUN python3 -c 'import pathlib; from petbox.serving import in_process; print(in_process.find_model(pathlib.Path("model")))'
