# Any Debian-like image with Python 3.11 or newer and venv serves as the base.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Tracebacks name lines; the columns too would cost 0.6 MiB of the memory of each sidecar.
ENV PYTHONNODEBUGRANGES=1
# Both secrets are optional: pip's settings and the certificates of a machine that reaches its index in its own way.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=bind,source=requirements-build.lock,target=/src/requirements-build.lock \
    python3 -m venv /opt/build && /opt/build/bin/pip install -qq --no-cache-dir --require-hashes -r /src/requirements-build.lock
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=bind,source=requirements.lock,target=/src/requirements.lock \
    python3 -m venv /opt/backup-sidecar && /opt/backup-sidecar/bin/pip install -qq --no-cache-dir --require-hashes -r /src/requirements.lock
COPY . /src
RUN /opt/build/bin/pip wheel -qq --no-index --no-deps --no-build-isolation --wheel-dir /wheel /src \
    && /opt/backup-sidecar/bin/pip install -qq --no-index --no-deps /wheel/*.whl \
    && /opt/backup-sidecar/bin/pip uninstall -qq --yes pip


FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="backup-sidecar" \
      org.opencontainers.image.description="Backs up the labelled containers of an application and proves that the backups restore" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
# glibc gives freed memory back from 128 KiB on: without that, the buffers of a few runs stay for good. One arena for
# all threads, which rarely allocate side by side: the leftovers of more are 0.8 MiB.
ENV PATH=/opt/backup-sidecar/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_ARENA_MAX=1
RUN groupadd --gid 10001 sidecar \
    && useradd --uid 10001 --gid sidecar --home-dir /var/lib/sidecar --no-create-home --shell /usr/sbin/nologin sidecar \
    && install -d -o sidecar -g sidecar -m 750 /var/lib/sidecar /var/lib/sidecar/artifacts /var/lib/sidecar/work /var/lib/sidecar/tmp \
    && install -d /etc/sidecar \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/backup-sidecar /opt/backup-sidecar
EXPOSE 8000
# By the socket in the work folder, because config.yaml may set another port; without the CLI, because that is cheap.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --start-interval=1s CMD ["python3", "-ISc", "\
import os, socket\n\
s = socket.socket(socket.AF_UNIX)\n\
s.connect(os.environ.get('SIDECAR_PATHS_WORKDIR', '/var/lib/sidecar/work') + '/sidecar.sock')\n\
s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')\n\
raise SystemExit(b' 200 ' not in s.recv(64))"]
# It starts as root to join the group of the engine's socket and to own its folders, and then becomes `sidecar` (10001).
ENTRYPOINT ["backup-sidecar"]
CMD ["serve"]
