// Package controlplane runs what stands around podinit's webhook as real programs on loopback, without nodes: etcd,
// kube-apiservers with what config/ deploys, and the webhook itself under the memory limit of its Deployment. Each program
// ends with this one.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Namespace is the webhook's.
const Namespace = "podinit-system"

// patience bounds every wait for a condition.
const patience = time.Minute

// Options of a ControlPlane.
type Options struct {
	// Programs is the directory of etcd and kube-apiserver, as 'make cluster-programs' builds them; Webhook is the webhook's
	// program.
	Programs, Webhook string
	// Directory is for certificates, configuration, data and logs. It exists.
	Directory string
	// Niceness has one entry for each apiserver: how much less than others it counts for the kernel's scheduler (nice(1)).
	Niceness []int
	// Users are known to the apiservers besides admin, by the token NAMEtoken. They have no rights.
	Users []string
	// EtcdArguments and APIServerArguments are further ones.
	EtcdArguments, APIServerArguments []string
	// Replicas of the webhook that may be started. The apiservers call the first.
	Replicas int
}

// ControlPlane is one that runs.
type ControlPlane struct {
	options Options
	// Admin may do everything.
	Admin client.Client
	// APIServers are the addresses of the apiservers.
	APIServers []string
	// Etcd and APIServerPrograms are the processes.
	Etcd              *Program
	APIServerPrograms []*Program
	// Memory is the webhook's limit, in bytes.
	Memory int64

	goLimit  string
	replicas []*replica

	mu       sync.Mutex // of programs
	programs []*Program
}

// Start starts etcd and the apiservers, and puts into them what config/ deploys. Stop is to be called also after an error.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	c := &ControlPlane{options: o}
	for range o.Replicas {
		c.replicas = append(c.replicas, newReplica())
	}
	if err := errors.Join(c.writePKI(), c.writeConfiguration()); err != nil {
		return c, err
	}
	etcd := "http://" + Free()
	var err error
	c.Etcd, err = c.Run(0, filepath.Join(o.Programs, "etcd"), slices.Concat([]string{"--data-dir", c.File("etcd"),
		"--listen-client-urls", etcd,
		"--advertise-client-urls", etcd, "--listen-peer-urls", "http://" + Free(), "--unsafe-no-fsync", "--log-level", "error"},
		o.EtcdArguments)...)
	if err != nil {
		return c, err
	}
	for i, niceness := range o.Niceness {
		address := Free()
		_, port, _ := net.SplitHostPort(address)
		program, err := c.Run(niceness, filepath.Join(o.Programs, "kube-apiserver"), slices.Concat([]string{
			"--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", port, "--advertise-address", "192.0.2.1",
			"--endpoint-reconciler-type", "none", "--cert-dir", c.File(fmt.Sprint("apiserver", i)), "--token-auth-file", c.File("tokens.csv"),
			"--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", c.File("accounts.crt"),
			"--service-account-signing-key-file", c.File("accounts.key"), "--admission-control-config-file", c.File("admission.yaml"),
		}, o.APIServerArguments)...)
		if err != nil {
			return c, err
		}
		c.APIServers, c.APIServerPrograms = append(c.APIServers, address), append(c.APIServerPrograms, program)
	}
	return c, c.deploy(ctx)
}

// Stop ends all programs, the last one first, and removes what they have left outside of the directory.
func (c *ControlPlane) Stop() error {
	for _, p := range slices.Backward(c.programs) {
		p.Kill()
	}
	var all []error
	for _, r := range c.replicas {
		all = append(all, r.group.remove())
	}
	return errors.Join(all...)
}

// File is the path of a file of the directory.
func (c *ControlPlane) File(name string) string { return filepath.Join(c.options.Directory, name) }

// Write writes a file of the directory.
func (c *ControlPlane) Write(name, text string) error {
	return os.WriteFile(c.File(name), []byte(text), 0o600)
}

// writeConfiguration writes the apiservers' users, and the credentials with which they call the webhook.
func (c *ControlPlane) writeConfiguration() error {
	tokens := "admintoken,admin,1,system:masters\n"
	for i, user := range c.options.Users {
		tokens += fmt.Sprintf("%stoken,%[1]s,%d\n", user, i+2)
	}
	return errors.Join(
		c.Write("tokens.csv", tokens),
		c.Write("admission.yaml", fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: MutatingAdmissionWebhook
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: %s
`, c.File("callers.yaml"))),
		c.Write("callers.yaml",
			fmt.Sprintf("apiVersion: v1\nkind: Config\nusers:\n- name: %q\n  user: {client-certificate: %s, client-key: %s}\n",
				c.replicas[0].address, c.File("apiserver.crt"), c.File("apiserver.key"))))
}

// RESTConfig is a user's for one apiserver.
func (c *ControlPlane) RESTConfig(apiserver int, user string) *rest.Config {
	return &rest.Config{
		Host: "https://" + c.APIServers[apiserver], BearerToken: user + "token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1,
		WarningHandler: rest.NoWarnings{},
	}
}

// WriteKubeconfig writes one with a bearer token for a server.
func (c *ControlPlane) WriteKubeconfig(name, server, token string) error {
	return c.Write(name, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
`, server, token))
}

// ready waits until every apiserver is.
func (c *ControlPlane) ready(ctx context.Context) error {
	for i := range c.APIServers {
		clientset, err := kubernetes.NewForConfig(c.RESTConfig(i, "admin"))
		if err != nil {
			return err
		}
		err = Until(ctx, fmt.Sprintf("apiserver %d to be ready; logs are in %s", i, c.options.Directory), func() error {
			return clientset.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Until tries until it succeeds, for a minute at most.
func Until(ctx context.Context, what string, do func() error) error {
	for end := time.Now().Add(patience); ; {
		err := do()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Free is an address where nothing listens.
func Free() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("listening on loopback: %v", err))
	}
	defer l.Close()
	return l.Addr().String()
}

// Program is one that runs.
type Program struct {
	PID   int
	cmd   *exec.Cmd
	ended chan struct{}
	log   *os.File
}

// Run runs a program at a niceness until Stop, its output in a file. It dies with this process.
func (c *ControlPlane) Run(niceness int, program string, args ...string) (*Program, error) {
	cmd := exec.Command(program, args...)
	if niceness > 0 {
		cmd = exec.Command("nice", append([]string{"-n", fmt.Sprint(niceness), program}, args...)...)
	}
	return c.run(filepath.Base(program), cmd)
}

func (c *ControlPlane) run(name string, cmd *exec.Cmd) (*Program, error) {
	out, err := os.CreateTemp(c.options.Directory, name+"-*.log")
	if err != nil {
		return nil, err
	}
	p := &Program{cmd: cmd, ended: make(chan struct{}), log: out}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.PID = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs = append(c.programs, p)
	return p, nil
}

// Ended says that it has, with what state.
func (p *Program) Ended() error {
	select {
	case <-p.ended:
		return fmt.Errorf("has ended: %v", p.cmd.ProcessState)
	default:
		return nil
	}
}

// Kill ends it, and waits until it is gone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Logged is how much it has written, in bytes.
func (p *Program) Logged() int64 {
	info, err := p.log.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// Tail is the end of what it has written.
func (p *Program) Tail() string {
	const most = 4 << 10
	text := make([]byte, most)
	n, _ := p.log.ReadAt(text, max(0, p.Logged()-most))
	return strings.TrimSpace(string(text[:n]))
}
