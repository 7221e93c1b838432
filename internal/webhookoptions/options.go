// Package webhookoptions is the command line of podinit-webhook.
package webhookoptions

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/logs"
	"github.com/podinit/podinit/internal/version"
)

// Options are what the command line says.
type Options struct {
	// InitImage is the reference of the image that holds the init. Pods' copiers pull it with the Pod's own
	// credentials or the node's, so it must be public or on a registry that every node can read.
	InitImage string

	// InitImageMirrors are the repositories that other webhooks may rewrite InitImage to.
	InitImageMirrors []string

	// InitProgram is the init as an initContainer of this Pod has copied it from InitImage. The webhook does not start unless
	// it runs and has the webhook's version. Empty: nothing is checked.
	InitProgram string

	// Pod is this Pod's own name. The webhook does not start where its initContainer has another image than InitImage, and
	// names itself in Events. Empty: not known, and nothing is checked.
	Pod string

	// Port of the admission server. 10250 is the one besides 443 that private clusters let through from the control
	// plane to nodes.
	Port int

	// MetricsAddress is where Prometheus finds the metrics, by plain HTTP; "0" serves none.
	MetricsAddress string

	// HealthAddress is where the kubelet finds /healthz and /readyz.
	HealthAddress string

	// Namespace that the webhook runs in. Its Pods are never wrapped.
	Namespace string

	// Service under which the apiserver finds the webhook; the certificate is for it.
	Service string

	// Secret that holds the certificate. It exists before the webhook starts, and may be empty.
	Secret string

	// WebhookConfiguration is the MutatingWebhookConfiguration that is given the CA.
	WebhookConfiguration string

	// Certificates has this process make and renew the certificate in Secret and write its CA into WebhookConfiguration,
	// and serve nothing. One such process is for all replicas, under a service account of its own. The replicas only read
	// both, so that a replica that is taken over cannot have the apiserver send other objects.
	Certificates bool

	// CertificateDirectory has tls.crt and tls.key, which an issuer outside podinit makes and renews, which also gives
	// the CA to the MutatingWebhookConfiguration; Secret and WebhookConfiguration are then neither read nor written.
	// Empty: a process with Certificates makes them.
	CertificateDirectory string

	// ClientCAFile has the certificates, in PEM, of the authority that signs the apiservers' client certificates: only
	// clients that present such a one may call. It is read again when it changes. Empty: every client that reaches the port may call.
	ClientCAFile string

	// ClientNames are the names of which a client's certificate must have one, as its common name or a DNS name; without
	// them any that the authority has signed will do.
	ClientNames []string

	// ExcludedNamespaces are never touched, whatever their labels say.
	ExcludedNamespaces []string

	// OpenShift has the copier fit SecurityContextConstraints also where no annotation of a Pod says that they hold.
	OpenShift bool

	// Suspend has every Pod admitted unchanged.
	Suspend bool

	// Lookups has registries asked what the images of containers without a command run.
	Lookups bool

	// LookupTime is how long the creation of a Pod may wait for that.
	LookupTime time.Duration

	// PullSecrets has the Pods' imagePullSecrets read for it. Without them only public images are found, and those that
	// the webhook has credentials of its own for.
	PullSecrets bool

	// Events has an Event written, in the Pod's namespace, about its owner, for what the Pod's author can correct.
	Events bool

	// RegistryConfig is the file with the registry configuration; empty for none.
	RegistryConfig string

	// Verbosity of the log: 0 what is wrong and what changes, 1 every request, up to 6 what libraries say.
	Verbosity int

	// Version asks for the version instead of a server.
	Version bool
}

// Injection is what the options say of how Pods are changed.
func (o Options) Injection() inject.Config {
	return inject.Config{
		Image: o.InitImage, Mirrors: o.InitImageMirrors, Version: version.Version, OpenShift: o.OpenShift, ExcludedNamespaces: o.ExcludedNamespaces,
	}
}

// Parse reads the command line. Where a flag is not given, the environment may say it (see the flag's text). With Version the
// other options are not checked.
func Parse(args []string, getenv func(string) string) (Options, error) {
	var o Options
	f := flag.NewFlagSet("podinit-webhook", flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	lists := o.addFlags(f, getenv)
	if err := f.Parse(args); err != nil {
		return Options{}, err
	}
	if f.NArg() > 0 {
		return Options{}, fmt.Errorf("%q is not a flag; -help lists the flags", f.Arg(0))
	}
	if o.Version {
		return o, nil
	}
	o.InitImageMirrors, o.ClientNames = listed(lists.mirrors), listed(lists.clients)
	o.ExcludedNamespaces = append([]string{o.Namespace}, listed(lists.excluded)...)
	if err := o.check(); err != nil {
		return Options{}, err
	}
	return o, nil
}

// lists are flags with commas in them.
type lists struct{ mirrors, clients, excluded string }

// addFlags registers all flags.
func (o *Options) addFlags(f *flag.FlagSet, getenv func(string) string) *lists {
	var l lists
	f.StringVar(&o.InitImage, "init-image", getenv("PODINIT_INIT_IMAGE"), "`image` that holds the init, required; else $PODINIT_INIT_IMAGE")
	f.StringVar(&l.mirrors, "init-image-mirrors", "", "`repositories`, such as mirror.example/podinit/init, with copies of the init image: podinit-copy keeps such an image if another webhook writes it; every user that can push to one of them chooses what runs in wrapped pods")
	f.StringVar(&o.InitProgram, "init-program", "", "`file` that an initContainer has copied from the init image: the webhook starts only if it runs and has the same version")
	f.StringVar(&o.Pod, "pod", getenv("POD_NAME"), "`name` of the webhook's own pod; else $POD_NAME")
	f.IntVar(&o.Port, "port", 10250, "`port` of the admission server")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "`address` of the metrics, by plain HTTP; 0 for none")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz")
	f.StringVar(&o.Namespace, "namespace", getenv("POD_NAMESPACE"), "`namespace` of the webhook, required; else $POD_NAMESPACE")
	f.StringVar(&o.Service, "service", "podinit-webhook", "`name` of the webhook's Service")
	f.StringVar(&o.Secret, "secret", "podinit-webhook-certificate", "`name` of the Secret that holds the certificate")
	f.StringVar(&o.WebhookConfiguration, "webhook-configuration", "zz-podinit", "`name` of the MutatingWebhookConfiguration")
	f.BoolVar(&o.Certificates, "certificates", false, "make and renew the certificate in -secret, write its CA into -webhook-configuration, and serve nothing")
	f.StringVar(&o.CertificateDirectory, "certificate-directory", "", "`directory` with tls.crt and tls.key that another program makes and renews, such as cert-manager; -secret and -webhook-configuration are then not used")
	f.StringVar(&o.ClientCAFile, "client-ca-file", "", "`file` with the authority, in PEM, of the apiservers' client certificates: only clients that present such a certificate may call; the file is read again when it changes")
	f.StringVar(&l.clients, "client-names", "", "`names`, one of which a client's certificate must have as its common name or as a DNS name; else every certificate of the authority is accepted")
	f.StringVar(&l.excluded, "exclude-namespaces", strings.Join(inject.SystemNamespaces, ","), "`namespaces` that are never touched, besides the webhook's own")
	f.BoolVar(&o.OpenShift, "openshift", false, "the cluster is OpenShift: podinit-copy sets a seccomp profile only if the pod's containers set it; podinit always does so for a pod with the annotation openshift.io/scc")
	f.BoolVar(&o.Suspend, v1alpha1.SuspendFlag, false, "admit every pod unchanged; so does a ConfigMap "+v1alpha1.SuspendConfigMap+" in -namespace, at once")
	f.BoolVar(&o.Lookups, "lookups", true, "ask registries what the images of containers without a command run")
	f.DurationVar(&o.LookupTime, "lookup-timeout", 3*time.Second, "how long the creation of a pod may wait for a registry's answer")
	f.BoolVar(&o.PullSecrets, "pull-secrets", true, "read pods' imagePullSecrets to log in to registries, one by one")
	f.BoolVar(&o.Events, "events", true, "write an Event about a pod's owner if the pod's author can correct why a container is left alone or a setting is ignored")
	f.StringVar(&o.RegistryConfig, "registry-config", "", "`file` with the registry configuration; it is read at the start")
	f.IntVar(&o.Verbosity, "v", 0, "`level` of the log: 1 for a line about every request, up to 6 for what libraries say")
	f.BoolVar(&o.Version, "version", false, "print the version and exit")
	return &l
}

// check says what is wrong with the options.
func (o *Options) check() error {
	if o.Certificates && o.CertificateDirectory != "" {
		return errors.New("-certificates and -certificate-directory exclude each other: the first makes the certificate, the second reads one that another program makes; give only one of them")
	}
	if o.InitImage == "" && !o.Certificates {
		return errors.New("-init-image or $PODINIT_INIT_IMAGE is required: the image that holds the init")
	}
	if o.InitImage != "" {
		if err := imageconfig.CheckPullable(o.InitImage); err != nil {
			return fmt.Errorf("-init-image or $PODINIT_INIT_IMAGE: %w", err)
		}
	}
	for _, mirror := range o.InitImageMirrors {
		if err := imageconfig.CheckPullable(mirror); err != nil {
			return fmt.Errorf("-init-image-mirrors: %w", err)
		}
		if strings.ContainsAny(mirror[strings.LastIndex(mirror, "/")+1:], ":@") {
			return fmt.Errorf("-init-image-mirrors: %q has a tag or a digest: name the repository alone", mirror)
		}
	}
	if o.Namespace == "" {
		return errors.New("-namespace or $POD_NAMESPACE is required: the namespace that the webhook runs in")
	}
	if o.Verbosity < 0 || o.Verbosity > logs.MaxVerbosity {
		return fmt.Errorf("-v must be 0 to %d: at higher levels the client library logs what it reads, Secrets included", logs.MaxVerbosity)
	}
	if o.LookupTime <= 0 {
		return errors.New("-lookup-timeout must be more than 0; -lookups=false turns lookups off")
	}
	if len(o.ClientNames) > 0 && o.ClientCAFile == "" {
		return errors.New("-client-names requires -client-ca-file: without an authority, a name in a certificate proves nothing")
	}
	return nil
}

// listed are the words of a list with commas.
func listed(text string) (words []string) {
	for _, word := range strings.Split(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}
