package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/suite"
)

const (
	// private is a second registry, which wants a password.
	private  = cluster.NodeIP + ":5001"
	user     = "alice"
	password = "open sesame"
	// htpasswd is user and password as bcrypt has them.
	htpasswd = user + ":$2a$05$J0SNO5yN6rOx6sExZiHU7eQJwzIyNY0/uLcJjQ09n1BNOmfZxcMSq\n"
)

// lookups makes the cluster one in which images can be looked up: with a private registry, and a webhook that knows
// that both registries speak no TLS. All tests share it.
func lookups(t *testing.T) {
	t.Helper()
	lookupsOnce.Do(func() { lookupsErr = setUpLookups(context.WithoutCancel(t.Context())) })
	if lookupsErr != nil {
		t.Fatalf("setting up the private registry: %v", lookupsErr)
	}
}

var (
	lookupsOnce sync.Once
	lookupsErr  error
)

func setUpLookups(ctx context.Context) error {
	// containerd reads this when it pulls.
	hosts := filepath.Join(cluster.Dir, "etc", "certs.d", private)
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%s\"\n", private), 0o644); err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(running.Bin, "registry"))
	if err != nil {
		return err
	}
	reference, err := build(ctx, "e2e/registry", debianimage.Spec{
		Files: []debianimage.File{
			{Path: "/registry", Mode: 0o755, Content: string(program)},
			{Path: "/etc/registry/htpasswd", Mode: 0o644, Content: htpasswd},
			{Path: "/etc/registry/config.yaml", Mode: 0o644, Content: `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /tmp/registry}
  delete: {enabled: true}
http: {addr: ` + private + `}
auth:
  htpasswd: {realm: e2e, path: /etc/registry/htpasswd}
`},
		},
		Config: v1.Config{Entrypoint: []string{"/registry", "serve", "/etc/registry/config.yaml"}},
	})
	if err != nil {
		return err
	}
	grace := int64(0)
	_, err = client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "private-registry"},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "registry", Image: reference}},
		},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	config := fmt.Sprintf("registries:\n- {host: %q, plainHTTP: true}\n- {host: %q, plainHTTP: true}\n- {host: \"*.*\", lookup: off}\n", cluster.Registry, private)
	configMap, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]string{"name": "podinit-registries"},
		"data": map[string]string{"registries.yaml": config},
	})
	if err != nil {
		return err
	}
	// As kubectl, which 'make deploy' applies with: to another manager's changes it would object the next time.
	force := true
	_, err = client.CoreV1().ConfigMaps(system).Patch(ctx, "podinit-registries", apitypes.ApplyPatchType, configMap,
		metav1.PatchOptions{FieldManager: "kubectl", Force: &force})
	if err != nil {
		return err
	}
	restart := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"podinit.dev/e2e":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	if _, err := client.AppsV1().Deployments(system).Patch(ctx, "podinit-webhook", apitypes.MergePatchType, restart, metav1.PatchOptions{}); err != nil {
		return err
	}
	if out, err := kubectl(ctx, "-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=180s").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	// An apiserver may still hold a connection to an old replica, which ends.
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, suite.Patience, true, func(ctx context.Context) (bool, error) {
		replicas, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: suite.WebhookSelector})
		return err == nil && len(replicas.Items) == 2 && registryAnswers(), err
	})
}

func registryAnswers() bool {
	response, err := http.Get("http://" + private + "/v2/")
	if err == nil {
		response.Body.Close()
	}
	return err == nil
}

// build makes an image and pushes it to the cluster's registry.
func build(ctx context.Context, repository string, spec debianimage.Spec) (string, error) {
	cache, err := debianimage.UserCache(os.Stderr)
	if err != nil {
		return "", err
	}
	built, err := cache.Build(ctx, spec)
	if err != nil {
		return "", err
	}
	return cluster.Push(ctx, repository, built)
}

// shell is the shell image with another config.
func shell(t *testing.T, config v1.Config, architecture string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(shellImage, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	base, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	file, err := base.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	config.User, config.Env = file.Config.User, file.Config.Env
	file.Config = config
	if architecture != "" {
		file.Architecture = architecture
	}
	changed, err := mutate.ConfigFile(base, file)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// push pushes to "host/repository:tag", to the private registry as its user, and returns that name.
func push(t *testing.T, tag string, what remote.Taggable) string {
	t.Helper()
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what, asUser(tag))
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, asUser(tag))
	}
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func asUser(tag string) remote.Option {
	if strings.HasPrefix(tag, private) {
		return remote.WithAuth(&authn.Basic{Username: user, Password: password})
	}
	return remote.WithAuth(authn.Anonymous)
}

// imagePod runs what its image says.
func imagePod(name, image string, secrets ...string) *corev1.Pod {
	pod := shellPod(name)
	pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = image, nil
	for _, s := range secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return pod
}

// statusOf is what the pod's status says of its container.
func statusOf(t *testing.T, pod *corev1.Pod) v1alpha1.ContainerStatus {
	t.Helper()
	return suite.Status(t, pod).Containers[pod.Spec.Containers[0].Name]
}

// tried creates the pod without keeping it.
func tried(t *testing.T, ns string, pod *corev1.Pod) v1alpha1.ContainerStatus {
	t.Helper()
	return statusOf(t, admit(t, ns, pod))
}

// TestImageSaysTheSame runs images that say what they run, in words that the kubelet would expand in a pod, without
// and with podinit: they write the same.
func TestImageSaysTheSame(t *testing.T) {
	lookups(t)
	plain, wrapped := namespace(t, nil), namespace(t, optedIn())
	words := []string{"$HOME", "$$", "$(X)", "$$(X)", "$$$", "a b", "", "é\"\\"}
	for name, c := range map[string]struct {
		config v1.Config
		args   []string
	}{
		"entrypoint":          {config: v1.Config{Entrypoint: append([]string{"printf", "<%s>"}, words...)}},
		"cmd":                 {config: v1.Config{Cmd: append([]string{"printf", "<%s>"}, words...)}},
		"entrypoint-and-cmd":  {config: v1.Config{Entrypoint: []string{"printf", "<%s>", "$(X)"}, Cmd: words}},
		"entrypoint-and-args": {config: v1.Config{Entrypoint: []string{"printf", "<%s>", "$(X)"}, Cmd: words}, args: []string{"$(X)", "$$(X)", "mine"}},
		"args-for-cmd":        {config: v1.Config{Cmd: []string{"false"}}, args: []string{"printf", "%s", "$(X)"}},
		"shell-form":          {config: v1.Config{Entrypoint: []string{"/bin/sh", "-c", `echo "$X $(echo $X) $(( $$ > 0 ))"; exit 3`}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reference := push(t, cluster.Registry+"/e2e/says-"+name+":1", shell(t, c.config, ""))
			type result struct {
				log  string
				code int32
			}
			var results []result
			for _, ns := range []string{plain, wrapped} {
				pod := imagePod(name, reference)
				pod.Spec.Containers[0].Args = c.args
				pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", Value: "expanded"}}
				created := create(t, ns, pod)
				if s := v1alpha1.SourceRegistry; ns == wrapped && statusOf(t, created).Source != s {
					t.Errorf("status %+v, want source %s", statusOf(t, created), s)
				}
				last := ended(t, created)
				results = append(results, result{logs(t, last), last.Status.ContainerStatuses[0].State.Terminated.ExitCode})
			}
			if results[0] != results[1] || results[0].log == "" {
				t.Errorf("without podinit %+v, with it %+v", results[0], results[1])
			}
		})
	}
}

// TestPrivateImage looks an image up with the pod's own credentials, and runs it.
func TestPrivateImage(t *testing.T) {
	lookups(t)
	ns, other := namespace(t, optedIn()), namespace(t, optedIn())
	reference := push(t, private+"/team/app:1", shell(t, v1.Config{Entrypoint: []string{"sh", "-c", "ps -o args= -p 1"}}, ""))
	for secret, login := range map[string]string{"right": password, "wrong": "abracadabra"} {
		config, err := json.Marshal(map[string]any{"auths": map[string]any{private: map[string]string{"username": user, "password": login}}})
		if err != nil {
			t.Fatal(err)
		}
		makeSecret(t, ns, secret, string(config))
	}
	makeSecret(t, ns, "broken", `{"auths":{"`+private+`":{"auth":"%%%"}}}`)

	// Who may not read it learns nothing, also after somebody else has made it known.
	for _, secrets := range [][]string{{"wrong"}, nil, {"broken", "missing"}} {
		if s := tried(t, ns, imagePod("app", reference, secrets...)); s.Reason != v1alpha1.ReasonLookupUnauthorized {
			t.Errorf("with secrets %q: %+v", secrets, s)
		}
	}
	// A kubelet would not even try with a secret that is broken beside a right one; the lookup does.
	if s := tried(t, ns, imagePod("app", reference, "broken", "right")); s.Action != v1alpha1.ActionWrapped {
		t.Errorf("with a broken secret and a right one: %+v", s)
	}
	pod := create(t, ns, imagePod("app", reference, "wrong", "right"))
	if s := statusOf(t, pod); s.Source != v1alpha1.SourceRegistry || !strings.HasPrefix(s.Digest, "sha256:") {
		t.Errorf("status %+v", s)
	}
	if log := logs(t, ended(t, pod)); !strings.HasPrefix(log, "/podinit/init ") {
		t.Errorf("PID 1 is %q", log)
	}
	for _, try := range []struct {
		ns      string
		secrets []string
	}{{ns, []string{"wrong"}}, {ns, nil}, {other, []string{"right"}}} {
		if s := tried(t, try.ns, imagePod("again", reference, try.secrets...)); s.Reason != v1alpha1.ReasonLookupUnauthorized {
			t.Errorf("in %s with secrets %q: %+v", try.ns, try.secrets, s)
		}
	}
}

func makeSecret(t *testing.T, ns, name, config string) {
	t.Helper()
	_, err := client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, StringData: map[string]string{corev1.DockerConfigJsonKey: config},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTagThatMoves looks a tag up that stands for something else each time, and then for nothing.
func TestTagThatMoves(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	tag := cluster.Registry + "/e2e/moves:" + fmt.Sprint(time.Now().UnixNano())
	digests := map[string]bool{}
	for i := range 3 {
		push(t, tag, shell(t, v1.Config{Entrypoint: []string{"echo", fmt.Sprint(i)}}, ""))
		pod := imagePod("app", tag)
		pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
		created := admit(t, ns, pod)
		if command := created.Spec.Containers[0].Command; command == nil || command[len(command)-1] != fmt.Sprint(i) {
			t.Errorf("version %d: command %q", i, command)
		}
		digests[statusOf(t, created).Digest] = true
	}
	if len(digests) != 3 {
		t.Errorf("digests %v, want three", digests)
	}
	// Registries delete by digest.
	for digest := range digests {
		ref, err := name.NewDigest(strings.Split(tag, ":5000/")[0]+":5000/e2e/moves@"+digest, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
	pod := imagePod("app", tag)
	pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	if s := tried(t, ns, pod); s.Reason != v1alpha1.ReasonLookupNotFound {
		t.Errorf("what was deleted: %+v", s)
	}
}

// TestIndex runs images that say something else on every architecture, of which the cluster has one: on pods that could
// run on both, the init picks.
func TestIndex(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	node, err := client.CoreV1().Nodes().Get(t.Context(), cluster.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := node.Status.NodeInfo.Architecture
	// says makes an index whose parts have each the config of their architecture.
	says := func(tag string, config func(architecture string) v1.Config) (reference string, digest v1.Hash) {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, architecture := range []string{"arm64", "amd64", "unknown"} {
			platform := v1.Platform{OS: "linux", Architecture: architecture}
			if architecture == "unknown" {
				platform.OS = "unknown" // BuildKit's attestations
			}
			part := shell(t, config(architecture), architecture)
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: part, Descriptor: v1.Descriptor{Platform: &platform}})
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return push(t, cluster.Registry+"/e2e/index-"+tag+":1", index), digest
	}
	both := func(name, image string, args ...string) *corev1.Pod {
		pod := imagePod(name, image)
		pod.Spec.Containers[0].Args = args
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: corev1.LabelArchStable, Operator: corev1.NodeSelectorOpIn, Values: []string{"amd64", "arm64"}},
			}}},
		}}}
		return pod
	}
	check := func(pod *corev1.Pod, digest v1.Hash, platforms int, log string) {
		t.Helper()
		if got := strings.Count(strings.Join(pod.Spec.Containers[0].Command, "\n"), "\n--platform=linux/"); got != platforms {
			t.Errorf("%s: command %q, want %d platforms", pod.Name, pod.Spec.Containers[0].Command, platforms)
		}
		if s := statusOf(t, pod); s.Digest != digest.String() || s.Source != v1alpha1.SourceRegistry {
			t.Errorf("%s: status %+v, want the index's digest %s", pod.Name, s, digest)
		}
		if got := logs(t, ended(t, pod)); got != log {
			t.Errorf("%s: it says %q, want %q", pod.Name, got, log)
		}
	}

	words, digest := says("words", func(architecture string) v1.Config {
		return v1.Config{Entrypoint: []string{"printf", "<%s>", architecture, "$HOME", "$$"}, Cmd: []string{"--", "cmd"}}
	})
	check(create(t, ns, imagePod("one", words)), digest, 0, "<"+own+"><$HOME><$$><--><cmd>")
	check(create(t, ns, both("both", words)), digest, 2, "<"+own+"><$HOME><$$><--><cmd>")
	args := both("args", words, "$(OWN)", "--")
	args.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "OWN", Value: "expanded"}}
	check(create(t, ns, args), digest, 2, "<"+own+"><$HOME><$$><expanded><-->")

	signals, _ := says("signals", func(architecture string) v1.Config {
		signal := map[string]string{own: "SIGUSR1"}[architecture]
		return v1.Config{Entrypoint: []string{"sh", "-c", "trap 'echo " + architecture + "; exit 4' USR1; sleep 1000 & wait"}, StopSignal: signal}
	})
	// The runtime stops it with its platform's signal.
	stopped := started(t, create(t, ns, both("signals", signals)))
	if want := "--platform=linux/" + own + ":3:SIGUSR1"; !slices.Contains(stopped.Spec.Containers[0].Command, want) {
		t.Errorf("command %q has no %s", stopped.Spec.Containers[0].Command, want)
	}
	if code, log := stopAndRead(t, stopped); code != 4 || log != own+"\n" {
		t.Errorf("stopped, it says %q and ends with %d, want %s and 4", log, code, own)
	}

	// What another platform runs counts too.
	systemd, _ := says("systemd", func(architecture string) v1.Config {
		return v1.Config{Entrypoint: []string{map[string]string{own: "app"}[architecture] + "/sbin/init"}}
	})
	if s := tried(t, ns, both("systemd", systemd)); s.Reason != v1alpha1.ReasonRequiresPID1 {
		t.Errorf("where the other platform's must be PID 1: %+v", s)
	}
}

// TestPinned runs an image by the digest that was looked up.
func TestPinned(t *testing.T) {
	lookups(t)
	ns := withProfile(t, v1alpha1.InitProfileSpec{PinDigest: v1alpha1.PinOnLookup})
	tag := push(t, cluster.Registry+"/e2e/pinned:1", shell(t, v1.Config{Entrypoint: []string{"echo", "pinned"}}, ""))
	admitted(t, ns, imagePod("app", tag), "is pinned", func(pod *corev1.Pod) bool {
		return pod.Spec.Containers[0].Image == tag+"@"+statusOf(t, pod).Digest
	})
	if log := logs(t, ended(t, create(t, ns, imagePod("app", tag)))); log != "pinned\n" {
		t.Errorf("it says %q", log)
	}
}

// TestOfficialStyleImages runs images as the official ones are made, an entrypoint script and a cmd, without and with
// podinit, and stops them: they end with the same code.
func TestOfficialStyleImages(t *testing.T) {
	lookups(t)
	plain, wrapped := namespace(t, nil), namespace(t, optedIn())
	const id = 65532
	writable := func(path string) debianimage.File {
		return debianimage.File{Path: path, Mode: os.ModeDir | 0o700, UID: id}
	}
	for name, c := range map[string]struct {
		spec  debianimage.Spec
		ready []string
	}{
		"nginx": {
			spec: debianimage.Spec{
				Packages: []string{"nginx-light", "bash", "coreutils", "procps"},
				Files: []debianimage.File{
					{Path: "/docker-entrypoint.sh", Mode: 0o755, Content: "#!/bin/sh\nset -e\necho \"$0: ready for start up\"\nexec \"$@\"\n"},
					{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: `pid /tmp/nginx.pid; error_log stderr notice;
events {} http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 8080; } }`},
					writable("/var/lib/nginx"), writable("/var/log/nginx"),
				},
				Config: v1.Config{Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT"},
			},
			ready: []string{"test", "-s", "/tmp/nginx.pid"},
		},
		"redis": {
			spec: debianimage.Spec{
				Packages: []string{"redis-server", "redis-tools", "bash", "coreutils", "procps"},
				Files: []debianimage.File{{Path: "/usr/local/bin/docker-entrypoint.sh", Mode: 0o755, Content: `#!/bin/sh
set -e
if [ "${1#-}" != "$1" ]; then set -- redis-server "$@"; fi
exec "$@"
`}},
				Config: v1.Config{Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"redis-server", "--save", "", "--dir", "/tmp"}},
			},
			ready: []string{"redis-cli", "ping"},
		},
		"postgres": {
			spec: debianimage.Spec{
				Packages: []string{"postgresql", "bash", "coreutils", "procps"},
				Without:  []string{"libllvm14", "libllvm19", "libllvm16"},
				Files: []debianimage.File{{Path: "/docker-entrypoint.sh", Mode: 0o755, Content: `#!/usr/bin/env bash
set -Eeo pipefail
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"; export PGDATA=/tmp/data LC_ALL=C
if [ ! -s "$PGDATA/PG_VERSION" ]; then initdb --no-sync -A trust -U postgres >/dev/null; fi
exec "$@"
`}},
				Users:  []debianimage.User{{Name: "app", ID: id}},
				Config: v1.Config{Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"postgres", "-k", "/tmp", "-c", "fsync=off"}, StopSignal: "SIGINT"},
			},
			ready: []string{"bash", "-c", "/usr/lib/postgresql/*/bin/psql -h /tmp -U postgres -c 'select 1'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Config.User = fmt.Sprintf("%d:%d", id, id)
			reference, err := build(t.Context(), "e2e/official-"+name, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			var codes []int32
			for _, ns := range []string{plain, wrapped} {
				pod := imagePod(name, reference)
				grace := int64(60)
				pod.Spec.TerminationGracePeriodSeconds = &grace
				pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
					ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: c.ready}}, PeriodSeconds: 1, TimeoutSeconds: 20, FailureThreshold: 1000,
				}
				created := create(t, ns, pod)
				if ns == wrapped {
					if s := statusOf(t, created); s.Source != v1alpha1.SourceRegistry {
						t.Errorf("status %+v", s)
					}
					if signal := c.spec.Config.StopSignal; signal != "" && !strings.Contains(strings.Join(created.Spec.Containers[0].Command, " "), "--stop-signal="+signal) {
						t.Errorf("command %q has no %s", created.Spec.Containers[0].Command, signal)
					}
				}
				code, _ := stopAndRead(t, started(t, created))
				codes = append(codes, code)
			}
			if codes[0] != codes[1] {
				t.Errorf("it ends with %d without podinit and with %d with it", codes[0], codes[1])
			}
		})
	}
}

// TestRegistryIsDown takes the private registry away and brings it back. Meanwhile an image that is known is wrapped,
// one that is not is left alone; both are created. Afterwards both are wrapped.
func TestRegistryIsDown(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	config, err := json.Marshal(map[string]any{"auths": map[string]any{private: map[string]string{"username": user, "password": password}}})
	if err != nil {
		t.Fatal(err)
	}
	makeSecret(t, ns, "right", string(config))
	app := shell(t, v1.Config{Entrypoint: []string{"true"}}, "")
	known := imagePod("known", push(t, private+"/team/known:1", app), "right")
	known.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	fresh := known.DeepCopy()
	fresh.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	wrapped := func(pod *corev1.Pod) bool { return statusOf(t, pod).Action == v1alpha1.ActionWrapped }
	admitted(t, ns, known, "is wrapped", wrapped) // by every replica

	pods := client.CoreV1().Pods("default")
	registry, err := pods.Get(t.Context(), "private-registry", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(t.Context(), registry.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lookupsOnce = sync.Once{} }) // who comes next sets up what is missing
	suite.Eventually(t, "the end of the registry", func(ctx context.Context) (bool, error) {
		_, err := pods.Get(ctx, registry.Name, metav1.GetOptions{})
		// Without a grace period the pod goes before its container does.
		return apierrors.IsNotFound(err) && !registryAnswers(), nil
	})
	unknown := imagePod("unknown", private+"/team/unknown:1", "right")
	if s := tried(t, ns, unknown); s.Reason != v1alpha1.ReasonLookupUnreachable {
		t.Errorf("an image that is not known: %+v", s)
	}
	if s := tried(t, ns, known); s.Action != v1alpha1.ActionWrapped {
		t.Errorf("an image that is known: %+v", s)
	}
	if s := tried(t, ns, fresh); s.Reason != v1alpha1.ReasonLookupUnreachable {
		t.Errorf("an image that is known, of which the node would ask for the newest: %+v", s)
	}

	registry.ObjectMeta = metav1.ObjectMeta{Name: registry.Name}
	registry.Spec.NodeName = ""
	if _, err := pods.Create(t.Context(), registry, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "the registry", func(context.Context) (bool, error) { return registryAnswers(), nil })
	push(t, private+"/team/unknown:1", app)
	push(t, private+"/team/known:1", app)
	admitted(t, ns, unknown, "is wrapped", wrapped)
	admitted(t, ns, known, "is wrapped", wrapped)
	admitted(t, ns, fresh, "is wrapped", wrapped)
}

// TestRegistriesThatAreNotAsked names registries that are none.
func TestRegistriesThatAreNotAsked(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	for image, want := range map[string]v1alpha1.Reason{
		"169.254.169.254/latest/meta-data:1": v1alpha1.ReasonLookupForbidden, // a cloud's metadata service
		"10.96.0.1/kubernetes/api:1":         v1alpha1.ReasonLookupForbidden, // the apiserver
		"localhost:8081/healthz/app:1":       v1alpha1.ReasonLookupForbidden, // the webhook itself
		cluster.NodeIP + ":5999/e2e/app:1":   v1alpha1.ReasonLookupUnreachable,
		cluster.NodeIP + ":10250/e2e/app:1":  v1alpha1.ReasonLookupTLS, // the kubelet, whose certificate nobody knows
	} {
		if s := tried(t, ns, imagePod("app", image)); s.Reason != want {
			t.Errorf("%s: %+v, want %s", image, s, want)
		}
	}
}
