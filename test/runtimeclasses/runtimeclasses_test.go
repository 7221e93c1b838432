// Package runtimeclasses runs wrapped pods under other container runtimes than the test cluster's own, each a RuntimeClass, and in
// user namespaces. 'make test-runtimeclasses' does all of that.
package runtimeclasses

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/suite"
)

const (
	// grace of the pods, in seconds: longer than anything here waits, so that no pod ends by SIGKILL.
	grace = 300
)

var (
	programs = flag.String("programs", "../../bin", "`directory` with runc, runsc and containerd-shim-runsc-v1")
	page     = flag.String("write", "", "the `page` to write results to")

	running  *cluster.Cluster
	client   *kubernetes.Clientset
	profiles dynamic.ResourceInterface
	// image has bash, coreutils and ps.
	image string
)

// class is a container runtime, as containerd has it. CRI-O needs no more than its program.
type class struct {
	// row is what the page calls it, name what the RuntimeClass is called, and the handler.
	row, name string
	// program prints its version.
	program string
	// settings are containerd's of it, options its own.
	settings, options string
	// userNamespace is whether its pods have a user namespace.
	userNamespace bool
}

func classes(directory, crun string) []class {
	const runcShim = "runtime_type = 'io.containerd.runc.v2'"
	runc := filepath.Join(directory, "runc")
	binary := fmt.Sprintf("BinaryName = '%s'", runc)
	return []class{
		{"crun", "crun", crun, runcShim, fmt.Sprintf("BinaryName = '%s'", crun), false},
		{"crun, user namespace", "crun-user", crun, runcShim, fmt.Sprintf("BinaryName = '%s'", crun), true},
		{
			"gVisor", "gvisor", filepath.Join(directory, "runsc"),
			fmt.Sprintf("runtime_type = 'io.containerd.runsc.v1'\nruntime_path = '%s'", filepath.Join(directory, "containerd-shim-runsc-v1")),
			fmt.Sprintf("TypeUrl = 'io.containerd.runsc.v1.options'\nConfigPath = '%s'", filepath.Join(etc, runscConfig)), false,
		},
		{"runc", "runc-new", runc, runcShim, binary, false},
		{"runc, user namespace", "runc-user", runc, runcShim, binary, true},
	}
}

// etc is where the test cluster's programs have their configuration.
var etc = filepath.Join(cluster.Dir, "etc")

const runscConfig = "runsc.toml"

// containerd is the part of its configuration that has the classes.
func containerd(all []class) string {
	var b strings.Builder
	b.WriteString("version = 3\n")
	for _, c := range all {
		table := "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes." + c.name
		fmt.Fprintf(&b, "[%s]\n%s\n[%s.options]\n%s\n", table, c.settings, table, c.options)
	}
	return b.String()
}

// crio is the part of its configuration that has the classes. Each is started as the cluster's own runc is there.
func crio(all []class) (files map[string]string, err error) {
	wrapper, err := os.ReadFile(filepath.Join(etc, "runc"))
	if err != nil {
		return nil, err
	}
	files = map[string]string{}
	var b strings.Builder
	for _, c := range all {
		name := "runtimeclass-" + c.name
		files[name] = strings.Replace(string(wrapper), "exec runc ", "exec "+c.program+" ", 1)
		fmt.Fprintf(&b, "[crio.runtime.runtimes.%s]\nruntime_path = %q\nmonitor_cgroup = \"pod\"\n", c.name, filepath.Join(etc, name))
	}
	files[filepath.Join("crio.conf.d", "runtimeclasses.conf")] = b.String()
	return files, nil
}

func TestMain(m *testing.M) { suite.Main(m, "test-runtimeclasses", run) }

func run(m *testing.M) (_ int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	config, err := running.RESTConfig()
	if err != nil {
		return 0, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	profiles = objects.Resource(v1alpha1.GroupVersion.WithResource("initprofiles"))
	cache, err := debianimage.UserCache(os.Stderr)
	if err != nil {
		return 0, err
	}
	shell, err := cache.Build(ctx, debianimage.Spec{Packages: []string{"bash", "coreutils", "grep", "procps"}, Config: v1.Config{User: "65532:65532"}})
	if err != nil {
		return 0, err
	}
	if image, err = cluster.Push(ctx, "runtimeclasses/shell", shell); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

type delivery struct {
	policy v1alpha1.DeliveryPolicy
	name   string
}

// deliveries are the ways in which the init reaches a container, as the page names them.
var deliveries = []delivery{
	{v1alpha1.DeliverByInitContainer, "init container"}, {v1alpha1.DeliverByImageVolume, "image volume"}, {v1alpha1.DeliverByNode, "node mode"},
}

// Under each runtime, by each delivery, the init is PID 1, waits for orphans, hands SIGTERM on to a program that would ignore it as
// PID 1, and says how that ended.
func TestClasses(t *testing.T) {
	directory, err := filepath.Abs(*programs)
	if err != nil {
		t.Fatal(err)
	}
	all := classes(directory, installCrun(t))
	if running.Runtime() == "crio" { // for which gVisor has no shim
		all = slices.DeleteFunc(all, func(c class) bool { return c.name == "gvisor" })
	}
	configure(t, directory, all)
	under := "" // what the page calls the runtime of the cluster, unless it is the usual one
	if node, err := client.CoreV1().Nodes().Get(t.Context(), cluster.NodeName, metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	} else if version, ok := strings.CutPrefix(node.Status.NodeInfo.ContainerRuntimeVersion, "cri-o://"); ok {
		under = ", CRI-O " + version
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			class := nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Handler: c.name}
			_, err := client.NodeV1().RuntimeClasses().Create(t.Context(), &class, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) { // a run that was ended has left it
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := client.NodeV1().RuntimeClasses().Delete(context.Background(), c.name, metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
			var wrapped []string
			tried := deliveries
			if under != "" && c.userNamespace { // in which CRI-O cannot mount images
				tried = slices.DeleteFunc(slices.Clone(tried), func(d delivery) bool { return d.policy == v1alpha1.DeliverByImageVolume })
				tried = append(tried, delivery{v1alpha1.DeliverAuto, "`Auto`"})
			}
			for _, d := range tried {
				if t.Run(string(d.policy), func(t *testing.T) { c.wraps(t, d.policy) }) {
					wrapped = append(wrapped, d.name)
				}
			}
			if *page == "" {
				return
			}
			version, err := exec.CommandContext(t.Context(), c.program, "--version").Output()
			if err != nil {
				t.Fatal(err)
			}
			row := compatibility.Row{c.row + under, compatibility.VersionOf(string(version)), strings.Join(wrapped, ", "), time.Now().UTC().Format(time.DateOnly)}
			if err := compatibility.Update(*page, "runtimeclasses", []compatibility.Row{row}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// crunSuite is Debian's suite with the oldest crun that knows what containerd asks of it: that of Debian 12 refuses its version of the
// runtime specification, and cannot map the IDs of mounts.
const crunSuite = "trixie"

// installCrun puts crun and its libraries into a directory, and returns a program that runs it with these.
func installCrun(t *testing.T) string {
	t.Helper()
	cache, err := debianimage.UserCache(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	crun, err := cache.Other(runtime.GOARCH, crunSuite).Build(t.Context(), debianimage.Spec{Packages: []string{"crun"}})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cluster.Dir, "crun")
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	if err := compatibility.Unpack(t.Context(), crun, root); err != nil {
		t.Fatal(err)
	}
	linker, err := filepath.Glob(filepath.Join(root, "usr/lib*/ld-linux*.so.*"))
	if err != nil || len(linker) != 1 {
		t.Fatalf("crun's dynamic linker is one of %q (%v)", linker, err)
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libraries) != 1 {
		t.Fatalf("crun's libraries are in one of %q (%v)", libraries, err)
	}
	program := filepath.Join(root, "crun")
	text := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s %s \"$@\"\n", linker[0], libraries[0], filepath.Join(root, "usr/bin/crun"))
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// configure has the cluster's runtime know the others while the test lasts.
func configure(t *testing.T, directory string, all []class) {
	t.Helper()
	files := map[string]string{
		filepath.Join("containerd.d", "runtimeclasses.toml"): containerd(all),
		// The machine may have cgroup v1, some of whose hierarchies gVisor does not find where it looks.
		runscConfig: fmt.Sprintf("binary_name = '%s'\n[runsc_config]\nignore-cgroups = 'true'\n", filepath.Join(directory, "runsc")),
	}
	if running.Runtime() == "crio" {
		var err error
		if files, err = crio(all); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(etc, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	restart := func(ctx context.Context) {
		if err := running.Restart(ctx, running.Runtime()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for name := range files {
			if err := os.Remove(filepath.Join(etc, name)); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), suite.Patience)
		defer cancel()
		restart(ctx)
	})
	restart(t.Context())
	// The kubelet asks for the runtimes' handlers every few seconds, and starts no pod with one that it does not know of.
	suite.Eventually(t, "the node to know the runtimes", func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, cluster.NodeName, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		known := 0
		for _, handler := range node.Status.RuntimeHandlers {
			for _, c := range all {
				if handler.Name == c.name {
					known++
				}
			}
		}
		return known == len(all), nil
	})
}

// wraps runs a pod with a delivery.
func (c class) wraps(t *testing.T, delivery v1alpha1.DeliveryPolicy) {
	namespace := newNamespace(t, delivery)
	yes, no, seconds := true, false, int64(grace)
	spec := corev1.PodSpec{
		RuntimeClassName: &c.name, TerminationGracePeriodSeconds: &seconds,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{
			Name: "app", Image: image,
			// Ten processes that lose their parent and then end; sleep never waits for a child, and as PID 1 it ignores SIGTERM.
			Command: []string{"bash", "-c", "for i in {1..10}; do (sleep 1 &); done; exec sleep 1000000"},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	if c.userNamespace {
		spec.HostUsers = &no
	}
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := running.Kubectl(context.Background(), "-n", namespace, "describe", "pod", "app").CombinedOutput()
			t.Logf("%s", out)
		}
	})
	suite.Eventually(t, "the pod to run", func(ctx context.Context) (bool, error) {
		pod, err = client.CoreV1().Pods(namespace).Get(ctx, "app", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning && pod.Status.ContainerStatuses[0].Ready, err
	})
	if first := execute(t, namespace, "cat", "/proc/1/cmdline"); !strings.HasPrefix(first, "/podinit/init\x00") {
		t.Fatalf("PID 1 is %q", first)
	}
	users := strings.Fields(execute(t, namespace, "cat", "/proc/self/uid_map"))
	if all := len(users) == 3 && users[1] == "0" && users[2] == "4294967295"; all == c.userNamespace {
		t.Errorf("the container's users are %q", users)
	}
	suite.Eventually(t, "the orphans to be gone", func(context.Context) (bool, error) {
		states := strings.Fields(execute(t, namespace, "ps", "-eo", "stat="))
		return len(states) == 3, nil // init, sleep and ps
	})
	for i, end := range []struct {
		kill   []string
		code   int32
		signal string
	}{
		{[]string{"kill", "-TERM", "1"}, 128 + 15, "SIGTERM"},
		{[]string{"pkill", "-KILL", "sleep"}, 128 + 9, "SIGKILL"},
	} {
		execute(t, namespace, end.kill...)
		var last *corev1.ContainerStateTerminated
		suite.Eventually(t, "the container to run again", func(ctx context.Context) (bool, error) {
			if pod, err = client.CoreV1().Pods(namespace).Get(ctx, "app", metav1.GetOptions{}); err != nil {
				return false, err
			}
			status := pod.Status.ContainerStatuses[0]
			last = status.LastTerminationState.Terminated
			return status.Ready && status.RestartCount == int32(i+1) && last != nil, nil
		})
		if last.ExitCode != end.code || !strings.Contains(last.Message, "killed by "+end.signal) {
			t.Errorf("after %q it ended with code %d and the message %q", end.kill, last.ExitCode, last.Message)
		}
	}
}

// newNamespace makes a namespace whose pods are wrapped by a delivery.
func newNamespace(t *testing.T, delivery v1alpha1.DeliveryPolicy) string {
	t.Helper()
	profile, err := profiles.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "InitProfile",
		"metadata": map[string]any{"generateName": "runtimeclasses-"}, "spec": map[string]any{"delivery": string(delivery)},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := profiles.Delete(context.Background(), profile.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return suite.Namespace(t, client, metav1.ObjectMeta{
		GenerateName: "runtimeclasses-", Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled},
		Annotations: map[string]string{v1alpha1.ProfileAnnotation: profile.GetName()},
	})
}

// execute runs a command in the pod's container.
func execute(t *testing.T, namespace string, command ...string) string {
	t.Helper()
	var out, trouble bytes.Buffer
	kubectl := running.Kubectl(t.Context(), append([]string{"-n", namespace, "exec", "app", "--"}, command...)...)
	kubectl.Stdout, kubectl.Stderr = &out, &trouble
	if err := kubectl.Run(); err != nil {
		t.Fatalf("exec %q: %v: %s", command, err, trouble.String())
	}
	return out.String()
}
