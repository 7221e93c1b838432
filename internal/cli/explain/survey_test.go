package explain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/explain"
	"github.com/podinit/podinit/internal/registry/registrytest"
)

// cluster is an apiserver that hands out lists in pages, and counts what it is asked.
type cluster struct {
	pods      []corev1.Pod
	jobs      []batchv1.Job
	nodes     []corev1.Node
	spaces    []corev1.Namespace
	profiles  []v1alpha1.InitProfile // nil if there is no such kind
	forbidden string                 // the beginning of a path

	mu       sync.Mutex
	requests []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.requests = append(c.requests, r.Method+" "+r.URL.Path)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	refuse := func(code int, reason string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, reason+" "+r.URL.Path)
	}
	path := r.URL.Path
	switch {
	case c.forbidden != "" && strings.HasPrefix(path, c.forbidden):
		refuse(http.StatusForbidden, "Forbidden")
	case path == "/api/v1/pods" || path == "/api/v1/namespaces/team-1/pods":
		var some []corev1.Pod
		for _, p := range c.pods {
			selector := r.URL.Query().Get("labelSelector")
			if key, value, _ := strings.Cut(selector, "="); (path == "/api/v1/pods" || p.Namespace == "team-1") && (selector == "" || p.Labels[key] == value) {
				some = append(some, p)
			}
		}
		page(w, r, "v1", "PodList", some)
	case path == "/api/v1/nodes":
		page(w, r, "v1", "NodeList", c.nodes)
	case path == "/api/v1/namespaces":
		page(w, r, "v1", "NamespaceList", c.spaces)
	case path == "/apis/batch/v1/jobs":
		page(w, r, "batch/v1", "JobList", c.jobs)
	case path == "/apis/podinit.dev/v1alpha1/initprofiles" && c.profiles != nil:
		page(w, r, "podinit.dev/v1alpha1", "InitProfileList", c.profiles)
	case path == "/apis/apps/v1/deployments" || path == "/apis/apps/v1/namespaces/podinit-system/deployments":
		page(w, r, "apps/v1", "DeploymentList", []corev1.Pod{})
	default:
		refuse(http.StatusNotFound, "NotFound")
	}
}

// page writes as much of a list as is asked for.
func page[T any](w io.Writer, r *http.Request, apiVersion, kind string, all []T) {
	from, _ := strconv.Atoi(r.URL.Query().Get("continue")) // none is 0
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if limit == 0 {
		limit = len(all)
	}
	to := min(from+limit, len(all))
	next := ""
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]string{"continue": next}, "items": all[from:to]})
}

// ask runs explain against it.
func (c *cluster) ask(t *testing.T, args ...string) (out, errOut string, err error) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(c)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u, namespace: team-1}}]\ncurrent-context: x\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &file
	var o, e bytes.Buffer
	command := explain.NewCommand(flags, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &o, ErrOut: &e})
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err = command.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// deployed is a pod of a Deployment.
func deployed(namespace, deployment string, replica int, containers ...corev1.Container) corev1.Pod {
	yes := true
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-7d4b9c-%05d", deployment, replica), Labels: map[string]string{"app": deployment, "pod-template-hash": "7d4b9c"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-7d4b9c", Controller: &yes}},
		},
		Spec:   corev1.PodSpec{NodeName: fmt.Sprint("node-", replica), Containers: containers},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func report(t *testing.T, out string) (r explain.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// TestManyPods has 2,000 pods of 300 workloads in 30 namespaces: it takes a request for each page and for each thing that
// admission decides by, and each image's registry is asked once.
func TestManyPods(t *testing.T) {
	var mu sync.Mutex
	manifests := map[string]int{}
	handler := registrytest.New()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet {
			mu.Lock()
			manifests[r.URL.Path]++
			mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	const images = 20
	for i := range images {
		registrytest.Push(t, fmt.Sprintf("%s/team/app-%d:1", host, i), []string{"sleep", fmt.Sprint(i)})
	}
	mu.Lock()
	clear(manifests)
	mu.Unlock()
	config := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "registries: [{host: %q, plainHTTP: true}]\nprivateNetworks: [127.0.0.0/8]\n", host), 0o600); err != nil {
		t.Fatal(err)
	}

	c := &cluster{profiles: []v1alpha1.InitProfile{}}
	for i := range 2000 {
		w := i % 300
		app := corev1.Container{Name: "app", Image: fmt.Sprintf("%s/team/app-%d:1", host, w%images)}
		if w == 299 {
			app.Image = host + "/team/missing:1"
		}
		c.pods = append(c.pods, deployed(fmt.Sprint("team-", w%30), fmt.Sprint("web-", w), i, app, corev1.Container{Name: "log", Image: "log", Command: []string{"tini", "--", "log"}}))
	}
	out, errOut, err := c.ask(t, "-A", "--summary", "--registry-config", config, "-o", "json")
	if err != nil {
		t.Fatalf("%v: %s", err, errOut)
	}
	r := report(t, out)
	want := explain.Summary{
		Workloads: 300, Pods: 2000, Containers: 600, NeverReceiveSignal: 299,
		Verdicts:       map[explain.Verdict]int{explain.GainsSignal: 299, explain.UnknownVerdict: 1, explain.NothingToGain: 300},
		UnknownBecause: map[v1alpha1.Reason]int{v1alpha1.ReasonLookupNotFound: 1},
	}
	if diff := cmp.Diff(want, r.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if first := r.Containers[0]; first.Workload != "deployment/web-0" || first.Pods != 7 || first.PID1 != "sleep" || first.ReapedBy != "nobody" || first.Action != v1alpha1.ActionWrapped {
		t.Errorf("first of all: %+v", first)
	}
	for path, n := range manifests {
		if n > 1 && !strings.Contains(path, "missing") {
			t.Errorf("%s was read %d times", path, n)
		}
	}
	pages := 0
	for _, request := range c.requests {
		if request == "GET /api/v1/pods" {
			pages++
		}
	}
	// Besides: the webhook's Deployment, nodes and InitProfiles.
	if pages != 4 || len(c.requests) > pages+4 {
		t.Errorf("%d requests: %q", len(c.requests), c.requests)
	}
}

// What the cluster's webhook goes by counts: the namespaces' InitProfiles, and the nodes' architectures.
func TestFollowsTheCluster(t *testing.T) {
	sleep := corev1.Container{Name: "app", Image: "app", Command: []string{"sleep", "60"}}
	named := corev1.Container{Name: "no", Image: "app", Command: []string{"sleep", "60"}}
	c := &cluster{
		pods: []corev1.Pod{deployed("team-1", "a", 1, sleep, named), deployed("team-2", "b", 1, sleep, named)},
		spaces: []corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "team-1", Annotations: map[string]string{v1alpha1.ProfileAnnotation: "strict"}}}, {ObjectMeta: metav1.ObjectMeta{Name: "team-2"}},
		},
		profiles: []v1alpha1.InitProfile{{ObjectMeta: metav1.ObjectMeta{Name: "strict"}, Spec: v1alpha1.InitProfileSpec{Containers: v1alpha1.ContainersSpec{Exclude: []string{"no"}}}}},
	}
	verdicts := func(args ...string) map[string]explain.Verdict {
		out, errOut, err := c.ask(t, append([]string{"--summary", "-o", "json"}, args...)...)
		if err != nil {
			t.Fatalf("%v: %s", err, errOut)
		}
		all := map[string]explain.Verdict{}
		for _, row := range report(t, out).Containers {
			all[row.Namespace+" "+row.Workload+" "+row.Container] = row.Verdict
		}
		return all
	}
	gains, alone := explain.GainsSignal, explain.NotWrapped
	if diff := cmp.Diff(map[string]explain.Verdict{
		"team-1 deployment/a app": gains, "team-1 deployment/a no": alone, "team-2 deployment/b app": gains, "team-2 deployment/b no": gains,
	}, verdicts("-A")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]explain.Verdict{"team-2 deployment/b app": gains, "team-2 deployment/b no": gains}, verdicts("-A", "-l", "app=b")); diff != "" {
		t.Errorf("-l (-want +got):\n%s", diff)
	}
	c.forbidden = "/api/v1/namespaces/team-1/pods"
	if _, _, err := c.ask(t, "--summary"); err == nil || !strings.Contains(err.Error(), "reading pods") {
		t.Errorf("pods may not be read: %v", err)
	}
	c.forbidden = "/apis/podinit.dev"
	if _, errOut, err := c.ask(t, "--summary", "-A"); err != nil || !strings.Contains(errOut, "InitProfiles cannot be read") {
		t.Errorf("InitProfiles may not be read: %v, %s", err, errOut)
	}
}

// A registry that hangs takes the time that is given to all lookups, and no more; what it would have said is unknown.
func TestLookupTime(t *testing.T) {
	var asked atomic.Int64
	registry := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	defer registry.Close()
	defer registry.CloseClientConnections() // requests outlive who waits for them
	host := strings.TrimPrefix(registry.URL, "http://")
	config := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "registries: [{host: %q, plainHTTP: true}]\nprivateNetworks: [127.0.0.0/8]\n", host), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	for i := range 100 {
		c.pods = append(c.pods, deployed("team-1", fmt.Sprint("web-", i), i, corev1.Container{Name: "app", Image: fmt.Sprintf("%s/app-%d:1", host, i)}))
	}
	out, errOut, err := c.ask(t, "--summary", "--registry-config", config, "--lookup-time", "300ms", "-o", "wide")
	if err != nil {
		t.Fatalf("%v: %s", err, errOut)
	}
	if n := asked.Load(); n >= 100 {
		t.Errorf("%d images were looked up, the last ones after the time of all", n)
	}
	if !strings.Contains(out, "100 unknown: what runs in the image is not known (lookup-timeout: 100).") || !strings.Contains(out, "allow more time with --lookup-time") {
		t.Errorf("it prints\n%s", out)
	}
}

func TestSummaryOfManifests(t *testing.T) {
	for _, format := range []string{"table", "wide", "yaml"} {
		golden(t, "testdata/mixed.summary."+format, "--summary", "-o", format)
	}
}

func TestSummaryErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-A"}, "-A and -l require --summary"},
		{[]string{"-l", "app=x", "pod/x"}, "-A and -l require --summary"},
		{[]string{"-o", "wide", "pod/x"}, "-o wide requires --summary"},
		{[]string{"--summary", "-A", "-f", "testdata/mixed.yaml"}, "remove -f"},
		{[]string{"--summary", "-l", "!!"}, "--selector"},
		{[]string{"--summary", "--offline"}, "--offline does not ask the cluster"},
		{[]string{"--summary", "--lookup-time", "0s"}, "--lookup-time"},
		{[]string{"--summary", "--offline", "-f", "testdata/nginx.json"}, "no pod template"},
	} {
		if _, err := run(t, test.args...); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: exit code %d, %v", test.args, exit.Code(err), err)
		}
	}
}
