# What compares versions in Kubernetes, deploy/kubernetes/argo, apart from the image that serves:
#
#   docker build --file deploy/rollout.Dockerfile --tag ghcr.io/OWNER/textclf-rollout .
#
# BASE_IMAGE is another base with Python 3.11 and pip.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS packages
COPY requirements/rollout.txt /tmp/
RUN --mount=type=secret,id=pip-config --mount=type=secret,id=ca-bundle set -eu; \
  if [ -s /run/secrets/pip-config ]; then export PIP_CONFIG_FILE=/run/secrets/pip-config; fi; \
  if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; \
  python3 -m venv --without-pip /app/.venv; \
  python3 -m pip --python /app/.venv/bin/python --disable-pip-version-check --no-cache-dir install \
    --no-deps --only-binary :all: --require-hashes --quiet -r /tmp/rollout.txt

FROM ${BASE_IMAGE}
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app PYTHONUNBUFFERED=1
COPY --from=packages /app /app
COPY textclf /app/textclf
COPY scripts /app/scripts
WORKDIR /app
USER 1034:1034
ENTRYPOINT []
CMD ["python", "scripts/assess_pairs.py", "--help"]
