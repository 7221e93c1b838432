package hostile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/config"
)

const (
	system   = "podinit-system"
	usual    = "shop"    // namespace of the tenant that nothing may happen to
	attacked = "mallory" // namespace of the attacker
)

// world is what there is around the webhook.
type world struct {
	directory  string
	admin      client.Client
	shop       *kubernetes.Clientset
	apiservers [2]string // addresses: the other tenant's, the attacker's
	webhook    string    // its address
	health     string
	memory     int64
	goLimit    string
	group      *group
	registries *registries
}

// newWorld starts etcd and two apiservers, and puts into them what podinit is deployed with, and two tenants.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{directory: t.TempDir(), webhook: free(t), health: free(t)}
	w.registries = newRegistries(t)
	etcd := "http://" + free(t)
	w.start(t, false, filepath.Join(*binFlag, "etcd"), "--data-dir", w.file("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", "http://"+free(t), "--unsafe-no-fsync", "--log-level", "error")
	w.writePKI(t)
	w.write(t, "tokens.csv", "admintoken,admin,1,system:masters\nshoptoken,shop,2\nmallorytoken,mallory,3\n")
	w.write(t, "admission.yaml", fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: MutatingAdmissionWebhook
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: %s
`, w.file("callers.yaml")))
	w.write(t, "callers.yaml", fmt.Sprintf("apiVersion: v1\nkind: Config\nusers:\n- name: %q\n  user: {client-certificate: %s, client-key: %s}\n", w.webhook, w.file("apiserver.crt"), w.file("apiserver.key")))
	for i := range w.apiservers {
		w.apiservers[i] = free(t)
		_, port, _ := net.SplitHostPort(w.apiservers[i])
		w.start(t, i == 1, filepath.Join(*binFlag, "kube-apiserver"), "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", port,
			"--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none", "--cert-dir", w.file(fmt.Sprint("apiserver", i)),
			"--token-auth-file", w.file("tokens.csv"), "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", w.file("accounts.key"),
			"--service-account-signing-key-file", w.file("accounts.key"), "--admission-control-config-file", w.file("admission.yaml"))
	}
	w.populate(t)
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.directory, name) }

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(w.file(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// free is an address where nothing listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a program until the test ends, at a low priority if it is the attacker's. Its output goes to a file.
func (w *world) start(t *testing.T, ofAttacker bool, program string, args ...string) {
	t.Helper()
	out, err := os.Create(w.file(fmt.Sprintf("%s-%d.log", filepath.Base(program), time.Now().UnixNano())))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	if ofAttacker {
		cmd = exec.Command("nice", append([]string{"-n", niceness, program}, args...)...)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
}

// writePKI writes the webhook's certificate, the apiservers' for it with its authority, and the key for service accounts.
func (w *world) writePKI(t *testing.T) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = template, key
		}
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	write := func(name string, certificate *x509.Certificate, key *ecdsa.PrivateKey) {
		if certificate != nil {
			w.write(t, name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})))
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	}
	ca, caKey := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	write("ca", ca, caKey)
	server, serverKey := sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, caKey)
	write("tls", server, serverKey)
	caller, callerKey := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, caKey)
	write("apiserver", caller, callerKey)
	_, accounts := sign(&x509.Certificate{}, ca, caKey)
	write("accounts", nil, accounts)
}

func (w *world) restConfig(i int, token string) *rest.Config {
	return &rest.Config{Host: "https://" + w.apiservers[i], BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1, WarningHandler: rest.NoWarnings{}}
}

// populate applies what config/ deploys, with the webhook's address in place of its Service, and makes the tenants.
func (w *world) populate(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range w.apiservers {
		ready, err := kubernetes.NewForConfig(w.restConfig(i, "admintoken"))
		if err != nil {
			t.Fatal(err)
		}
		w.until(t, fmt.Sprintf("apiserver %d to be ready", i), func() error {
			return ready.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		})
	}
	var err error
	if w.shop, err = kubernetes.NewForConfig(w.restConfig(0, "shoptoken")); err != nil {
		t.Fatal(err)
	}
	if w.admin, err = client.New(w.restConfig(0, "admintoken"), client.Options{}); err != nil {
		t.Fatal(err)
	}
	create := func(object client.Object) {
		t.Helper()
		w.until(t, "creating "+object.GetName(), func() error { return client.IgnoreAlreadyExists(w.admin.Create(ctx, object)) })
	}
	objects, err := config.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, kinds := range [][]string{{"Namespace", "CustomResourceDefinition"}, {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}, {"MutatingWebhookConfiguration", "Deployment"}} {
		for _, object := range objects {
			for _, kind := range kinds {
				if object.GetKind() == kind {
					w.deploy(t, create, object)
				}
			}
		}
	}
	for _, name := range []string{usual, attacked} {
		create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"podinit.dev/inject": "enabled"}}})
		create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: name}})
		// Without a controller manager the roles that are put together of others are empty.
		create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "edit", Namespace: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
		})
	}
	create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull", Namespace: usual}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":"shop","password":%q}}}`, w.registries.good, goodPassword)},
	})

	accounts, err := kubernetes.NewForConfig(w.restConfig(0, "admintoken"))
	if err != nil {
		t.Fatal(err)
	}
	hours := int64(6 * 3600)
	token, err := accounts.CoreV1().ServiceAccounts(system).CreateToken(ctx, "podinit-webhook",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
`, w.apiservers[0], token.Status.Token))
	w.write(t, "registries.yaml", w.registries.config())
	w.group = newGroup(t, w.memory)
}

// deploy puts one object of config/ into the cluster, or learns from it how the webhook is run.
func (w *world) deploy(t *testing.T, create func(client.Object), object unstructured.Unstructured) {
	t.Helper()
	switch object.GetKind() {
	case "Deployment":
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
			t.Fatal(err)
		}
		limit := deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory()
		w.memory, w.goLimit = limit.Value(), fmt.Sprintf("%d000000", limit.Value()>>20) // as the Deployment's environment says
	case "MutatingWebhookConfiguration":
		var configuration admissionregistrationv1.MutatingWebhookConfiguration
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &configuration); err != nil {
			t.Fatal(err)
		}
		ca, err := os.ReadFile(w.file("ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		url := "https://" + w.webhook + "/mutate"
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}
		}
		create(&configuration)
	default:
		create(&object)
	}
}

// until tries until it succeeds.
func (w *world) until(t *testing.T, what string, do func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("waiting for %s: %v; logs are in %s", what, err, w.directory)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// process is a webhook that runs.
type process struct {
	w      *world
	cmd    *exec.Cmd
	ended  chan struct{}
	log    *os.File
	before int // processes that the memory limit had ended
	once   sync.Once
}

// startWebhook runs the webhook as its Deployment does, with more arguments if any, and waits until it is ready.
func (w *world) startWebhook(t *testing.T, more ...string) *process {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "webhook.log"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(w.webhook)
	args := []string{"-c", `echo $$ >"$0" && exec "$@"`, w.group.procs(), *webhookFlag, "-init-image=registry.example/podinit/init:v1", "-port=" + port,
		"-metrics-bind-address=0", "-health-probe-bind-address=" + w.health, "-namespace=" + system, "-certificate-directory=" + w.directory,
		"-registry-config=" + w.file("registries.yaml")}
	for _, argument := range more {
		args = append(args, strings.ReplaceAll(argument, "DIRECTORY", w.directory))
	}
	w.group.reset()
	p := &process{w: w, cmd: exec.Command("/bin/sh", args...), ended: make(chan struct{}), log: out, before: w.group.killed()}
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+w.file("kubeconfig"), "GOMEMLIMIT="+w.goLimit)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { _, _ = p.stop() })
	w.until(t, "the webhook to be ready", func() error {
		select {
		case <-p.ended:
			t.Fatalf("the webhook has ended:\n%s", p.tail())
		default:
		}
		response, err := http.Get("http://" + w.health + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
	return p
}

// stop ends the webhook, and returns the most memory that it has used; it is an error if it has ended by itself.
func (p *process) stop() (peak int64, err error) {
	p.once.Do(func() {
		peak = p.w.group.most()
		select {
		case <-p.ended:
			err = fmt.Errorf("has ended: %v", p.cmd.ProcessState)
		default:
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
		if n := p.w.group.killed() - p.before; n > 0 {
			err = errors.Join(err, errors.New("the memory limit has ended it"))
		}
	})
	return peak, err
}

func (p *process) logged() int64 {
	info, err := p.log.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// tail is the end of its log.
func (p *process) tail() string {
	const most = 4 << 10
	text := make([]byte, most)
	n, _ := p.log.ReadAt(text, max(0, p.logged()-most))
	return string(bytes.TrimSpace(text[:n]))
}
