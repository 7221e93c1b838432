// Package e2e shows podinit's behaviour on a real cluster, the one of package cluster, to which
// 'make cluster-deploy' has deployed the webhook from config/. 'make test-e2e' does all of that.
//
// With -current it is the cluster of the current kubeconfig, and the tests in testClusterOnly are not run:
// 'make test-e2e CLUSTER=current'.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/suite"
)

const system = "podinit-system"

var (
	current        = flag.Bool("current", false, "test the cluster of the current kubeconfig, where podinit is installed, instead of the test cluster")
	kubectlProgram = flag.String("kubectl", "kubectl", "`program` for -current")
	// nodes says how the image of the pods gets to the nodes of -current.
	nodes debianimage.Nodes
)

var (
	// running is the test cluster; nil with -current.
	running *cluster.Cluster
	// kubeconfig is the file by which kubectl and podinit reach the cluster.
	kubeconfig string
	config     *rest.Config
	client     *kubernetes.Clientset
	// shellImage has bash, coreutils and ps, and no entrypoint.
	shellImage string
)

func TestMain(m *testing.M) {
	nodes.AddFlags(flag.CommandLine)
	suite.Main(m, "test-e2e", run)
}

func run(m *testing.M) (_ int, err error) {
	if err = setUp(context.Background()); err == nil && *current {
		err = leaveOut()
	}
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func setUp(ctx context.Context) error {
	put := func(image v1.Image) (string, error) { return nodes.Put(ctx, image, "e2e", os.Stderr) }
	if *current {
		// One file, as the script that runs this makes it: podinit and kubectl must go by the same cluster.
		kubeconfig = os.Getenv("KUBECONFIG")
	} else {
		var err error
		if running, err = cluster.Open(); err != nil {
			return err
		}
		kubeconfig, *kubectlProgram = cluster.Kubeconfig, filepath.Join(running.Bin, "kubectl")
		put = func(image v1.Image) (string, error) { return cluster.Push(ctx, "e2e/shell", image) }
	}
	var err error
	if config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	// The tests' own requests must not queue behind each other.
	config.QPS, config.Burst = 200, 400
	if client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	cache, err := debianimage.UserCache(os.Stderr)
	if err != nil {
		return err
	}
	shell, err := cache.Build(ctx, debianimage.Spec{
		Packages: []string{"bash", "coreutils", "grep", "procps"},
		Config:   v1.Config{User: "65532:65532"},
	})
	if err != nil {
		return err
	}
	shellImage, err = put(shell)
	return err
}

// kubectl is a command that runs kubectl against the cluster.
func kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, *kubectlProgram, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// namespace makes a namespace for one test.
func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	return suite.Namespace(t, client, metav1.ObjectMeta{GenerateName: "e2e-", Labels: labels})
}

// cleanupContext is for what is done when a test's own context is over.
func cleanupContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), suite.Patience)
}

// optedIn are the labels of a namespace that asks for the init.
func optedIn() map[string]string { return map[string]string{"podinit.dev/inject": "enabled"} }

// shellPod is a pod that runs a command in the shell image and satisfies restricted Pod Security.
func shellPod(name string, command ...string) *corev1.Pod {
	yes, no, grace := true, false, int64(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			RestartPolicy:                 corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   &yes,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			NodeSelector: nodeSelector(),
			Containers: []corev1.Container{{
				Name:    "app",
				Image:   shellImage,
				Command: command,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no,
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// nodeSelector is for the nodes that can run the shell image, which has the architecture of this machine. All nodes of the
// test cluster can.
func nodeSelector() map[string]string {
	if !*current {
		return nil
	}
	return map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH}
}

func create(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	return createBy(t, namespace, pod, metav1.CreateOptions{})
}

// admit returns a pod as it would be created.
func admit(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	return createBy(t, namespace, pod, dryRun)
}

func createBy(t *testing.T, namespace string, pod *corev1.Pod, options metav1.CreateOptions) *corev1.Pod {
	t.Helper()
	created, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, options)
	if err != nil {
		t.Fatalf("create pod %s/%s: %v", namespace, pod.Name, err)
	}
	return created
}

// started waits until the pod's containers run, and returns it as it then is.
func started(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	return await(t, pod, "is ready", func(pod *corev1.Pod) bool {
		for _, c := range pod.Status.ContainerStatuses {
			if !c.Ready {
				return false
			}
		}
		return len(pod.Status.ContainerStatuses) > 0
	})
}

// ended waits until the pod's containers have all ended for good.
func ended(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	return await(t, pod, "has ended", func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	})
}

func await(t *testing.T, pod *corev1.Pod, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var now *corev1.Pod
	defer func() {
		if t.Failed() && now != nil {
			t.Logf("status of pod %s: %+v", now.Name, now.Status)
		}
	}()
	suite.Eventually(t, fmt.Sprintf("pod %s until it %s", pod.Name, what), func(ctx context.Context) (_ bool, err error) {
		now, err = client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && done(now), err
	})
	return now
}

// execute runs a command in the pod's container, as kubectl exec does, and returns its output.
func execute(t *testing.T, pod *corev1.Pod, command ...string) string {
	t.Helper()
	request := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).
		SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: pod.Spec.Containers[0].Name, Command: command, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var out, errors bytes.Buffer
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &errors}); err != nil {
		t.Fatalf("exec %q: %v: %s", command, err, errors.String())
	}
	return out.String()
}

// logs returns what the pod's container has written so far.
func logs(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	text, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
