# One image for all programs; docker-compose.yml says which one a container runs.
FROM python:3.13-slim-bookworm AS build
COPY . /src
RUN python -m venv /opt/dcp && /opt/dcp/bin/pip install --no-cache-dir /src

FROM python:3.13-slim-bookworm
# The id is fixed so that volumes keep their owner; nothing here needs root.
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/dcp dcp \
 && install -d -m 700 -o dcp -g dcp /var/lib/dcp \
 && install -d -m 755 -o dcp -g dcp /enrolment
COPY --from=build /opt/dcp /opt/dcp
ENV PATH=/opt/dcp/bin:$PATH DCP_RESOURCE_DIR=/var/lib/dcp PYTHONUNBUFFERED=1
USER dcp
WORKDIR /var/lib/dcp
VOLUME /var/lib/dcp
# The whole stack in one container, unless another command is given.
CMD ["dcp", "up", "--listen", "0.0.0.0:9080"]
EXPOSE 9080
