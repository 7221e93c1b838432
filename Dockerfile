# Two images of one static binary each, which "make build" puts in bin/: nothing is compiled or downloaded here, so
# docker buildx makes every platform without emulation, and buildah works offline.
#
#   docker build --target init .      the copier's image: /init
#   docker build --target webhook .   the admission server

# TARGETARCH has no default of its own: BuildKit would take that over the platform it builds for.
FROM scratch AS init
ARG TARGETARCH
COPY bin/linux/${TARGETARCH:-amd64}/init /init
# Numeric, so that the kubelet can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/init"]

FROM scratch AS webhook
ARG TARGETARCH
COPY bin/linux/${TARGETARCH:-amd64}/podinit-webhook /podinit-webhook
USER 65532:65532
ENTRYPOINT ["/podinit-webhook"]
