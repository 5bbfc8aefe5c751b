# Two images from one file: `api` is small and has no torch; `worker` holds the model.
# docker build --target api -t distilq-api .

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 distilq
WORKDIR /build

FROM base AS source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY distilq distilq
COPY api api
COPY worker worker

FROM base AS api
# As distilq up sets it: with glibc's own eight heaps per core the API takes twice the memory.
ENV MALLOC_ARENA_MAX=2
RUN --mount=from=source,source=/build,target=/build,rw pip install -c constraints.txt '.[api]'
# A volume that is mounted here belongs to whom the directory does.
RUN install -d -o distilq /files
USER distilq
WORKDIR /home/distilq
EXPOSE 8000
CMD ["gunicorn", "-c", "python:distilq.api.gunicorn_conf", "distilq.api.wsgi:app", "-b", "0.0.0.0:8000"]

FROM base AS worker
RUN --mount=from=source,source=/build,target=/build,rw pip install -c constraints.txt '.[worker]'
USER distilq
WORKDIR /home/distilq
# SIGTERM is Celery's warm shutdown: running jobs are finished first.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "distilq.worker.app", "worker", "--loglevel=WARNING"]
