// Package nodemode shows node mode on a real cluster, the one of package cluster, with no webhook: podinit-node as config/node
// deploys it, with images that 'make images' has built. 'make test-node' does all of that.
package nodemode

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/suite"
)

const (
	root   = "../.."
	system = "podinit-node"
)

var (
	images = flag.String("images", "../../bin/images/amd64", "`directory` of the archives that make images writes")

	running *cluster.Cluster
	client  *kubernetes.Clientset
	// initImage and nodeImage are in the cluster's own registry, by digest.
	initImage, nodeImage string
	// private is a registry that wants a password.
	private *cluster.ImageRegistry
)

func TestMain(m *testing.M) { suite.Main(m, "test-node", run) }

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	var err error
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	for name, reference := range map[string]*string{"init": &initImage, "node": &nodeImage} {
		if *reference, err = cluster.PushBuilt(ctx, *images, name); err != nil {
			return 0, err
		}
	}
	if private, err = cluster.NewImageRegistry(wantPassword); err != nil {
		return 0, err
	}
	defer private.Close()
	// A webhook that an earlier suite has left would wrap pods before any node sees them.
	if _, err := running.RunKubectl(ctx, "", "delete", "--ignore-not-found", "-k", filepath.Join(root, "config", "default")); err != nil {
		return 0, err
	}
	if err := apply(ctx); err != nil {
		return 0, err
	}
	defer func() {
		if _, err := running.RunKubectl(ctx, "", "delete", "--ignore-not-found", "-k", filepath.Join(root, "config", "node")); err != nil {
			log.Print(err)
		}
	}()
	if err := rolledOut(ctx); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// apply applies config/node, with the images that were built and JSON patches of the DaemonSet.
func apply(ctx context.Context, patches ...string) error {
	return running.ApplyNodeMode(ctx, root, initImage, nodeImage, patches...)
}

// rolledOut waits until the DaemonSet is as it was applied, its pod ready.
func rolledOut(ctx context.Context) error {
	_, err := running.RunKubectl(ctx, "", "-n", system, "rollout", "status", "daemonset/podinit-node", "--timeout=2m")
	return err
}

// installed applies config/node as it is and waits for it, also when a test has ended.
func installed(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := apply(ctx); err != nil {
		t.Fatal(err)
	}
	if err := rolledOut(ctx); err != nil {
		t.Fatal(err)
	}
}

// plugins are podinit-node's pods that are not going.
func plugins(ctx context.Context, t *testing.T) (pods []corev1.Pod) {
	t.Helper()
	list, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=node"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// metrics are what the node's one plugin tells Prometheus, once it does.
func metrics(t *testing.T) (families map[string]*dto.MetricFamily) {
	t.Helper()
	suite.Eventually(t, "the plugin's metrics", func(ctx context.Context) (bool, error) {
		pods := plugins(ctx, t)
		if len(pods) != 1 {
			return false, nil
		}
		var err error
		families, err = cluster.Metrics(ctx, client, system, pods[0].Name)
		return err == nil, nil // it may not have begun
	})
	return families
}

// metric is the sum of a metric's values.
func metric(t *testing.T, name string) float64 {
	t.Helper()
	return cluster.Sum(metrics(t)[name])
}

const user, password = "tenant", "not a secret"

// wantPassword refuses requests without the password.
func wantPassword(w http.ResponseWriter, request *http.Request) (answered bool) {
	if u, p, ok := request.BasicAuth(); ok && u == user && p == password {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
	return true
}

// pushPrivate puts an image into the registry that wants a password.
func pushPrivate(t *testing.T, repository string, img v1.Image) string {
	t.Helper()
	reference, err := name.ParseReference(private.Address+"/"+repository, name.Insecure)
	if err == nil {
		err = remote.Write(reference, img, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return reference.String()
}

// shell is an image with a shell, coreutils, and what it runs; it names itself in a file.
func shell(t *testing.T, says string, config v1.Config) v1.Image {
	t.Helper()
	cache, err := debianimage.UserCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	config.User = "65532:65532"
	img, err := cache.Build(t.Context(), debianimage.Spec{
		Packages: []string{"coreutils", "grep"}, Config: config,
		Files: []debianimage.File{{Path: "/says", Mode: 0o644, Content: says}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// program is what images of these tests run: it says which image it is and which PID it has, and waits.
var program = v1.Config{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{`echo "$(cat /says) is PID $$"; sleep 10000; true`}}

// push puts an image that names itself into the cluster's registry and returns its name by tag.
func push(t *testing.T, repository, says string) string {
	t.Helper()
	if _, err := cluster.Push(t.Context(), repository, shell(t, says, program)); err != nil {
		t.Fatal(err)
	}
	return cluster.Registry + "/" + repository + ":latest"
}

// namespace makes a namespace for one test.
func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	return suite.Namespace(t, client, metav1.ObjectMeta{GenerateName: "node-", Labels: labels})
}

func optedIn() map[string]string { return map[string]string{"podinit.dev/inject": "enabled"} }

// kubectl runs kubectl with a manifest on its standard input, and returns what it says.
func kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := running.RunKubectl(t.Context(), input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// awaitRunning waits until a pod's containers run, the number of them that have started before being restarts.
func awaitRunning(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	suite.Eventually(t, "pod "+name, func(ctx context.Context) (bool, error) {
		var err error
		if pod, err = client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Running == nil {
				return false, nil
			}
		}
		return len(pod.Status.ContainerStatuses) > 0, nil
	})
	return pod
}

// awaitLog waits until a container has written a whole line, and returns it.
func awaitLog(t *testing.T, namespace, name, container string) string {
	t.Helper()
	var line string
	suite.Eventually(t, "a line of pod "+name, func(ctx context.Context) (bool, error) {
		text, err := client.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{Container: container}).DoRaw(ctx)
		line = strings.TrimSpace(string(text))
		// The kubelet answers with a sentence of its own about a container that the runtime no longer has.
		return err == nil && line != "" && strings.HasSuffix(string(text), "\n") && !strings.HasPrefix(line, "unable to retrieve container logs"), nil
	})
	return line
}

// pid is the PID that a container of these tests says it has: 1, unless the init is.
func pid(t *testing.T, line string) int {
	t.Helper()
	_, text, ok := strings.Cut(line, " is PID ")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if !ok || err != nil {
		t.Fatalf("%q does not say a PID", line)
	}
	return n
}

// argv is the command line of a container's PID 1.
func argv(t *testing.T, namespace, name, container string) []string {
	t.Helper()
	out := kubectl(t, "", "-n", namespace, "exec", name, "-c", container, "--", "cat", "/proc/1/cmdline")
	return strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
}

// onNode runs a command in the node's mount namespace.
func onNode(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "nsenter", append([]string{"--target", strconv.Itoa(running.PID), "--mount", "--"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("on the node: %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
