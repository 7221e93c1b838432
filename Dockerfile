# Three images of one static binary each, which "make build" puts in bin/: nothing is compiled or downloaded here, so
# docker buildx makes every platform without emulation, and buildah works offline. This is for people that build images with
# an engine. "make images" and releases put theirs together with release/image, the same byte for byte wherever that is
# done; a test (test/release) holds both against each other.
#
#   docker build --target init .      the copier's image: /init
#   docker build --target webhook .   the admission server
#   docker build --target node .      the plugin of node mode

# TARGETARCH has no default of its own: BuildKit would take that over the platform it builds for.
FROM scratch AS init
ARG TARGETARCH
ARG VERSION
LABEL org.opencontainers.image.title="podinit init" \
      org.opencontainers.image.description="The init that podinit copies into pods: PID 1 that forwards signals, reaps, and waits." \
      org.opencontainers.image.source="https://github.com/podinit/podinit" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY bin/linux/${TARGETARCH:-amd64}/init /init
# Numeric, so that the kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/init"]

FROM scratch AS webhook
ARG TARGETARCH
ARG VERSION
LABEL org.opencontainers.image.title="podinit webhook" \
      org.opencontainers.image.description="The admission webhook that gives every pod a real PID 1." \
      org.opencontainers.image.source="https://github.com/podinit/podinit" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY bin/linux/${TARGETARCH:-amd64}/podinit-webhook /podinit-webhook
USER 65532:65532
ENTRYPOINT ["/podinit-webhook"]

FROM scratch AS node
ARG TARGETARCH
ARG VERSION
LABEL org.opencontainers.image.title="podinit node" \
      org.opencontainers.image.description="The plugin of a node's container runtime that gives every container a real PID 1." \
      org.opencontainers.image.source="https://github.com/podinit/podinit" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY bin/linux/${TARGETARCH:-amd64}/podinit-node /podinit-node
USER 65532:65532
ENTRYPOINT ["/podinit-node"]
