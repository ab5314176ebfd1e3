# Pannier's two images, for amd64 and arm64:
#
#   docker build --target sidecar  --tag pannier-sidecar  .
#   docker build --target operator --tag pannier-operator .
#
# BASE is any Linux image with Python 3.11 or newer, its venv module and the usual tools (sh, find).
# Where pip needs a mirror, a proxy or a CA, give its configuration as a secret, which no layer
# keeps: --secret id=pip,src=pip.conf
# The same source and base give the same image, bit for bit, where the builder sets the times:
# podman build --timestamp 0, or docker buildx build --build-arg SOURCE_DATE_EPOCH=0 --output
# type=image,rewrite-timestamp=true
ARG BASE=python:3.11-slim-bookworm

# What is installed: a virtual environment without pip, made by the pip of another. Nothing is
# compiled: each dependency is there as a wheel for both architectures, or is Python alone.
FROM ${BASE} AS dependencies
ENV PIP_CONSTRAINT=/source/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/pannier
WORKDIR /source
# Apart from the source, so that a change of the source does not fetch them anew.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && /tools/bin/pip --python /opt/pannier/bin/python3 install --no-compile --requirement requirements.txt

# Byte code that is checked neither by time nor by content: file times may be set by the builder,
# and a read-only root could not keep what is compiled at each start.
FROM dependencies AS sidecar-environment
COPY LICENSE README.md ./
COPY operator operator
COPY sidecar sidecar
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /tools/bin/pip --python /opt/pannier/bin/python3 install --no-compile . \
    && python3 -m compileall -f -q --invalidation-mode unchecked-hash /opt/pannier/lib

FROM dependencies AS operator-environment
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["operator"], sep="\n")' > requirements.txt \
    && /tools/bin/pip --python /opt/pannier/bin/python3 install --no-compile --requirement requirements.txt
COPY LICENSE README.md ./
COPY operator operator
COPY sidecar sidecar
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /tools/bin/pip --python /opt/pannier/bin/python3 install --no-compile '.[operator]' \
    && python3 -m compileall -f -q --invalidation-mode unchecked-hash /opt/pannier/lib

# What runs: the base, of which no program changes its user any more, and the environment.
FROM ${BASE} AS runtime
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
ENV PATH=/opt/pannier/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
ARG VERSION=0.1.0
LABEL org.opencontainers.image.vendor="Pannier" \
      org.opencontainers.image.url="https://pannier.dev" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
WORKDIR /
# As numbers: Kubernetes can tell from them that it is not root.
USER 65532:65532
ENTRYPOINT ["pannier"]

FROM runtime AS operator
LABEL org.opencontainers.image.title="pannier-operator" \
      org.opencontainers.image.description="Pushes the configuration of StoreBackend resources to every Pannier sidecar of a cluster"
COPY --from=operator-environment /opt/pannier /opt/pannier
# The stream with its webhook, and health with metrics.
EXPOSE 8443 9443 3901
CMD ["operator"]

FROM runtime AS sidecar
LABEL org.opencontainers.image.title="pannier-sidecar" \
      org.opencontainers.image.description="A key-value store beside every application: HTTP on localhost over pooled connections to memory, Redis or HDFS"
COPY --from=sidecar-environment /opt/pannier /opt/pannier
# Records, on localhost unless --listen says otherwise, and health with metrics and the status page.
EXPOSE 3900 3901
CMD ["sidecar"]
