// Package suite is what the suites on the test cluster do alike. Each is a package of tests that a target of the Makefile prepares.
package suite

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli"
	"github.com/podinit/podinit/test/cluster"
)

// Patience bounds every wait for a condition. It is long, because machines are shared and slow; a test that passes never waits that long.
const Patience = 2 * time.Minute

// Main is a suite's TestMain: run sets up, runs the tests and cleans up.
func Main(m *testing.M, target string, run func(*testing.M) (code int, err error)) {
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		log.Fatalf("cannot set up the tests ('make %s' prepares all they need): %v", target, err)
	}
	os.Exit(code)
}

// Open returns the test cluster and a client for it.
func Open() (running *cluster.Cluster, client *kubernetes.Clientset, err error) {
	if running, err = cluster.Open(); err == nil {
		client, err = running.Client()
	}
	return running, client, err
}

// Eventually waits until done says so. An error of done ends the wait.
func Eventually(t *testing.T, what string, done wait.ConditionWithContextFunc) {
	t.Helper()
	if err := poll(t, done); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// Retry waits until done says so, and asks again after an error: a part of the cluster may be away.
func Retry(t *testing.T, what string, done wait.ConditionWithContextFunc) {
	t.Helper()
	var last error
	err := poll(t, func(ctx context.Context) (bool, error) {
		ok, err := done(ctx)
		if err != nil {
			last = err
		}
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v (last error: %v)", what, err, last)
	}
}

func poll(t *testing.T, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, Patience, true, done)
}

// Namespace makes a namespace for a test and waits until pods may be created in it. It is deleted when the test ends, its pods at once.
func Namespace(t *testing.T, client kubernetes.Interface, object metav1.ObjectMeta) string {
	t.Helper()
	made, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: object}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
		if err := errors.Join(
			client.CoreV1().Pods(made.Name).DeleteCollection(ctx, now, metav1.ListOptions{}),
			client.CoreV1().Namespaces().Delete(ctx, made.Name, now),
		); err != nil {
			t.Error(err)
		}
	})
	Eventually(t, "the service account of namespace "+made.Name, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ctrlclient.IgnoreNotFound(err)
	})
	return made.Name
}

// Status is what podinit says of a pod in its status annotation.
func Status(t *testing.T, pod *corev1.Pod) (status v1alpha1.Status) {
	t.Helper()
	if err := json.Unmarshal([]byte(pod.Annotations[v1alpha1.StatusAnnotation]), &status); err != nil {
		t.Fatalf("the status of pod %s: %v", pod.Name, err)
	}
	return status
}

// Podinit runs the command line as its main does.
func Podinit(args ...string) (out, errOut string, code int) {
	var o, e strings.Builder
	code = cli.Run(append([]string{"podinit", "--kubeconfig", cluster.Kubeconfig}, args...), strings.NewReader(""), &o, &e)
	return o.String(), e.String(), code
}
