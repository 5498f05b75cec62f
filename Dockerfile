# syntax=docker/dockerfile:1
FROM python:3.11.14-slim-trixie AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/crewstream
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# Nothing gets in that the lock has no hash of; it also holds the tools of development, so it
# constrains what the worker needs.
RUN uv pip install --no-cache --python /opt/crewstream --require-hashes \
    --requirements pyproject.toml --extra worker --constraints requirements.lock
COPY topics.yaml ./
COPY examples ./examples
COPY schemas ./schemas
COPY streams ./streams
COPY agents ./agents
RUN uv build --no-cache --wheel --out-dir /dist \
    && uv pip install --no-cache --python /opt/crewstream --no-deps /dist/*.whl

FROM python:3.11.14-slim-trixie
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp crewstream \
    && install --directory --owner=crewstream --group=crewstream /data
COPY --from=build /opt/crewstream /opt/crewstream
# CrewAI reports home and OpenTelemetry looks for a collector unless they are told not to.
ENV PATH=/opt/crewstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    CREWAI_DISABLE_TELEMETRY=true \
    CREWAI_DISABLE_TRACKING=true \
    OTEL_SDK_DISABLED=true \
    CREWSTREAM_HTTP_PORT=8180 \
    CREWSTREAM_DATA_DIR=/data
USER crewstream
WORKDIR /data
EXPOSE 8180
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8180/health', timeout=4)"]
ENTRYPOINT ["crewstream"]
CMD ["--help"]
