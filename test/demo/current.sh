#!/usr/bin/env bash
# The demo on the cluster that kubectl talks to; "make demo CLUSTER=current" runs this. It makes two namespaces and deletes
# them. Podinit is used as it is installed there; where it is not, it is installed for the demo if INSTALL=yes says so, and
# removed afterwards.
#
#   IMAGE_REPOSITORY  where images are pushed with your "docker login", and the nodes pull them from; INSECURE=yes: by HTTP
#   DEMO_IMAGE        image of the demo's pods, pushed before, instead
#   INIT_IMAGE, WEBHOOK_IMAGE   podinit's own, pushed before, instead
set -euo pipefail

die() {
	printf 'demo: %s\n' "$@" >&2
	exit 1
}

# The demo itself is no kubectl: both must go by the same kubeconfig and context.
command -v "$KUBECTL" >/dev/null || die "there is no kubectl here ($KUBECTL): install it, or give KUBECTL=PATH, without options"
# From here on everything goes by a kubeconfig of this cluster alone: were the context changed meanwhile, podinit would be
# removed from another one.
kubeconfig=$(mktemp)
installed=
finish() {
	if [ -n "$installed" ]; then
		echo "Removing podinit from the cluster"
		make --silent undeploy KUBECTL="$KUBECTL" >/dev/null || echo "demo: podinit is still in the cluster at $server: make undeploy removes it" >&2
	fi
	rm -f "$kubeconfig"
}
trap finish EXIT
"$KUBECTL" config view --minify --flatten --raw >"$kubeconfig" ||
	die "kubectl knows no cluster: set KUBECONFIG, or choose a context with 'kubectl config use-context'"
export KUBECONFIG=$kubeconfig
if ! complaint=$("$KUBECTL" version 2>&1 >/dev/null); then
	die "kubectl reaches no cluster: $complaint" "set KUBECONFIG, or choose a context with 'kubectl config use-context'"
fi
server=$("$KUBECTL" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
echo "The cluster is the one at $server."

demo=()
if [ -n "$DEMO_IMAGE" ]; then
	demo+=(-image "$DEMO_IMAGE")
elif [ -n "$IMAGE_REPOSITORY" ]; then
	demo+=(-push "${IMAGE_REPOSITORY%/}/demo:latest" ${INSECURE:+-plain-http})
else
	die "the demo's pods need an image that the nodes can pull:" \
		"make demo CLUSTER=current IMAGE_REPOSITORY=registry.example/podinit   (you may push there)" \
		"make demo CLUSTER=current DEMO_IMAGE=...                              (pushed by an earlier run)"
fi

parts=$("$KUBECTL" get --ignore-not-found -o name mutatingwebhookconfiguration/zz-podinit customresourcedefinition/initprofiles.podinit.dev namespace/podinit-system)
case $parts in
*mutatingwebhookconfiguration*) echo "Podinit is installed there, and stays as it is." ;;
?*) die "there are parts of podinit in the cluster, but not its MutatingWebhookConfiguration zz-podinit:" "$parts" \
	"install it whole (make deploy, or the Helm chart) or remove them (make undeploy, which removes InitProfiles too)" ;;
*)
	[ "${INSTALL:-}" = yes ] || die "podinit is not installed there. INSTALL=yes installs it for the demo, as make deploy does, and removes it afterwards"
	if [ -z "$INIT_IMAGE" ] || [ -z "$WEBHOOK_IMAGE" ]; then
		[ -n "$IMAGE_REPOSITORY" ] || die "give IMAGE_REPOSITORY=registry.example/podinit to push podinit's images to, or INIT_IMAGE= and WEBHOOK_IMAGE="
		architectures=$("$KUBECTL" get nodes -o 'jsonpath={range .items[*]}{.status.nodeInfo.operatingSystem}/{.status.nodeInfo.architecture}{"\n"}{end}' |
			sed -n 's|^linux/||p' | sort -u | tr '\n' ' ')
		[ -n "$architectures" ] || die "the cluster has no Linux node"
		echo "Pushing podinit's images for $architectures..."
		pushed=$(make --silent push IMAGE_REPOSITORY="$IMAGE_REPOSITORY" ARCHITECTURES="$architectures" INSECURE="$INSECURE" | tee /dev/stderr | grep @sha256:)
		INIT_IMAGE=${INIT_IMAGE:-$(grep '/init:' <<<"$pushed")}
		WEBHOOK_IMAGE=${WEBHOOK_IMAGE:-$(grep '/webhook:' <<<"$pushed")}
	fi
	installed=yes
	make --silent deploy KUBECTL="$KUBECTL" INIT_IMAGE="$INIT_IMAGE" WEBHOOK_IMAGE="$WEBHOOK_IMAGE"
	;;
esac

# Not exec: the trap is to run.
go run ./test/demo "${demo[@]}"
