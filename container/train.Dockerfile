# The training image: `docker run IMAGE train` implements SageMaker's training contract (docs/training.md).
# usage: docker build -f container/train.Dockerfile -t petbox-train .     (from the checkout's root)
#        --build-arg BASE=tensorflow/tensorflow:2.20.0                    (without GPU)
ARG BASE=tensorflow/tensorflow:2.20.0-gpu
# hadolint ignore=DL3006  # the tag is in BASE
FROM ${BASE}
SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]

# A venv on top of the base's own packages: TensorFlow and its CUDA libraries stay where they are,
# and no package of the distribution is overwritten.
RUN python3 -m venv --without-pip --system-site-packages /opt/venv; \
    /opt/venv/bin/python -c 'import tensorflow'
ENV PATH=/opt/venv/bin:$PATH

COPY locks/train.txt /opt/petbox/locks/
# Packages without a wheel are built with the locked tools. Locked packages that the base has stay
# as they are.
RUN set -- python -m pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --no-build-isolation --require-hashes --requirement; \
    sed -nE '/^(setuptools|wheel)==/,/[^\\]$/p' /opt/petbox/locks/train.txt | "$@" /dev/stdin; \
    "$@" /opt/petbox/locks/train.txt; \
    python -c 'import boto3, lxml, matplotlib, official.core, PIL, pycocotools, rich, tf_keras'

# Programs write to /opt/ml and /tmp only.
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
