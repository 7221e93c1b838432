package webhookoptions

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// defaults is what holds when only what is required is said.
func defaults(change func(*Options)) Options {
	o := Options{
		InitImage: "r/init:1", Port: 10250, MetricsAddress: ":8080", HealthAddress: ":8081", Namespace: "podinit-system",
		Service: "podinit-webhook", Secret: "podinit-webhook-certificate", WebhookConfiguration: "zz-podinit",
		ExcludedNamespaces: []string{"podinit-system", "kube-system", "kube-public", "kube-node-lease"},
		Lookups:            true, LookupTime: 3 * time.Second, PullSecrets: true, Events: true,
	}
	change(&o)
	return o
}

func TestParse(t *testing.T) {
	environment := map[string]string{"PODINIT_INIT_IMAGE": "r/init:1", "POD_NAMESPACE": "podinit-system"}
	for name, c := range map[string]struct {
		args        string
		environment map[string]string
		want        Options
	}{
		"environment": {environment: environment, want: defaults(func(*Options) {})},
		"flags win": {args: "-init-image=r/init:2 -namespace=here -port=10260", environment: environment, want: defaults(func(o *Options) {
			o.InitImage, o.Namespace, o.Port, o.ExcludedNamespaces[0] = "r/init:2", "here", 10260, "here"
		})},
		"lookups": {args: "-lookups=false -lookup-timeout=1s -pull-secrets=false -registry-config=/c", environment: environment, want: defaults(func(o *Options) {
			o.Lookups, o.LookupTime, o.PullSecrets, o.RegistryConfig = false, time.Second, false, "/c"
		})},
		"mirrors": {args: "-init-image-mirrors=m.example/a/init,localhost:5000/init", environment: environment, want: defaults(func(o *Options) {
			o.InitImageMirrors = []string{"m.example/a/init", "localhost:5000/init"}
		})},
		"openshift": {args: "-openshift", environment: environment, want: defaults(func(o *Options) { o.OpenShift = true })},
		"no events": {args: "-events=false", environment: environment, want: defaults(func(o *Options) { o.Events = false })},
		"suspended": {args: "-suspend", environment: environment, want: defaults(func(o *Options) { o.Suspend = true })},
		"its own namespace stays excluded": {args: "-exclude-namespaces=", environment: environment, want: defaults(func(o *Options) {
			o.ExcludedNamespaces = []string{"podinit-system"}
		})},
		"somebody else's certificate": {args: "-certificate-directory=/tls", environment: environment, want: defaults(func(o *Options) {
			o.CertificateDirectory = "/tls"
		})},
		"client certificates": {args: "-client-ca-file=/ca.crt -client-names=a,,b", environment: environment, want: defaults(func(o *Options) {
			o.ClientCAFile, o.ClientNames = "/ca.crt", []string{"a", "b"}
		})},
		"certificates": {args: "-certificates", environment: map[string]string{"POD_NAMESPACE": "podinit-system"}, want: defaults(func(o *Options) {
			o.InitImage, o.Certificates = "", true
		})},
		"names": {args: "-service=s -secret=c -webhook-configuration=w -exclude-namespaces=a,b -v=1", environment: environment, want: defaults(func(o *Options) {
			o.Service, o.Secret, o.WebhookConfiguration, o.Verbosity = "s", "c", "w", 1
			o.ExcludedNamespaces = []string{"podinit-system", "a", "b"}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(strings.Fields(c.args), func(name string) string { return c.environment[name] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseProblems(t *testing.T) {
	for args, want := range map[string]string{
		"":                    "-init-image or $PODINIT_INIT_IMAGE is required",
		"-init-image=i":       "-namespace or $POD_NAMESPACE",
		"-init-image=i serve": `"serve" is not a flag`,
		"-port=eleven":        "invalid value",
		"-init-image=i -namespace=n -lookup-timeout=0s":          "-lookups=false",
		"-init-image=i -namespace=n -v=7":                        "Secrets",
		"-init-image=i -namespace=n -v=-1":                       "0 to 6",
		"-namespace=n -certificates -certificate-directory=/tls": "give only one of them",
		"-namespace=n -init-image=UPPER":                         "-init-image",
		"-namespace=n -init-image=" + strings.Repeat("a", 2<<10): "longer than 1024 bytes",
		"-there-is-no-such-thing":                                "not defined",
		"-init-image=i -namespace=n -client-names=a":             "-client-ca-file",
	} {
		if _, err := Parse(strings.Fields(args), func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v; want one that says %q", args, err, want)
		}
	}
}
