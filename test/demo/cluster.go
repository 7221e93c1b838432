package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/nodes"
)

// patience is how long each thing that the cluster does may take; on a busy machine most need some seconds.
const patience = 3 * time.Minute

// cluster is the cluster that the pods run on.
type cluster struct {
	client   kubernetes.Interface
	profiles dynamic.ResourceInterface
	config   *rest.Config
}

func connect(kubeconfig string) (cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return cluster{}, fmt.Errorf("read the kubeconfig: %w; name one with -kubeconfig", err)
	}
	config.QPS = -1 // no throttle on this side: it would count as time that a pod takes
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return cluster{}, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return cluster{}, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return cluster{client, objects.Resource(v1alpha1.GroupVersion.WithResource("initprofiles")), config}, nil
}

// ours labels the demo's namespaces and its InitProfile: no other is ever deleted.
const ours, demo = "app.kubernetes.io/managed-by", "podinit-demo"

// createNamespace makes the namespace anew, with its service account, so that pods can be made in it.
func (c cluster) createNamespace(ctx context.Context, name string, labels, annotations map[string]string) error {
	// What an earlier run left is deleted first.
	if err := c.deleteNamespace(ctx, name); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
		ours:                                 demo,
	}}}
	for key, value := range labels {
		namespace.Labels[key] = value
	}
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		// It exists while the earlier one is going.
		return err == nil, ignore(apierrors.IsAlreadyExists, err)
	})
	if err != nil {
		return fmt.Errorf("create the namespace %s: %w", name, err)
	}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, ignore(apierrors.IsNotFound, err)
	})
	if err != nil {
		return fmt.Errorf("wait for the service account %s/default (does kube-controller-manager run?): %w", name, err)
	}
	return nil
}

func (c cluster) deleteNamespace(ctx context.Context, name string) error {
	namespace, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the namespace %s: %w", name, err)
	}
	if namespace.Labels[ours] != demo {
		return fmt.Errorf("the cluster has a namespace %s that is not the demo's (it lacks the label %s=%s): the demo needs the name, so delete it if nobody else does", name, ours, demo)
	}
	err = c.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &namespace.UID}})
	if err := ignore(apierrors.IsNotFound, err); err != nil {
		return fmt.Errorf("delete the namespace %s: %w", name, err)
	}
	return nil
}

// createProfile makes the InitProfile that leaves pods to the nodes, again if an earlier run has left it.
func (c cluster) createProfile(ctx context.Context, name string) error {
	if err := c.deleteProfile(ctx, name); err != nil {
		return err
	}
	profile := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "InitProfile",
		"metadata": map[string]any{"name": name, "labels": map[string]any{ours: demo}},
		"spec":     map[string]any{"delivery": string(v1alpha1.DeliverByNode)},
	}}
	if _, err := c.profiles.Create(ctx, profile, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the InitProfile %s: %w", name, err)
	}
	return nil
}

func (c cluster) deleteProfile(ctx context.Context, name string) error {
	profile, err := c.profiles.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the InitProfile %s: %w", name, err)
	}
	if profile.GetLabels()[ours] != demo {
		return fmt.Errorf("the cluster has an InitProfile %s that is not the demo's (it lacks the label %s=%s): the demo needs the name, so delete it if no pod uses it", name, ours, demo)
	}
	uid := profile.GetUID()
	err = c.profiles.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err := ignore(apierrors.IsNotFound, err); err != nil {
		return fmt.Errorf("delete the InitProfile %s: %w", name, err)
	}
	return nil
}

// hasNodeMode says whether podinit-node is installed, and waits until it is ready on every node.
func (c cluster) hasNodeMode(ctx context.Context) (bool, error) {
	d, err := nodes.FindAnywhere(ctx, c.client)
	if errors.Is(err, nodes.ErrMissing) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for podinit-node: %w", err)
	}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		d, err = c.client.AppsV1().DaemonSets(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		return err == nil && nodesReady(d), err
	})
	if wait.Interrupted(err) {
		return false, fmt.Errorf("podinit-node is ready on %d of %d nodes, still after %.0f s: kubectl -n %s describe daemonset %s says why, or remove it",
			d.Status.NumberReady, d.Status.DesiredNumberScheduled, patience.Seconds(), d.Namespace, d.Name)
	}
	if err != nil {
		return false, fmt.Errorf("wait for podinit-node: %w", err)
	}
	return true, nil
}

// nodesReady says whether every node that is to run podinit-node has one that is ready, and there is such a node.
func nodesReady(d *appsv1.DaemonSet) bool {
	s := d.Status
	return s.ObservedGeneration >= d.Generation && s.DesiredNumberScheduled > 0 && s.NumberReady >= s.DesiredNumberScheduled
}

// awaitInjection waits until the webhook wraps the pod, which is not created.
func (c cluster) awaitInjection(ctx context.Context, namespace string, pod *corev1.Pod) error {
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		admitted, err := c.client.CoreV1().Pods(namespace).Create(ctx, pod, dryRun)
		return err == nil && admitted.Spec.Containers[0].Command[0] == initPath, err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("pods in the namespace %s are admitted without podinit, still after %.0f s: deploy the webhook (make deploy) and see that its pods are ready", namespace, patience.Seconds())
	}
	if err != nil {
		return fmt.Errorf("try to create a pod in the namespace %s: %w", namespace, err)
	}
	return nil
}

// runPod runs a pod, looks at it after settle, deletes it, and follows it to its end.
func (c cluster) runPod(ctx context.Context, namespace string, pod *corev1.Pod) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	name := namespace + "/" + pod.Name
	pods := c.client.CoreV1().Pods(namespace)
	pod, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return outcome{}, fmt.Errorf("create the pod %s: %w", name, err)
	}
	seen := outcome{admitted: asAdmitted(pod)}
	pod, err = c.awaitPod(ctx, pod, func(event watch.EventType, pod *corev1.Pod) (bool, error) {
		if event == watch.Deleted || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			return false, errors.New("it has ended already")
		}
		return pod.Status.Phase == corev1.PodRunning, nil
	})
	if err != nil {
		return outcome{}, fmt.Errorf("wait for the pod %s to start: %w", name, err)
	}
	log, err := c.followLog(ctx, pod)
	if err != nil {
		return outcome{}, fmt.Errorf("follow the log of the pod %s: %w", name, err)
	}
	select {
	case <-log.up:
	case <-log.ended:
		return outcome{}, fmt.Errorf("follow the log of the pod %s: it ended without a line (%w); the program did not start", name, log.err)
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}

	processes, err := c.exec(ctx, pod, "ps", "-ww", "-eo", "pid=,stat=,args=")
	if err != nil {
		return outcome{}, fmt.Errorf("list the processes in the pod %s: %w", name, err)
	}
	if seen.pid1, seen.zombies, err = parseProcesses(processes); err != nil {
		return outcome{}, fmt.Errorf("list the processes in the pod %s: %w", name, err)
	}

	deleted := time.Now()
	if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		return outcome{}, fmt.Errorf("delete the pod %s: %w", name, err)
	}
	pod, err = c.awaitPod(ctx, pod, func(event watch.EventType, _ *corev1.Pod) (bool, error) {
		return event == watch.Deleted, nil
	})
	if err != nil {
		return outcome{}, fmt.Errorf("wait for the pod %s to be gone: %w", name, err)
	}
	seen.gone = time.Since(deleted)

	// The kubelet writes the last status before it lets the pod go.
	terminated := pod.Status.ContainerStatuses[0].State.Terminated
	if terminated == nil {
		return outcome{}, fmt.Errorf("the pod %s is gone without an exit code in its last status: %+v", name, pod.Status.ContainerStatuses[0].State)
	}
	seen.exitCode = terminated.ExitCode
	<-log.ended
	if log.err != nil {
		return outcome{}, fmt.Errorf("follow the log of the pod %s to its end: %w", name, log.err)
	}
	for _, line := range log.lines {
		if line.received.After(deleted) {
			seen.logged = append(seen.logged, line.text)
		}
	}
	return seen, nil
}

// asAdmitted is what admission has made of a pod, without what differs between two namespaces.
func asAdmitted(pod *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Labels: pod.Labels, Annotations: pod.Annotations, Finalizers: pod.Finalizers, OwnerReferences: pod.OwnerReferences},
		Spec:       pod.Spec, Status: corev1.PodStatus{QOSClass: pod.Status.QOSClass},
	}
}

// awaitPod watches the pod from the state that is given until done says so, and returns its last state.
func (c cluster) awaitPod(ctx context.Context, pod *corev1.Pod, done func(watch.EventType, *corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	watcher := cache.NewListWatchFromClient(c.client.CoreV1().RESTClient(), "pods", pod.Namespace,
		fields.OneTermEqualSelector("metadata.name", pod.Name))
	last := pod
	_, err := watchtools.Until(ctx, pod.ResourceVersion, watcher, func(event watch.Event) (bool, error) {
		if event.Type == watch.Error {
			return false, apierrors.FromObject(event.Object)
		}
		last = event.Object.(*corev1.Pod)
		return done(event.Type, last)
	})
	if err != nil {
		return nil, fmt.Errorf("%w; it is %s", err, describe(last))
	}
	return last, nil
}

// describe says what state a pod is in, with what its containers wait for or ended with.
func describe(pod *corev1.Pod) string {
	words := []string{strings.ToLower(string(pod.Status.Phase))}
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		switch state := status.State; {
		case state.Waiting != nil:
			words = append(words, fmt.Sprintf("container %s waits: %s %s", status.Name, state.Waiting.Reason, state.Waiting.Message))
		case state.Terminated != nil && state.Terminated.ExitCode != 0:
			words = append(words, fmt.Sprintf("container %s ended with %d: %s %s", status.Name,
				state.Terminated.ExitCode, state.Terminated.Reason, state.Terminated.Message))
		}
	}
	return strings.Join(words, ", ")
}

// podLog is a container's log, read as it is written.
type podLog struct {
	// up is closed at the first line, which each program of the demo writes when it is ready; ended at the log's end.
	up, ended chan struct{}
	// lines and err may be read after the end.
	lines []logLine
	err   error
}

// logLine is a line of a log and when it came here.
type logLine struct {
	received time.Time
	text     string
}

func (c cluster) followLog(ctx context.Context, pod *corev1.Pod) (*podLog, error) {
	stream, err := c.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, Follow: true,
	}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	log := &podLog{up: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(log.ended)
		defer stream.Close()
		lines := bufio.NewScanner(stream)
		for lines.Scan() {
			if log.lines == nil {
				close(log.up)
			}
			log.lines = append(log.lines, logLine{time.Now(), lines.Text()})
		}
		log.err = lines.Err()
	}()
	return log, nil
}

// exec runs a program in the pod's container and returns what it prints.
func (c cluster) exec(ctx context.Context, pod *corev1.Pod, command ...string) (string, error) {
	address := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).
		SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: command, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec).URL()
	webSocket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", address.String())
	if err != nil {
		return "", err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", address)
	if err != nil {
		return "", err
	}
	// Clusters before Kubernetes 1.31 speak SPDY only.
	executor, err := remotecommand.NewFallbackExecutor(webSocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return "", err
	}
	var output, complaint bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &output, Stderr: &complaint}); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(complaint.String()))
	}
	return output.String(), nil
}

// poll asks again and again until the answer is yes, an error, or patience is at its end.
func poll(ctx context.Context, ask wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, ask)
}

// ignore drops an error that is expected.
func ignore(expected func(error) bool, err error) error {
	if err != nil && expected(err) {
		return nil
	}
	return err
}
