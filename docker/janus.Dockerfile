# Janus as Debian packages it, for docker/compose.yml. REST on 8088, WebSockets on 8188.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends janus \
    && rm -rf /var/lib/apt/lists/*
# hadolint ignore=DL3066
USER janus
EXPOSE 8088 8188
CMD ["janus", "--disable-colors"]
