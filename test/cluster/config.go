package cluster

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// etc returns the path of a program's configuration.
func etc(name string) string { return filepath.Join(Dir, "etc", name) }

const sandboxRepository = "podinit-cluster/pause"

// PauseImage holds the sandboxes of pods. Its program, /pause, waits; the registry of the cluster serves it.
const PauseImage = Registry + "/" + sandboxRepository + ":latest"

func etcdArgs() []string {
	return []string{
		"--data-dir", filepath.Join(Dir, "etcd"),
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380",
		// Nothing of the cluster outlives a crash of the machine, so nothing needs to reach the disk.
		"--unsafe-no-fsync",
		"--log-level", "warn",
	}
}

func apiserverArgs() []string {
	return []string{
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", NodeIP, "--advertise-address", NodeIP, "--secure-port", "6443",
		"--tls-cert-file", pkiFile("apiserver.crt"), "--tls-private-key-file", pkiFile("apiserver.key"),
		"--client-ca-file", pkiFile("ca.crt"),
		"--kubelet-certificate-authority", pkiFile("ca.crt"),
		"--kubelet-client-certificate", pkiFile("apiserver-kubelet-client.crt"),
		"--kubelet-client-key", pkiFile("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types", "InternalIP",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", pkiFile("service-account.crt"),
		"--service-account-signing-key-file", pkiFile("service-account.key"),
		"--service-cluster-ip-range", serviceCIDR,
		"--authorization-mode", "Node,RBAC",
		"--enable-admission-plugins", "NodeRestriction",
		// Webhooks are called at the address of a ready endpoint.
		"--enable-aggregator-routing=true",
		"--allow-privileged=true",
	}
}

func controllerManagerArgs() []string {
	return []string{
		"--kubeconfig", kubeconfig("kube-controller-manager"),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file", pkiFile("service-account.key"),
		// Without it no namespace gets kube-root-ca.crt, and pods with a service account wait for it.
		"--root-ca-file", pkiFile("ca.crt"),
		"--allocate-node-cidrs=false",
	}
}

// writeConfigs writes the configuration of a node's programs that take a file.
func writeConfigs(i index, bin string) error {
	kubelet, runtime := filepath.Join(Dir, "kubelet"), runtimeOf(bin)
	files := map[string]string{
		"registry.yaml": fmt.Sprintf(`version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s}
`, filepath.Join(Dir, "registry"), Registry),

		"containerd.toml": fmt.Sprintf(`version = 3
# What a suite adds, which then restarts containerd.
imports = [%[10]q]
root = %[1]q
state = "/run/containerd"
[grpc]
  address = %[2]q
[ttrpc]
  address = "/run/containerd/containerd.sock.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = %[3]q
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = "/run/nri/nri.sock"
  plugin_path = %[8]q
  plugin_config_path = %[9]q
[plugins.'io.containerd.nri.v1.nri'.default_validator]
  enable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %[4]q
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = %[5]q
[plugins.'io.containerd.cri.v1.runtime']
  # Lowering a score takes CAP_SYS_RESOURCE, which a root of a container or a CI machine may lack.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%[6]q]
    conf_dir = %[7]q
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
`, filepath.Join(Dir, "containerd"), runtime.socket, filepath.Join(Dir, "containerd-opt"), PauseImage,
			etc("certs.d"), cniDir(), etc("cni"), filepath.Join(Dir, "nri", "plugins"), etc("nri"), etc("containerd.d/*.toml")),

		filepath.Join("certs.d", Registry, "hosts.toml"): fmt.Sprintf("server = \"http://%s\"\n", Registry),

		filepath.Join("cni", "10-podinit.conflist"): fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "podinit",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, i.podCIDR()),

		"kube-proxy.yaml": fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s}
hostnameOverride: %s
mode: nftables
# An alpha feature in Kubernetes 1.30, and on by itself since 1.31.
featureGates: {NFTablesProxyMode: true}
clusterCIDR: %s
# The machine's limits for tracked connections are not ours to change.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, kubeconfig("kube-proxy"), i.name(), clusterCIDR),

		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  x509: {clientCAFile: %[1]s}
authorization: {mode: Webhook}
address: %[2]s
tlsCertFile: %[3]s
tlsPrivateKeyFile: %[4]s
containerRuntimeEndpoint: unix://%[5]s
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%[6]s
cgroupsPerQOS: true
enforceNodeAllocatable: []
# Lowering its own score takes CAP_SYS_RESOURCE.
oomScoreAdj: 0
failSwapOn: false
resolvConf: ""
makeIPTablesUtilChains: false
podLogsDir: %[7]s
volumePluginDir: %[8]s
serializeImagePulls: false
registerWithTaints: []
# The machine's disk is shared with other work; eviction on its account would only disturb tests.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
imageGCHighThresholdPercent: 100
`, pkiFile("ca.crt"), i.address(), pkiFile("kubelet.crt"), pkiFile("kubelet.key"), runtime.socket, i.cgroup(),
			filepath.Join(Dir, "logs", "pods"), filepath.Join(kubelet, "volumeplugins")),
	}
	if runtime.name == crio {
		maps.Copy(files, crioFiles(bin))
	}
	for name, text := range files {
		path := etc(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if strings.HasPrefix(text, "#!") {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}
