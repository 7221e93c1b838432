package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

// options are what the command line says.
type options struct {
	// InitImage is the reference of the image that holds the init. Pods' copiers pull it with the Pod's own
	// credentials or the node's, so it must be public or on a registry that every node can read.
	InitImage string

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

	// CertificateDirectory has tls.crt and tls.key, which somebody else makes and renews, and who makes them also gives
	// the CA to the MutatingWebhookConfiguration; Secret and WebhookConfiguration are then neither read nor written.
	// Empty: a process with Certificates makes them.
	CertificateDirectory string

	// ClientCAFile has the certificates, in PEM, of the authority that signs the apiservers' client certificates: only who
	// presents such a one may call. It is read again when it changes. Empty: whoever reaches the port may call.
	ClientCAFile string

	// ClientNames are the names of which a client's certificate must have one, as its common name or a DNS name; without
	// them any that the authority has signed will do.
	ClientNames []string

	// ExcludedNamespaces are never touched, whatever their labels say.
	ExcludedNamespaces []string

	// Suspend has every Pod admitted as it came.
	Suspend bool

	// Lookups has registries asked what the images of containers without a command run.
	Lookups bool

	// LookupTime is how long the creation of a Pod may wait for that.
	LookupTime time.Duration

	// PullSecrets has the Pods' imagePullSecrets read for it. Without them only public images are found, and those that
	// the webhook has credentials of its own for.
	PullSecrets bool

	// RegistryConfig is the file with the registry configuration; empty for none.
	RegistryConfig string

	// Verbosity of the log: 0 what is wrong and what changes, 1 every request, up to maxVerbosity what libraries say.
	Verbosity int

	// Version asks for the version instead of a server.
	Version bool
}

// secret is where the certificate is.
func (o options) secret() types.NamespacedName {
	return types.NamespacedName{Namespace: o.Namespace, Name: o.Secret}
}

// maxVerbosity bounds the log: with the logger that controller-runtime puts into contexts, client-go writes bodies at 8,
// and Secrets are among those (k8s.io/client-go/rest, logBody).
const maxVerbosity = 6

// parse reads the command line. Where a flag is not given, the environment may say it (see the flag's text).
func parse(args []string, getenv func(string) string) (options, error) {
	var o options
	var excluded, clients string
	f := flag.NewFlagSet("podinit-webhook", flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	f.StringVar(&o.InitImage, "init-image", getenv("PODINIT_INIT_IMAGE"), "`image` that holds the init, required; else $PODINIT_INIT_IMAGE")
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
	f.StringVar(&o.CertificateDirectory, "certificate-directory", "", "`directory` with tls.crt and tls.key that somebody else makes and renews, cert-manager for one; -secret and -webhook-configuration are then left alone")
	f.StringVar(&o.ClientCAFile, "client-ca-file", "", "`file` with the authority, in PEM, of the apiservers' client certificates: only clients that present one may call; it is read again when it changes")
	f.StringVar(&clients, "client-names", "", "`names`, one of which a client's certificate must have as its common name or as a DNS name; else any of the authority's will do")
	f.StringVar(&excluded, "exclude-namespaces", strings.Join(inject.SystemNamespaces, ","), "`namespaces` that are never touched, besides the webhook's own")
	f.BoolVar(&o.Suspend, v1alpha1.SuspendFlag, false, "admit every pod as it came; so does a ConfigMap "+v1alpha1.SuspendConfigMap+" in -namespace, at once")
	f.BoolVar(&o.Lookups, "lookups", true, "ask registries what the images of containers without a command run")
	f.DurationVar(&o.LookupTime, "lookup-timeout", 3*time.Second, "how long the creation of a pod may wait for that")
	f.BoolVar(&o.PullSecrets, "pull-secrets", true, "read pods' imagePullSecrets for that, one by one")
	f.StringVar(&o.RegistryConfig, "registry-config", "", "`file` that says how registries are to be asked; it is read at the start")
	f.IntVar(&o.Verbosity, "v", 0, "`level` of the log: 1 for a line about every request, up to 6 for what libraries say")
	f.BoolVar(&o.Version, "version", false, "print the version and exit")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("%q is no flag; -help lists them", f.Arg(0))
	}
	if o.Version {
		return o, nil
	}
	if o.Certificates && o.CertificateDirectory != "" {
		return options{}, errors.New("-certificates and -certificate-directory exclude each other: the first makes the certificate, the second reads one that is made elsewhere; give one of them")
	}
	if o.InitImage == "" && !o.Certificates {
		return options{}, errors.New("-init-image or $PODINIT_INIT_IMAGE is required: the image that holds the init")
	}
	if o.InitImage != "" {
		if err := imageconfig.CheckPullable(o.InitImage); err != nil {
			return options{}, fmt.Errorf("-init-image or $PODINIT_INIT_IMAGE: %w", err)
		}
	}
	if o.Namespace == "" {
		return options{}, errors.New("in which namespace is this? Say it with -namespace or POD_NAMESPACE")
	}
	if o.Verbosity < 0 || o.Verbosity > maxVerbosity {
		return options{}, fmt.Errorf("-v must be 0 to %d: at higher levels the client library logs what it reads, Secrets included", maxVerbosity)
	}
	if o.LookupTime <= 0 {
		return options{}, errors.New("-lookup-timeout must be longer than nothing; -lookups=false turns lookups off")
	}
	o.ExcludedNamespaces = append([]string{o.Namespace}, listed(excluded)...)
	o.ClientNames = listed(clients)
	if len(o.ClientNames) > 0 && o.ClientCAFile == "" {
		return options{}, errors.New("-client-names needs -client-ca-file: without an authority a name proves nothing")
	}
	return o, nil
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
