package main

// pluginManifest is what krew, kubectl's plugin manager, reads: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
type pluginManifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       pluginSpec        `json:"spec"`
}

type pluginSpec struct {
	Version          string           `json:"version"`
	Homepage         string           `json:"homepage"`
	ShortDescription string           `json:"shortDescription"`
	Description      string           `json:"description"`
	Platforms        []pluginPlatform `json:"platforms"`
}

type pluginPlatform struct {
	Selector selector `json:"selector"`
	URI      string   `json:"uri"`
	SHA256   string   `json:"sha256"`
	Bin      string   `json:"bin"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// plugin is the manifest without its platforms.
func plugin(version string) pluginManifest {
	return pluginManifest{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2",
		Kind:       "Plugin",
		Metadata:   map[string]string{"name": "podinit"},
		Spec: pluginSpec{
			Version:          version,
			Homepage:         "https://github.com/podinit/podinit",
			ShortDescription: "Give pods a real PID 1",
			Description: "Wraps manifests as podinit's admission webhook does, shows which process is PID 1 in a pod and whether\n" +
				"SIGTERM reaches its program, and looks after an installation of podinit.\n",
		},
	}
}
