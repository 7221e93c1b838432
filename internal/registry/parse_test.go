package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/imageconfig"
)

// The kubelet's own rules (pkg/credentialprovider, TestURLsMatch and TestDockerKeyringForGlob have more such).
func TestMatchesURL(t *testing.T) {
	for _, c := range []struct {
		place, repository string
		want              bool
	}{
		{"registry.example", "registry.example/app", true},
		{"registry.example/team", "registry.example/team/app", true},
		{"registry.example/team", "registry.example/team-b/app", true}, // letters, not segments
		{"registry.example/team/app", "registry.example/team", false},
		{"registry.example:5000", "registry.example:5000/app", true},
		{"registry.example", "registry.example:5000/app", false},
		{"registry.example:5000", "registry.example/app", false},
		{"*.example", "registry.example/app", true},
		{"*.example", "a.registry.example/app", false},
		{"registry*.example", "registry-b.example/app", true},
		{"registry.*", "registry.example/app", true},
		{"*", "registry.example/app", false},
		{"docker.io", "docker.io/library/nginx", true},
		{"evil.example", "registry.example/app", false},
		{"[", "registry.example/app", false},
		{"registry.example", "registry.example.com/app", false},
		{"registry.example.com", "registry.example/app", false},
		{`registry.exampl\e`, "registry.example/app", true},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example/app", true},
		{strings.Repeat("a", 64) + ".example", strings.Repeat("a", 64) + ".example/app", false},
		{strings.Repeat("a.", 127) + "b", strings.Repeat("a.", 127) + "b/app", false},
	} {
		if got := matchesURL(c.place, c.repository); got != c.want {
			t.Errorf("%s for %s: %v", c.place, c.repository, got)
		}
	}
}

func TestKeyring(t *testing.T) {
	ring := func(places ...string) (k keyring) {
		for _, place := range places {
			if err := k.add(map[string]login{place: {Username: place}}); err != nil {
				t.Fatal(err)
			}
		}
		return k
	}
	for name, c := range map[string]struct {
		ring       keyring
		repository string
		want       []string
	}{
		"the most specific first": {ring("registry.example", "registry.example/a", "registry.example/a/b", "*.example"), "registry.example/a/b/c",
			[]string{"registry.example/a/b", "registry.example/a", "registry.example", "*.example"}},
		"schemes and versions":   {ring("https://registry.example/v1/", "http://registry.example/v2/team"), "registry.example/team/app", []string{"http://registry.example/v2/team", "https://registry.example/v1/"}},
		"Docker Hub as it is":    {ring("https://index.docker.io/v1/"), "docker.io/library/nginx", []string{"https://index.docker.io/v1/"}},
		"Docker Hub by name":     {ring("docker.io/team", "https://index.docker.io/v1/"), "docker.io/team/app", []string{"docker.io/team"}},
		"Docker Hub, not others": {ring("https://index.docker.io/v1/"), "registry.example/app", nil},
		"no place":               {ring("", "http://", "::"), "registry.example/app", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			found, err := c.ring.find(t.Context(), c.repository)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range found {
				got = append(got, l.Username)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What a tenant writes into a Secret costs no more than its size, however long its keys are and whatever image is wanted.
func TestMatchingIsLinear(t *testing.T) {
	label := strings.Repeat("a", 500_000)
	repository := label + label + ".x/app"
	for range 100 { // hours, if it were not linear
		if matchesURL("*"+label+"b.x", repository) {
			t.Fatal("it matches")
		}
	}
	auths := map[string]login{}
	for i := range 2 * maxPlaces {
		auths[fmt.Sprintf("*%saab.%d", strings.Repeat("a", 50), i)] = login{Username: "u"}
	}
	var ring keyring
	if err := ring.add(auths); err == nil || len(ring.places) != maxPlaces {
		t.Errorf("%d places are taken up: %v", len(ring.places), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ring.find(ctx, "registry.example/app"); err == nil {
		t.Error("it is matched although nobody waits")
	}
}

// FuzzKeyring matches keys of realistic length, as they stand in Secrets, against an image: it is what the kubelet's way
// to match finds.
func FuzzKeyring(f *testing.F) {
	long := strings.Repeat("a", 63)
	for _, seed := range [][2]string{
		{"registry.example", "registry.example/team/app"},
		{"https://index.docker.io/v1/", "docker.io/library/nginx"},
		{"123456789012.dkr.ecr.eu-central-1.amazonaws.com", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app"},
		{"*.dkr.ecr.*.amazonaws.com:443/team", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:443/team/app"},
		{"*" + long[1:] + "." + "*a*a*a*a*b." + long, long + "." + long + "." + long + "/app"},
		{"*" + strings.Repeat("a", 2000) + "b.x", strings.Repeat("a", 4000) + ".x/y"},
		{"[a-z]*.example?", "registry.examples/app"},
		{`\*.example`, "*.example/app"},
		{"europe-docker.pkg.dev/project/repository", "europe-docker.pkg.dev/project/repository/app"},
		{"[::1]:5000", "[::1]:5000/app"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, repository string) {
		text, err := json.Marshal(map[string]any{"auths": map[string]any{key: map[string]string{"username": "u", "password": "p"}}})
		if err != nil {
			return
		}
		config, err := parseDockerConfig(text, false)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var ring keyring
		if err := ring.add(config.auths); err != nil {
			t.Fatal(err)
		}
		found, err := ring.find(t.Context(), repository)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(key) {
			return // JSON has another key then
		}
		place, ok := placeOf(key)
		if want := ok && asKubelet(place, repository) || place == "index.docker.io" && strings.HasPrefix(repository, "docker.io/"); (len(found) > 0) != want {
			t.Errorf("%q for %q: found %v, want %v", key, repository, len(found) > 0, want)
		}
	})
}

// asKubelet is the kubelet's URLsMatch (pkg/credentialprovider/keyring.go), for hosts and labels that a name can have.
func asKubelet(place, repository string) bool {
	host, way, _ := strings.Cut(place, "/")
	ofHost, ofWay, _ := strings.Cut(repository, "/")
	host, port := splitPort(host)
	ofHost, ofPort := splitPort(ofHost)
	globs, parts := strings.Split(host, "."), strings.Split(ofHost, ".")
	if port != ofPort || len(globs) != len(parts) || !strings.HasPrefix(ofWay, way) || len(host) > maxHost || len(ofHost) > maxHost {
		return false
	}
	for i := range globs {
		if len(globs[i]) > maxLabel || len(parts[i]) > maxLabel {
			return false
		}
		if ok, err := filepath.Match(globs[i], parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func TestParseDockerConfig(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		legacy   bool
		want     map[string]login
		problems int
	}{
		"new":             {`{"auths":{"r":{"username":"u","password":"p"}},"HttpHeaders":{}}`, false, map[string]login{"r": {Username: "u", Password: "p"}}, 0},
		"legacy":          {`{"r":{"username":"u","password":"p","email":"e"}}`, true, map[string]login{"r": {Username: "u", Password: "p"}}, 0},
		"auth":            {`{"auths":{"r":{"auth":"dTpwOng="}}}`, false, map[string]login{"r": {Username: "u", Password: "p:x"}}, 0},
		"auth unpadded":   {`{"auths":{"r":{"auth":"dTpwOng"}}}`, false, map[string]login{"r": {Username: "u", Password: "p:x"}}, 0},
		"auth wins":       {`{"auths":{"r":{"username":"old","password":"old","auth":"dTpw"}}}`, false, map[string]login{"r": {Username: "u", Password: "p"}}, 0},
		"identity token":  {`{"auths":{"r":{"identitytoken":"t"}}}`, false, map[string]login{"r": {IdentityToken: "t"}}, 0},
		"helper's places": {`{"auths":{"r":{}},"credsStore":"x"}`, false, map[string]login{}, 0},
		"one is broken":   {`{"auths":{"a":{"auth":"%"},"b":7,"c":{"auth":"dQ=="},"d":{"username":"u","password":"p"}}}`, false, map[string]login{"d": {Username: "u", Password: "p"}}, 3},
		"empty":           {`{}`, false, map[string]login{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseDockerConfig([]byte(c.text), c.legacy)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.auths); diff != "" || len(got.problems) != c.problems {
				t.Errorf("problems %v; logins (-want +got):\n%s", got.problems, diff)
			}
		})
	}
	for _, text := range []string{``, `[]`, `{"auths":"hunter2"}`, `{"auths":{"r"`} {
		if _, err := parseDockerConfig([]byte(text), false); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A login is in no log, however it is printed.
func TestLoginsAreNotPrinted(t *testing.T) {
	l := login{Username: "u", Password: "hunter2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, what := range []any{l, &l, []login{l}, map[string]login{"r": l}} {
			if s := fmt.Sprintf(format, what); strings.Contains(s, "hunter2") {
				t.Errorf("%s: %s", format, s)
			}
		}
	}
	if l.fingerprint() == (login{Username: "u", Password: "hunter3"}).fingerprint() || strings.Contains(l.fingerprint(), "hunter2") {
		t.Errorf("fingerprint %s", l.fingerprint())
	}
}

func TestCheckAddress(t *testing.T) {
	allowed := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for address, want := range map[string]bool{
		"203.0.113.7": true, "2001:db8::1": true, "10.1.2.3": true, "::ffff:10.1.2.3": true, "fd12::1": true,
		"64:ff9b::cb00:7107": true, "64:ff9b::a01:203": true, "2002:cb00:7107::1": true, "2001:0:cb00:7107::34ff:8ef8": true,
		"10.2.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "127.0.0.1": false, "::1": false, "fc00::1": false, "100.64.0.1": false,
		"::ffff:127.0.0.1": false, "198.18.0.1": false, "fec0::1": false, "feff::1": false, "64:ff9b:1::cb00:7107": false, "2001:2::1": false, "5f00::1": false,
		"64:ff9b::a02:1": false, "::ffff:0:10.2.0.1": false,
		"2001:0:cb00:7107::f5fd:fffe": false, "2001:0:a02:1::34ff:8ef8": false, // Teredo: client 10.2.0.1, server 10.2.0.1
		// Never, whatever the configuration says.
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "fd00:ec2::254": false, "100.100.100.200": false,
		"168.63.129.16": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "0.1.2.3": false,
		"64:ff9b::a9fe:a9fe": false, "2002:a9fe:a9fe::": false, "2002:7f00:1::": false,
		"::203.0.113.7": false, "::10.1.2.3": false, "::7f00:1": false,
	} {
		err := check(netip.MustParseAddr(address), allowed)
		if (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", address, err, want)
		}
	}
	// Where every network is allowed, what is private is connected to, and metadata services are not: neither by their
	// own addresses nor by those that a translator or tunnel takes for them.
	for address, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "10.2.0.1": true, "fec0::1": true, "fd20:ce::253": true, "64:ff9b::a02:1": true, "64:ff9b:1::a02:1": true,
		"100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "169.254.169.254": false, "fe80::a9fe:a9fe": false,
		"fd00:ec2::254": false, "fd00:ec2::23": false, "fd20:ce::254": false, "fd00:c1::a9fe:a9fe": false, "fd00:42::42": false,
		"fd00:a9fe:a9fe::1": false, "fd00:100::100:200": false,
		"::169.254.169.254": false, "::": false, "::203.0.113.7": false, "::ffff:169.254.169.254": false, "::ffff:0:169.254.169.254": false,
		"64:ff9b::a9fe:a9fe": false, "64:ff9b::6464:64c8": false, "64:ff9b::a83f:8110": false,
		"64:ff9b:1::a9fe:a9fe": false, "64:ff9b:1:a9fe:a9:fe00::": false, "64:ff9b:1:a9:fe:a9fe::": false, "64:ff9b:1:0:a9:fea9:fe00::": false,
		"64:ff9b:1:a9fe:a9:fe00::1":      false,
		"2002:a9fe:a9fe::1":              false, // 6to4
		"2001:0:a9fe:a9fe::34ff:8ef8":    false, // Teredo's server
		"2001:0:cb00:7107:0:0:5601:5601": false, // and client
	} {
		err := check(netip.MustParseAddr(address), everything)
		if (err == nil) != want {
			t.Errorf("%s, with everything allowed: %v, want allowed %v", address, err, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999999999999999": 0,
		"Sat, 21 Nov 2026 20:01:00 GMT": time.Minute, "Sat, 21 Nov 2026 19:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestReadConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registries.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`
registries:
- host: registry.example:5000
  caFile: ca.crt
  mirrors: [mirror.example/cache]
- host: "*.node.local"
  lookup: off
  privateNetworks: [10.1.2.0/24]
privateNetworks: [10.0.0.0/8]
credentials:
  namespaces: [team-a]
  dockerConfigFile: /etc/docker/config.json
`)
	off := false
	want := Config{
		Registries: []Host{
			{Host: "registry.example:5000", CAFile: filepath.Join(filepath.Dir(file), "ca.crt"), Mirrors: []string{"mirror.example/cache"}},
			{Host: "*.node.local", Lookup: &off, PrivateNetworks: []string{"10.1.2.0/24"}},
		},
		PrivateNetworks: []string{"10.0.0.0/8"},
		Credentials:     Credentials{Namespaces: []string{"team-a"}, DockerConfigFile: "/etc/docker/config.json"},
	}
	got, err := ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for text, says := range map[string]string{
		"registies: []":                                        "unknown field",
		"registries: [{mirrors: [a.example]}]":                 "registries[0].host",
		"registries: [{host: 'https://a.example'}]":            "registries[0].host",
		"registries: [{host: 'a[.example'}]":                   "registries[0].host",
		"registries: [{host: a, mirrors: ['a b']}]":            "registries[0].mirrors",
		"privateNetworks: [10.0.0.1]":                          "privateNetworks",
		"registries: [{host: a, privateNetworks: [10.0.0.1]}]": "registries[0].privateNetworks",
		"registries: [{host: a.example, lookup: 7}]":           "lookup",
	} {
		write(text)
		if _, err := ReadConfig(file); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want an error about %s", text, err, says)
		}
	}
}

// What the documentation shows can be read.
func TestDocumentedConfig(t *testing.T) {
	source, err := os.ReadFile("config.go")
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for _, line := range strings.Split(string(source), "\n") {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(text + "\n")
		}
	}
	page, err := os.ReadFile("../../docs/lookup.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	documented, _, _ := strings.Cut(rest, "```")
	for where, text := range map[string]string{"config.go": example.String(), "docs/lookup.md": documented} {
		if config, err := ParseConfig([]byte(text)); err != nil || len(config.Registries) < 3 || len(config.Credentials.Namespaces) != 1 {
			t.Errorf("%s: %v, %v", where, config, err)
		}
	}
}

// program writes a program that counts its runs, and prints what the shell makes of a text.
func program(t *testing.T, directory, name, text string) (runs func() int) {
	t.Helper()
	count := filepath.Join(t.TempDir(), "runs")
	script := "#!/bin/sh\ninput=$(cat)\necho run >>" + count + "\n" + text + "\n"
	if err := os.WriteFile(filepath.Join(directory, name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() int {
		text, _ := os.ReadFile(count)
		return strings.Count(string(text), "run")
	}
}

// The webhook's own credentials: for the namespaces named, after the Pod's own and before nobody's.
func TestOwnCredentials(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(directory, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	provided := program(t, directory, "cloud-login", `case "$input$CLOUD$*" in *'"image":"cloud.example/team/app"'*here--flag) ;; *) exit 1 ;; esac
echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry","cacheDuration":"1m","auth":{"*.example":{"username":"cloud","password":"p"}}}'`)
	helped := program(t, directory, "docker-credential-vault", `[ "$1 $input" = "get helped.example" ] && echo '{"ServerURL":"helped.example","Username":"<token>","Secret":"t"}'`)
	program(t, directory, "docker-credential-store", `[ "$input" = https://index.docker.io/v1/ ] || exit 1
echo '{"Username":"hub","Secret":"p"}'`)
	program(t, directory, "failing", `echo hunter2; echo hunter2 >&2; exit 1`)
	program(t, directory, "chatty", `head -c 2000000 /dev/zero`)
	now := time.Unix(1e9, 0)
	registries, err := New(Config{Credentials: Credentials{
		Namespaces: []string{"team"}, ProgramDirectory: directory,
		DockerConfigFile: write("config.json", `{"auths":{"own.example":{"username":"own","password":"p"}},"credHelpers":{"helped.example":"vault","cloud.example":"none","bad.example":"../evil"},"credsStore":"store"}`),
		ProviderConfigFile: write("providers.yaml", `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- {name: cloud-login, matchImages: ["cloud.example"], defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1, args: [--flag], env: [{name: CLOUD, value: here}]}
- {name: failing, matchImages: ["*.example.org"], defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1}
- {name: chatty, matchImages: ["chatty.example.org"], defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1}
`),
	}}, nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	logins := func(ctx context.Context, image, namespace string) (users []string, problems string) {
		ref, err := imageconfig.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		for candidate, err := range registries.Candidates(ctx, imageconfig.Query{Reference: ref, Namespace: namespace}) {
			if err != nil {
				problems += err.Error() + "; "
				continue
			}
			l := candidate.Repository.(*repository).login
			users = append(users, l.Username+l.IdentityToken)
		}
		return users, problems
	}
	for image, want := range map[string][]string{
		"own.example/app":        {"own", ""},
		"helped.example/app":     {"t", ""},
		"cloud.example/team/app": {"cloud", ""},
		"nginx":                  {"hub", ""},
	} {
		for range 2 { // the second time it is remembered
			if got, problems := logins(t.Context(), image, "team"); !cmp.Equal(want, got) {
				t.Errorf("%s: logins %q, want %q (%s)", image, got, want, problems)
			}
		}
		if got, _ := logins(t.Context(), image, "other"); !cmp.Equal([]string{""}, got) {
			t.Errorf("%s: logins %q for a namespace that has none", image, got)
		}
	}
	if provided() != 1 || helped() != 1 {
		t.Errorf("the provider has run %d times and the helper %d times, want once each", provided(), helped())
	}
	now = now.Add(time.Hour)
	logins(t.Context(), "cloud.example/team/app", "team")
	if provided() != 2 {
		t.Errorf("the provider has run %d times, want once more after its answer ended", provided())
	}
	for _, image := range []string{"a.example.org/app", "chatty.example.org/app", "bad.example/app"} {
		got, problems := logins(t.Context(), image, "team")
		if !cmp.Equal([]string{""}, got) || problems == "" || strings.Contains(problems, "hunter2") {
			t.Errorf("%s: logins %q, problems %q", image, got, problems)
		}
	}
	// A program that takes long keeps nobody.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(time.Hour)
	if _, problems := logins(ctx, "helped.example/app", "team"); !strings.Contains(problems, "waiting") {
		t.Errorf("it was waited for: %s", problems)
	}
}

// Programs that hang leave slots to other namespaces; no more run at once than there are slots, none is run for a Pod
// whose time is over, and one answers all who wait for the same.
func TestProgramsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrograms("/", time.Now)
		var running, runs, most int
		gate := make(chan struct{})
		var mu sync.Mutex
		ask := func(ctx context.Context, namespace, key string, hangs bool) error {
			_, err := p.ask(ctx, namespace, []string{key}, func(ctx context.Context) (map[string]login, error) {
				mu.Lock()
				running++
				runs++
				most = max(most, running)
				mu.Unlock()
				defer func() {
					mu.Lock()
					running--
					mu.Unlock()
				}()
				if hangs {
					select {
					case <-gate:
					case <-ctx.Done():
					}
				}
				return nil, ctx.Err()
			})
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() { _ = ask(ctx, "evil", fmt.Sprint(i), true) })
		}
		synctest.Wait()
		if most > maxPrograms/2 {
			t.Errorf("%d programs run at once for one namespace", most)
		}
		if err := ask(ctx, "good", "good", false); err != nil {
			t.Errorf("another namespace: %v", err)
		}
		all.Wait()
		before := runs
		if err := ask(ctx, "good", "late", false); err == nil || runs != before {
			t.Errorf("after the deadline: %v, and %d runs", err, runs-before)
		}
		time.Sleep(programTime)
		synctest.Wait()
		if running != 0 || p.slots.Used() != 0 || len(p.running) != 0 {
			t.Errorf("%d run in the end, with %d slots", running, p.slots.Used())
		}
		before = runs
		for range 5 {
			all.Go(func() { _ = ask(t.Context(), "good", "shared", true) })
		}
		synctest.Wait()
		close(gate)
		all.Wait()
		if runs != before+1 {
			t.Errorf("one question was asked %d times", runs-before)
		}
	})
}

func TestParseProviders(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
	for text, says := range map[string]string{
		"kind: Pod\napiVersion: v1": "not a CredentialProviderConfig",
		head + "- {name: ../evil, matchImages: [a], apiVersion: credentialprovider.kubelet.k8s.io/v1}":                           "name",
		head + "- {name: a, matchImages: [a], apiVersion: v1}":                                                                   "apiVersion",
		head + "- {name: a, apiVersion: credentialprovider.kubelet.k8s.io/v1}":                                                   "matchImages",
		head + "- {name: a, matchImages: [a], apiVersion: credentialprovider.kubelet.k8s.io/v1, tokenAttributes: {audience: a}}": "tokenAttributes",
	} {
		if _, err := parseProviders([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"r":{"auth":"dTpw"},"https://index.docker.io/v1/":{"username":"u","password":"p"}},"credHelpers":{"a":"b"}}`), false)
	f.Add([]byte(`{"*.example:5000/team":{"auth":"dTpw"}}`), true)
	f.Fuzz(func(t *testing.T, text []byte, legacy bool) {
		config, err := parseDockerConfig(text, legacy)
		if err != nil {
			return
		}
		var ring keyring
		_ = ring.add(config.auths)
		for _, repository := range append(ring.places, "docker.io/library/nginx") {
			if _, err := ring.find(t.Context(), repository+"/app"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}`), "arm")
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"","size":2,"digest":"sha256:0a"}}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, architecture string) {
		found, config, err := parseManifest(raw)
		switch {
		case err != nil:
			return
		case found.index == nil:
			if config == nil && found.artifact == "" {
				t.Error("neither an index nor an image")
			}
			return
		case len(found.index.Manifests) > maxParts:
			t.Errorf("%d parts", len(found.index.Manifests))
		}
		if n := len(others(*found.index)); n > maxPlatforms {
			t.Errorf("%d others", n)
		}
		for _, node := range append(nodePlatforms(*found.index, nil), nodePlatforms(*found.index, []string{architecture})...) {
			part, ok := pick(*found.index, platforms.Only(node))
			if ok && part.Platform != nil && !platforms.Only(node).Match(*part.Platform) {
				t.Errorf("a part for %v on %v", part.Platform, node)
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("registries: [{host: a.example, mirrors: [b.example/c]}]\nprivateNetworks: [10.0.0.0/8]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := ParseConfig(text)
		if err != nil {
			return
		}
		for _, h := range config.Registries {
			config.of(h.Host)
		}
	})
}

// What credential plugins write is read without a panic, none of it is in an error, and it serves only what it is for.
func FuzzPluginOutput(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry","cacheDuration":"12h","auth":{"*.dkr.ecr.*.amazonaws.com":{"username":"AWS","password":"hunter2"}}}`), "1.dkr.ecr.eu-west-1.amazonaws.com/team/app")
	f.Add([]byte(`{"kind":"CredentialProviderResponse","cacheKeyType":"Image","cacheDuration":"-1h","auth":{"https://registry.example:5000/v2/team":{"username":"u","password":"p"}}}`), "registry.example:5000/team/app")
	f.Add([]byte(`{"kind":"CredentialProviderResponse","cacheKeyType":"hunter2","auth":{"":null,"::":{},"a[.b":{"username":7}}}`), "docker.io/library/nginx")
	f.Add([]byte(`{"ServerURL":"registry.example","Username":"<token>","Secret":"hunter2"}`), "registry.example/app")
	f.Add([]byte("error getting credentials: hunter2"), "registry.example/app")
	f.Add([]byte(`[{"kind":"CredentialProviderResponse"}]`), "")
	f.Fuzz(func(t *testing.T, output []byte, repository string) {
		errs := map[string]bool{"its answer is not a CredentialProviderResponse": true, "cacheKeyType of its answer is not Image, Registry or Global": true,
			"its answer is not a credential in JSON": true}
		if l, err := parseHelperResponse(output); err != nil && !errs[err.Error()] {
			t.Errorf("an error of the output: %v", err)
		} else if fmt.Sprintf("%v %+v %#v", l, l, l) != strings.TrimSpace(strings.Repeat(l.String()+" ", 3)) {
			t.Errorf("a credential is printed: %v", l)
		}
		response, err := parseProviderResponse(output)
		if err != nil {
			if !errs[err.Error()] {
				t.Errorf("an error of the output: %v", err)
			}
			return
		}
		var ring keyring
		_ = ring.add(response.auths)
		all, err := ring.find(t.Context(), repository)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range all {
			serves := false
			for key, l := range response.auths {
				place, ok := placeOf(key)
				serves = serves || ok && l == found && (matchesURL(place, repository) || place == "index.docker.io" && strings.HasPrefix(repository, "docker.io/"))
			}
			if !serves {
				t.Errorf("%q is given to %q", output, repository)
			}
		}
	})
}

func FuzzParseProviders(f *testing.F) {
	f.Add([]byte("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: [{name: a, matchImages: ['*.a'], apiVersion: credentialprovider.kubelet.k8s.io/v1}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		providers, err := parseProviders(text)
		if err != nil {
			return
		}
		for _, p := range providers {
			p.serves("a.a/b")
		}
	})
}
