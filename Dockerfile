# Two images from one file: `api` is small and has no torch; `worker` holds the model.
# docker build --target api -t distilq-api .
# docker build --target worker -t distilq-worker .
# docs/deploy.md says what a build can be told, and what of this is proved.

ARG BASE=python:3.12-slim

# Empty, unless a build is given --build-context NAME=DIR: wheels that are taken before those of an
# index, and a model that is baked in at /model.
FROM scratch AS wheels
FROM scratch AS model

FROM ${BASE} AS base
# Nothing is written where the packages are; HOME is where something may be.
ENV PATH=/opt/distilq/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/wheels
# Without a pip of its own, which nobody needs where it runs.
RUN python -m venv --without-pip /opt/distilq
WORKDIR /build

FROM build AS build-api
# Of pyproject.toml, by commas: otel for traces, s3 for files there.
ARG EXTRAS=otel
COPY . .
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/distilq install -c constraints.txt ".[api${EXTRAS:+,$EXTRAS}]"

FROM build AS build-torch
COPY constraints.txt ./
# cpu or cuda. The index's own torch for Linux is the one for CUDA; TORCH_INDEX has the one without,
# and if it is empty, so does the directory of wheels.
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    case "$TORCH" in \
    cpu) pip --python /opt/distilq install --no-deps -c constraints.txt \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch ;; \
    cuda) ;; \
    *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 1 ;; \
    esac

FROM build-torch AS build-worker
ARG EXTRAS=otel
COPY . .
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/distilq install -c constraints.txt ".[worker${EXTRAS:+,$EXTRAS}]"

FROM base AS api
# As distilq up sets it: with glibc's own eight heaps per core the API takes twice the memory.
ENV MALLOC_ARENA_MAX=2
COPY --from=build-api /opt/distilq /opt/distilq
# A volume that is mounted here belongs to whom the directory does.
RUN install -d -o 10001 -g 10001 /files
# A number, so that whoever runs it can see that it is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "distilq.api.alive"]
CMD ["gunicorn", "-c", "python:distilq.api.gunicorn_conf", "distilq.api.wsgi:app", "-b", "0.0.0.0:8000"]

FROM base AS worker
# What the hub gives is kept there.
ENV HF_HOME=/models HF_HUB_DISABLE_TELEMETRY=1
COPY --from=build-worker /opt/distilq /opt/distilq
COPY --from=model --chown=10001:10001 / /model/
RUN install -d -o 10001 -g 10001 /models
USER 10001:10001
# Celery's warm shutdown: running jobs are finished first.
STOPSIGNAL SIGTERM
# A model may have to be fetched first; with Redis away it is unhealthy too, and so are all others.
HEALTHCHECK --interval=30s --timeout=15s --start-period=300s CMD ["python", "-m", "distilq.worker.alive"]
CMD ["celery", "-A", "distilq.worker.app", "worker", "--loglevel=WARNING"]
