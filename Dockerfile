# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN pip install --require-hashes -r requirements/build.lock \
 && python -m venv /opt/tallyhook \
 && /opt/tallyhook/bin/pip install --require-hashes -r requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY runtime runtime
COPY schemas schemas
COPY outbox outbox
COPY projections projections
COPY topology topology
COPY gateway gateway
COPY streams streams
COPY operations operations
COPY console console
COPY ops ops
COPY migrations migrations
# Every dependency is there by its hash already; the build itself may fetch nothing.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/tallyhook/bin/pip install --no-deps /wheels/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home tallyhook
COPY --from=build /opt/tallyhook /opt/tallyhook
ENV PATH=/opt/tallyhook/bin:$PATH PYTHONUNBUFFERED=1
# No `.env` is looked for here: settings come from the process environment.
WORKDIR /
USER tallyhook
ENTRYPOINT ["tallyhook"]
CMD ["--help"]
