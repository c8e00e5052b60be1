# Two images from one file:
#   docker build --target service -t mintage/service:0.1.0 .     API and migrations; no torch in it
#   docker build --target worker  -t mintage/worker:0.1.0  .     both kinds of worker, with torch for CUDA
# A worker for machines without a GPU is several gigabytes smaller:
#   docker build --target worker --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu -t mintage/worker:0.1.0 .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# Nothing is written but below /tmp and the scratch folder, so the root file system can be mounted read-only.
ENV PATH=/opt/mintage/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MINTAGE_WORK_DIR=/var/lib/mintage
RUN groupadd --gid 10001 mintage \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mintage \
 && install --directory --owner mintage --group mintage --mode 0700 /var/lib/mintage

# The dependencies of each image, read from pyproject.toml: installed anew only where these lists or constraints.txt change.
FROM base AS requirements
WORKDIR /build
COPY pyproject.toml ./
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
write = lambda name, lines: open(name, 'w').write('\\n'.join(x for x in lines if not x.startswith('mintage['))); \
write('service.txt', project['dependencies'] + extras['service']); \
write('worker.txt', project['dependencies'] + extras['service'] + extras['workers'])"

# The code, as a wheel of all packages: the API reads the workers' torch-free specs.
FROM base AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY mintage mintage
COPY service service
COPY workers workers
COPY migrations migrations
RUN pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheel .

FROM base AS service-packages
WORKDIR /build
COPY --from=requirements /build/service.txt ./
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/mintage \
 && pip --python /opt/mintage install --quiet --no-cache-dir --constraint constraints.txt --requirement service.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/mintage install --quiet --no-cache-dir --no-deps /wheel/*.whl

FROM base AS worker-packages
WORKDIR /build
# Another place to look for torch; empty: PyPI alone, whose Linux wheels are built for CUDA.
ARG TORCH_INDEX_URL=
COPY --from=requirements /build/worker.txt ./
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/mintage \
 && pip --python /opt/mintage install --quiet --no-cache-dir --constraint constraints.txt --requirement worker.txt \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"}
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/mintage install --quiet --no-cache-dir --no-deps /wheel/*.whl

FROM base AS worker
# The graphics driver comes from the host, through the NVIDIA container toolkit.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=worker-packages /opt/mintage /opt/mintage
USER 10001:10001
WORKDIR /var/lib/mintage
# A worker is alive while its supervisor touches this file; asking Celery would fail while it is busy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["sh", "-c", "test $(( $(date +%s) - $(stat -c %Y \"$MINTAGE_WORK_DIR/worker-alive\") )) -lt 60"]
CMD ["python", "-m", "workers", "--queues", "gpu", "--slots", "1"]

FROM base AS service
COPY --from=service-packages /opt/mintage /opt/mintage
# The build fails where the API would need torch, or anything else that this image does not have.
RUN python -c "import service.main, service.prepare, service.modalities as m; m.specs()"
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "service.main:app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", \
     "--timeout-graceful-shutdown", "20"]
