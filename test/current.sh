#!/usr/bin/env bash
# The demo or the end-to-end tests on the cluster that kubectl talks to: "make demo CLUSTER=current" runs "current.sh demo",
# "make test-e2e CLUSTER=current" runs "current.sh e2e". Both make namespaces and delete them. Podinit is used as it is
# installed there; where it is not, it is installed if INSTALL=yes says so, and removed afterwards.
#
#   IMAGE_REPOSITORY  where images are pushed with your "docker login", and the nodes pull them from; INSECURE=yes: by HTTP
#   LOAD              instead of a registry: kind, minikube, k3s or a command, which loads an archive into every node;
#                     LOAD_COMMAND is that command
#   DEMO_IMAGE        image of the demo's pods, pushed before, instead
#   INIT_IMAGE, WEBHOOK_IMAGE   podinit's own, pushed before, instead
set -euo pipefail

what=$1
case $what in
demo) target=demo ;;
e2e) target=test-e2e ;;
esac

die() {
	printf "$target: %s\n" "$@" >&2
	exit 1
}

# What runs below is not kubectl: both must go by the same kubeconfig and context.
command -v "$KUBECTL" >/dev/null || die "there is no kubectl here ($KUBECTL): install it, or give KUBECTL=PATH, without options"
# From here on everything goes by a kubeconfig of this cluster alone: were the context changed meanwhile, podinit would be
# removed from another one.
kubeconfig=$(mktemp)
installed=
finish() {
	if [ -n "$installed" ]; then
		echo "Removing podinit from the cluster"
		make --silent undeploy KUBECTL="$KUBECTL" >/dev/null || echo "$target: podinit is still in the cluster at $server: make undeploy removes it" >&2
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

image=()
if [ "$what" = demo ] && [ -n "$DEMO_IMAGE" ]; then
	image+=(-image "$DEMO_IMAGE")
elif [ -n "$LOAD" ]; then
	image+=(-load "$LOAD_COMMAND")
elif [ -n "$IMAGE_REPOSITORY" ]; then
	image+=(-push "${IMAGE_REPOSITORY%/}/$what:latest" ${INSECURE:+-plain-http})
else
	ways=("make $target CLUSTER=current LOAD=kind                                   (or minikube, k3s, or a command: docs/quick-start.md)"
		"make $target CLUSTER=current IMAGE_REPOSITORY=registry.example/podinit   (you may push there)")
	[ "$what" != demo ] || ways+=("make demo CLUSTER=current DEMO_IMAGE=...                              (pushed by an earlier run)")
	die "the pods need an image that the nodes have or can pull:" "${ways[@]}"
fi

parts=$("$KUBECTL" get --ignore-not-found -o name mutatingwebhookconfiguration/zz-podinit customresourcedefinition/initprofiles.podinit.dev namespace/podinit-system)
case $parts in
*mutatingwebhookconfiguration*) echo "Podinit is installed there, and stays as it is." ;;
?*) die "there are parts of podinit in the cluster, but not its MutatingWebhookConfiguration zz-podinit:" "$parts" \
	"install it whole (make deploy, or the Helm chart) or remove them (make undeploy, which removes InitProfiles too)" ;;
*)
	[ "${INSTALL:-}" = yes ] || die "podinit is not installed there. INSTALL=yes installs it for this, as make deploy does, and removes it afterwards"
	if [ -z "$INIT_IMAGE" ] || [ -z "$WEBHOOK_IMAGE" ]; then
		[ -n "$LOAD$IMAGE_REPOSITORY" ] || die "give LOAD=kind (or minikube, k3s, or a command), IMAGE_REPOSITORY=registry.example/podinit to push podinit's images to, or INIT_IMAGE= and WEBHOOK_IMAGE="
		architectures=$("$KUBECTL" get nodes -o 'jsonpath={range .items[*]}{.status.nodeInfo.operatingSystem}/{.status.nodeInfo.architecture}{"\n"}{end}' |
			sed -n 's|^linux/||p' | sort -u | tr '\n' ' ')
		[ -n "$architectures" ] || die "the cluster has no Linux node"
		if [ -n "$LOAD" ]; then
			read -ra architecture <<<"$architectures"
			[ ${#architecture[@]} = 1 ] || die "LOAD is for nodes of one architecture, and these have $architectures"
			echo "Loading podinit's images into the nodes..."
			repository=${IMAGE_REPOSITORY:-localhost/podinit} # a host that nodes never pull from
			make --silent load LOAD="$LOAD" ARCH="${architecture[0]}" IMAGE_REPOSITORY="$repository" >&2
			tag=$(make --silent image-tag)
			INIT_IMAGE=${INIT_IMAGE:-$repository/init:$tag}
			WEBHOOK_IMAGE=${WEBHOOK_IMAGE:-$repository/webhook:$tag}
		else
			echo "Pushing podinit's images for $architectures..."
			pushed=$(make --silent push IMAGE_REPOSITORY="$IMAGE_REPOSITORY" ARCHITECTURES="$architectures" INSECURE="$INSECURE" | tee /dev/stderr | grep @sha256:)
			INIT_IMAGE=${INIT_IMAGE:-$(grep '/init:' <<<"$pushed")}
			WEBHOOK_IMAGE=${WEBHOOK_IMAGE:-$(grep '/webhook:' <<<"$pushed")}
		fi
	fi
	installed=yes
	make --silent deploy KUBECTL="$KUBECTL" INIT_IMAGE="$INIT_IMAGE" WEBHOOK_IMAGE="$WEBHOOK_IMAGE"
	;;
esac

# Not exec: the trap is to run.
case $what in
demo) go run ./test/demo "${image[@]}" ;;
e2e) go test -count=1 -timeout 30m -v ./test/e2e -args -current -kubectl "$(command -v "$KUBECTL")" "${image[@]}" ;;
esac
