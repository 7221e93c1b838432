package registry

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// product is how a registry that people use wants to be asked, by its documentation. None of them is asked here: a server on
// loopback behaves like it.
type product struct {
	name string
	// repository as its users name it.
	repository string
	// user and password in the pull secret.
	user, password string
	// challenge of a request without credentials; REGISTRY and TOKENS are the hosts' names. Empty for one that asks none.
	challenge string
	// tokens is where the token server is, on the registry's own host or, behind "//", on another.
	tokens string
	// post is set where the token server takes OAuth2 requests (POST).
	post bool
	// field of the token server's answer that holds the token.
	field string
	// public is set where anybody may read the repository, with a token for nobody if there are tokens.
	public bool
	// blobs is where blobs are: empty for the registry itself, or the status of the redirect to another host that refuses
	// requests with an Authorization header, as object stores do.
	blobs int
	// noHead is set where HEAD of a manifest is answered without its digest.
	noHead bool
}

// products with the pages that say so. docs/lookup.md has the same rows.
var products = []product{
	// docs.docker.com/reference/api/registry/auth
	{name: "Docker Hub", repository: "library/app", challenge: `Bearer realm="http://TOKENS/token",service="registry.docker.io",scope="repository:library/app:pull"`,
		tokens: "//token", field: "token", public: true, blobs: http.StatusTemporaryRedirect},
	{name: "Docker Hub, private", repository: "team/app", user: "alice", password: "dckr_pat_x", challenge: `Bearer realm="http://TOKENS/token",service="registry.docker.io",scope="repository:team/app:pull"`,
		tokens: "//token", post: true, field: "access_token", blobs: http.StatusTemporaryRedirect},
	// docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
	{name: "Amazon ECR", repository: "app", user: "AWS", password: strings.Repeat("eyJwYXlsb2FkIjoi", 128), challenge: `Basic realm="http://REGISTRY/",service="ecr.amazonaws.com"`,
		blobs: http.StatusTemporaryRedirect},
	{name: "Amazon ECR Public", repository: "alias/app", challenge: `Bearer realm="http://REGISTRY/token/",service="public.ecr.aws",scope="aws"`,
		tokens: "/token/", field: "token", public: true, blobs: http.StatusTemporaryRedirect},
	// cloud.google.com/artifact-registry/docs/docker/authentication
	{name: "Google Artifact Registry, key", repository: "project/repository/app", user: "_json_key", password: "{\n  \"type\": \"service_account\",\n  \"private_key\": \"-----BEGIN PRIVATE KEY-----\\nx\\n\"\n}\n",
		challenge: `Bearer realm="http://REGISTRY/v2/token",service="REGISTRY",scope="repository:project/repository/app:pull"`, tokens: "/v2/token", field: "token", blobs: http.StatusFound},
	{name: "Google Artifact Registry, access token", repository: "project/repository/app", user: "oauth2accesstoken", password: "ya29.x",
		challenge: `Bearer realm="http://REGISTRY/v2/token",service="REGISTRY",scope="repository:project/repository/app:pull"`, tokens: "/v2/token", field: "token", blobs: http.StatusFound},
	// learn.microsoft.com/azure/container-registry, github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
	{name: "Azure Container Registry, user", repository: "app", user: "principal", password: "secret",
		challenge: `Bearer realm="http://REGISTRY/oauth2/token",service="REGISTRY",scope="repository:app:pull",error="invalid_token"`, tokens: "/oauth2/token", post: true, field: "access_token", blobs: http.StatusTemporaryRedirect},
	{name: "Azure Container Registry, token", repository: "app", user: "00000000-0000-0000-0000-000000000000", password: "eyJhbGciOiJSUzI1NiJ9.refresh.token",
		challenge: `Bearer realm="http://REGISTRY/oauth2/token",service="REGISTRY",scope="repository:app:pull",error="invalid_token"`, tokens: "/oauth2/token", post: true, field: "access_token", blobs: http.StatusTemporaryRedirect},
	// docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry
	{name: "GitHub (GHCR), public", repository: "owner/app", challenge: `Bearer realm="http://REGISTRY/token",service="ghcr.io",scope="repository:owner/app:pull"`,
		tokens: "/token", field: "token", public: true, blobs: http.StatusTemporaryRedirect},
	{name: "GitHub (GHCR), private", repository: "owner/app", user: "alice", password: "ghp_x", challenge: `Bearer realm="http://REGISTRY/token",service="ghcr.io",scope="repository:owner/app:pull"`,
		tokens: "/token", field: "token", blobs: http.StatusTemporaryRedirect},
	// docs.redhat.com, Red Hat Quay, robot accounts
	{name: "Quay", repository: "organization/app", user: "organization+robot", password: "x", challenge: `Bearer realm="http://REGISTRY/v2/auth",service="REGISTRY",scope="repository:organization/app:pull"`,
		tokens: "/v2/auth", field: "token", blobs: http.StatusFound},
	// goharbor.io/docs, Create Robot Accounts
	{name: "Harbor", repository: "project/app", user: "robot$project+ci", password: "x", challenge: `Bearer realm="http://REGISTRY/service/token",service="harbor-registry",scope="repository:project/app:pull"`,
		tokens: "/service/token", field: "token"},
	// jfrog.com/help, Docker Registry; Basic is offered beside
	{name: "Artifactory", repository: "docker-local/app", user: "ci", password: "cmVmdGtu", challenge: `Bearer realm="http://REGISTRY/v2/token",service="REGISTRY",scope="repository:docker-local/app:pull"`,
		tokens: "/v2/token", field: "token", blobs: http.StatusFound},
	// docs.gitlab.com/administration/packages/container_registry
	{name: "GitLab", repository: "group/project/app", user: "gitlab+deploy-token-1", password: "gldt-x", challenge: `Bearer realm="http://TOKENS/jwt/auth",service="container_registry",scope="repository:group/project/app:pull"`,
		tokens: "//jwt/auth", field: "token", blobs: http.StatusTemporaryRedirect},
	// help.sonatype.com, Docker Authentication
	{name: "Nexus", repository: "app", user: "ci", password: "x", challenge: `Basic realm="Sonatype Nexus Repository Manager"`},
	{name: "Nexus, anonymous", repository: "app", challenge: `Bearer realm="http://REGISTRY/v2/token",service="http://REGISTRY/v2/token"`,
		tokens: "/v2/token", field: "token", public: true},
	{name: "a registry that is made of files", repository: "app", public: true, noHead: true},
}

// TestProducts looks an image up in each, with the right credential, with a wrong one, and with none.
func TestProducts(t *testing.T) {
	for _, p := range products {
		t.Run(p.name, func(t *testing.T) {
			w, leaked := p.start(t)
			q := w.query(p.repository+":1", "right")
			secret := func(name, password string) {
				entry := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(p.user + ":" + password))}
				text, err := json.Marshal(map[string]any{"auths": map[string]any{w.host: entry}})
				if err != nil {
					t.Fatal(err)
				}
				w.secrets["team/"+name] = &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: text}}
			}
			if p.user == "" {
				w.expect(w.query(p.repository+":1"), "app --serve")
			} else {
				secret("right", p.password)
				secret("wrong", "wrong")
				w.expect(w.query(p.repository+":1", "wrong"), "lookup-unauthorized")
				w.expect(w.query(p.repository+":1"), "lookup-unauthorized")
				w.restart()
				w.expect(q, "app --serve")
			}
			if l := leaked(); len(l) > 0 {
				t.Errorf("credentials went to the blobs' host: %q", l)
			}
		})
	}
}

// start runs a registry like p with an image in it. leaked are the requests to the blobs' host that had credentials.
func (p product) start(t *testing.T) (w *world, leaked func() []string) {
	w = newWorld(t, httptest.NewServer)
	w.push(p.repository+":1", image("linux", "amd64", "app", "--serve"))
	var mu sync.Mutex
	var sent []string
	// Each at an address of its own: to net/http the ports of one address are one domain, to which credentials may go.
	quiet := func(address string, handler http.HandlerFunc) string {
		listener, err := net.Listen("tcp", address+":0")
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}}
		server.Start()
		t.Cleanup(server.Close)
		return listener.Addr().String()
	}
	inner := w.server.Config.Handler
	blobs := quiet("127.0.0.2", func(out http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.Query().Get("X-Amz-Signature") != "signed" {
			mu.Lock()
			sent = append(sent, r.Header.Get("Authorization")+" "+r.URL.String())
			mu.Unlock()
			out.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Header.Set("Authorization", "inside")
		inner.ServeHTTP(out, r)
	})
	serveTokens := func(out http.ResponseWriter, r *http.Request) {
		if token, ok := p.token(r); ok {
			_ = json.NewEncoder(out).Encode(map[string]any{p.field: token, "expires_in": 300})
			return
		}
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(out, `{"details":"incorrect username or password"}`)
	}
	tokens := quiet("127.0.0.3", func(out http.ResponseWriter, r *http.Request) {
		if "/"+r.URL.Path != p.tokens {
			out.WriteHeader(http.StatusNotFound)
			return
		}
		serveTokens(out, r)
	})
	w.config.Registries = append(w.config.Registries, Host{Host: blobs, PlainHTTP: true}, Host{Host: tokens, PlainHTTP: true})
	w.restart()
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "inside":
			return false
		case p.tokens != "" && r.URL.Path == p.tokens:
			serveTokens(out, r)
			return true
		case !p.authorized(r):
			out.Header().Set("WWW-Authenticate", strings.NewReplacer("REGISTRY", w.host, "TOKENS", tokens).Replace(p.challenge))
			out.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			out.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(out, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return true
		case p.blobs != 0 && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(out, r, "http://"+blobs+r.URL.Path+"?X-Amz-Signature=signed", p.blobs)
			return true
		case p.noHead && r.Method == http.MethodHead:
			out.WriteHeader(http.StatusOK)
			return true
		}
		return false
	})
	return w, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sent)
	}
}

// authorized says whether a request to the registry has what it wants.
func (p product) authorized(r *http.Request) bool {
	switch user, password, basic := r.BasicAuth(); {
	case p.challenge == "":
		return true
	case strings.HasPrefix(p.challenge, "Basic"):
		return basic && user == p.user && password == p.password
	}
	return r.Header.Get("Authorization") == "Bearer "+goodToken
}

const goodToken = "eyJhbGciOiJSUzI1NiJ9.eyJzY29wZSI6InB1bGwifQ.c2lnbmVk"

// token is what the token server gives for a request: a token that opens the repository, one that opens nothing for
// nobody, or none.
func (p product) token(r *http.Request) (string, bool) {
	form := r.URL.Query()
	if r.Method == http.MethodPost {
		if !p.post || r.ParseForm() != nil {
			return "", false
		}
		form = r.PostForm
	}
	if scope := challenged(p.challenge, "scope"); scope != "" && !slices.Contains(strings.Fields(strings.Join(form["scope"], " ")), scope) || form.Get("service") == "" {
		return "", false
	}
	user, password, basic := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, password, basic = form.Get("username"), form.Get("password"), form.Get("grant_type") == "password"
	}
	if !basic {
		if p.public {
			return goodToken, true
		}
		return "for-nobody", true // Docker Hub, GHCR and Quay give one that opens nothing
	}
	return goodToken, user == p.user && password == p.password
}

// challenged is a parameter of a challenge.
func challenged(challenge, name string) string {
	_, after, _ := strings.Cut(challenge, name+`="`)
	value, _, _ := strings.Cut(after, `"`)
	if value, err := url.PathUnescape(value); err == nil {
		return value
	}
	panic(fmt.Sprintf("challenge %q", challenge))
}

// TestRefusalBehindMirror has a mirror that does not know an image, and a registry behind it that wants a credential: that is
// what the author has to hear, not that there is no such image.
func TestRefusalBehindMirror(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.users = map[string]string{"alice": "secret"}
	mirror := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(mirror.Close)
	at := strings.TrimPrefix(mirror.URL, "http://")
	w.config.Registries = []Host{{Host: w.host, PlainHTTP: true, Mirrors: []string{at}}, {Host: at, PlainHTTP: true}}
	w.restart()
	w.expect(w.query("app:1"), "lookup-unauthorized")
	text, err := json.Marshal(map[string]any{"auths": map[string]any{w.host: map[string]string{"username": "alice", "password": "wrong"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.secrets["team/wrong"] = &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: text}}
	w.expect(w.query("app:1", "wrong"), "lookup-unauthorized")
}
