# The unit tests on the Python of the base image; the working tree comes as a tar on standard input.
ARG BASE=python:3.13-slim
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends git make sqlite3 zstd
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    --mount=type=bind,source=requirements-dev.lock,target=/requirements-dev.lock \
    python3 -m venv /venv && /venv/bin/pip install -qq --no-cache-dir --require-hashes -r /requirements-dev.lock
WORKDIR /src
CMD ["sh", "-ec", "tar --extract; /venv/bin/pip install -qq --no-index --no-deps --no-build-isolation --editable .; exec make unit PYTHON=/venv/bin/python"]
