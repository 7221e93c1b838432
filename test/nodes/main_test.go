// Package nodes shows what podinit does on a cluster of three nodes, the one of package cluster: its replicas are spread, a node
// is drained and another is lost under a load of pod creations, each node has the init image or is named as lacking it, nodes
// differ in architecture and versions, and node mode runs on all of them. 'make test-nodes' does all of that.
package nodes

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/util/podutils"

	releaseimage "github.com/podinit/podinit/release/image"

	"github.com/podinit/podinit/internal/cli/check"
	"github.com/podinit/podinit/internal/cli/status"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/suite"
)

const (
	root = "../.."

	system          = "podinit-system"
	deploymentName  = "podinit-webhook"
	prepullSelector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=prepull"

	// last is the node that the tests change: a further one, so that the control plane stays.
	last = cluster.NodeName + "-3"
)

var (
	images = flag.String("images", "../../bin/images/amd64", "`directory` of the archives that make images writes")
	rate   = flag.Int("rate", 50, "pods created in a second, on average")

	running *cluster.Cluster
	client  *kubernetes.Clientset
	// initImage is in a registry of the tests' own, the others are in the cluster's.
	initImage, webhookImage, nodeImage string
	// clusterInitImage is the init image in the cluster's registry.
	clusterInitImage string
	// refused says which requests the tests' registry refuses: those of all, or of one address.
	refused atomic.Pointer[string]
)

const everybody = "everybody"

func TestMain(m *testing.M) { suite.Main(m, "test-nodes", run) }

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	var err error
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	if len(running.Nodes) != 3 {
		return 0, fmt.Errorf("the cluster has %d nodes, want 3: make cluster-down cluster-up NODES=3", len(running.Nodes))
	}
	for name, reference := range map[string]*string{"init": &clusterInitImage, "webhook": &webhookImage, "node": &nodeImage} {
		if *reference, err = cluster.PushBuilt(ctx, *images, name); err != nil {
			return 0, err
		}
	}
	registry, err := cluster.NewImageRegistry(refuse)
	if err != nil {
		return 0, err
	}
	defer registry.Close()
	if initImage, err = pushInit(ctx, registry.Address); err != nil {
		return 0, err
	}
	for _, node := range running.Nodes { // an earlier run may have left it drained
		if _, err := running.RunKubectl(ctx, "", "uncordon", node.Name); err != nil {
			return 0, err
		}
	}
	defer uninstall()
	return m.Run(), nil
}

// refuse answers as a registry that is away, or one that does not have the image for the node that asks.
func refuse(w http.ResponseWriter, request *http.Request) (answered bool) {
	who := refused.Load()
	host, _, err := net.SplitHostPort(request.RemoteAddr)
	if who == nil || err == nil && *who != everybody && *who != host {
		return false
	}
	if *who == everybody {
		http.Error(w, "away", http.StatusServiceUnavailable)
	} else {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
	}
	return true
}

// refusing has the tests' registry refuse an address, or everybody, until the test ends.
func refusing(t *testing.T, who string) {
	t.Helper()
	refused.Store(&who)
	t.Cleanup(func() { refused.Store(nil) })
}

// pushInit puts the init image, for this machine's architecture alone, into the tests' registry.
func pushInit(ctx context.Context, registry string) (string, error) {
	img, err := releaseimage.Open(filepath.Join(*images, "init.tar"))
	if err != nil {
		return "", err
	}
	tag, err := name.NewTag(registry+"/podinit/init:latest", name.Insecure)
	if err != nil {
		return "", err
	}
	digest, err := debianimage.Push(ctx, tag, img)
	return digest.String(), err
}

// address of a node.
func address(node string) string {
	i := slices.IndexFunc(running.Nodes, func(n cluster.Node) bool { return n.Name == node })
	return running.Nodes[i].Address
}

// kubectl runs kubectl with a manifest on its standard input, also when the test has ended.
func kubectl(t *testing.T, input string, args ...string) {
	t.Helper()
	if _, err := running.RunKubectl(context.WithoutCancel(t.Context()), input, args...); err != nil {
		t.Fatal(err)
	}
}

// podinit runs the command line as its main does and reads what it prints.
func podinit(t *testing.T, into any, args ...string) {
	t.Helper()
	out, errOut, _ := suite.Podinit(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("podinit %s: %q, errors %q: %v", strings.Join(args, " "), out, errOut, err)
	}
}

// found is what podinit check fails for or warns of, by check.
func found(t *testing.T) map[string][]string {
	t.Helper()
	var report check.Report
	podinit(t, &report, "check", "-n", namespaceOf(t))
	found := map[string][]string{}
	for _, r := range report.Results {
		for _, p := range r.Problems {
			if p.Status == check.Failed || p.Status == check.Warning {
				found[r.Name] = append(found[r.Name], p.Found)
			}
		}
	}
	return found
}

// finds waits until podinit check finds all that matches, by check, and nothing else. A * stands for anything.
func finds(t *testing.T, want map[string][]string) {
	t.Helper()
	var last map[string][]string
	defer func() {
		if t.Failed() {
			t.Logf("podinit check found %q", last)
		}
	}()
	suite.Retry(t, fmt.Sprintf("podinit check to find %q", want), func(context.Context) (bool, error) {
		last = found(t)
		if len(last) != len(want) {
			return false, nil
		}
		for name, problems := range want {
			if !slices.EqualFunc(problems, last[name], matches) {
				return false, nil
			}
		}
		return true, nil
	})
}

func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	text, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:] {
		if !ok {
			return false
		}
		if part == "" {
			return true
		}
		_, text, ok = strings.Cut(text, part)
	}
	return ok && text == ""
}

// statusOf is what podinit status says of a namespace.
func statusOf(t *testing.T, namespace string) status.Report {
	t.Helper()
	var report status.Report
	podinit(t, &report, "status", "-n", namespace)
	return report
}

// namespaceOf is a namespace of a test that has opted in. It is made when it is first asked for, and deleted when the test ends.
func namespaceOf(t *testing.T) string {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	name := "nodes-" + strings.ToLower(test)
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err == nil {
		return name
	}
	t.Cleanup(func() {
		kubectl(t, "", "wait", "--for=delete", "namespace/"+name, "--timeout="+suite.Patience.String())
	})
	return suite.Namespace(t, client, metav1.ObjectMeta{Name: name, Labels: map[string]string{"podinit.dev/inject": "enabled"}})
}

// newPod makes a pod of a program that waits, which a nodeSelector sends where it is to run, and returns what was created.
func newPod(t *testing.T, name string, nodeSelector map[string]string) *corev1.Pod {
	t.Helper()
	grace := int64(2)
	pod, err := client.CoreV1().Pods(namespaceOf(t)).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeSelector:                  nodeSelector,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "app", Image: cluster.PauseImage, Command: []string{"/pause"}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// on is the nodeSelector for one node.
func on(node string) map[string]string { return map[string]string{corev1.LabelHostname: node} }

// awaitReady waits until a pod is.
func awaitReady(t *testing.T, name string) {
	t.Helper()
	suite.Retry(t, "pod "+name+" to be ready", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(namespaceOf(t)).Get(ctx, name, metav1.GetOptions{})
		return err == nil && podutils.IsPodReady(pod), err
	})
}

// replaceNode puts a new node in the place of one: with its name, and nothing on its disk.
func replaceNode(t *testing.T, node string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
	defer cancel()
	if err := running.Remove(ctx, node); err != nil {
		t.Fatal(err)
	}
	// A pod that was on it would be taken for one of the new node until it is collected, and keep others from being made.
	kubectl(t, "", "-n", system, "delete", "pods", "--field-selector=spec.nodeName="+node, "--force", "--grace-period=0")
	if err := running.Start(ctx, node); err != nil {
		t.Fatal(err)
	}
}
