# mapush in a container; docs/install.md says how to run it. For the CPU, or for an NVIDIA GPU:
#   docker build -t mapush .
#   docker build -t mapush:gpu --build-arg TORCH=cu130 --build-arg EXTRAS=viewer,gpu .
FROM python:3.11-slim-bookworm
ARG TORCH=cpu
ARG EXTRAS=viewer

# draws films without a display
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libosmesa6 \
    && rm -rf /var/lib/apt/lists/*

# PyTorch first: this layer stays when only the code changes
WORKDIR /opt/mapush
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url https://download.pytorch.org/whl/${TORCH} torch

COPY pyproject.toml README.md LICENSE pytest_mapush_harness.py ./
COPY mapush ./mapush
COPY harness ./harness
COPY isaac_standin ./isaac_standin
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

# so that `docker run --user` works: caches go to /tmp, and the user needs no entry in /etc/passwd
ENV HOME=/tmp USER=mapush NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
STOPSIGNAL SIGINT
EXPOSE 8080
ENTRYPOINT ["mapush"]
CMD ["watch", "--viewer", "web", "--host", "0.0.0.0", "--port", "8080"]
