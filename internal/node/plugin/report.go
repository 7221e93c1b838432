package plugin

import (
	"encoding/json"
	"net/http"

	"github.com/containerd/nri/pkg/api"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node/report"
)

// ServeHTTP serves the Report, which changes nothing.
func (p *Plugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is read with GET", http.StatusMethodNotAllowed)
		return
	}
	text, err := json.Marshal(p.Report(r.URL.Query().Get(report.NamespaceParameter)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // the client may have gone
}

// Report is what is known of the node's containers, those of one namespace or of all if that is empty.
func (p *Plugin) Report(namespace string) report.Report {
	r := report.Report{Version: p.Version, Registered: true, Suspended: p.Suspended != nil && p.Suspended()}
	if err := p.Ready(nil); err != nil {
		r.Registered, r.Problem = false, err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]report.Container, 0, len(p.containers))
	for _, s := range p.containers {
		if s.seen.Name != "" && (namespace == "" || s.seen.Namespace == namespace) && !(s.unwrapped && !s.started) {
			all = append(all, s.seen)
		}
	}
	r.Set(all)
	for i := range p.recent {
		if c := p.recent[(p.next+len(p.recent)-1-i)%len(p.recent)]; namespace == "" || c.Namespace == namespace {
			r.Recent = append(r.Recent, c)
		}
	}
	return r
}

// see is a container as a Report has it; the zero one if its Pod has not opted in. init is the version of the init that it
// has from this node, and missed is set where it should have one.
func see(pod *api.PodSandbox, container *api.Container, reason v1alpha1.Reason, init string, missed bool) report.Container {
	if inject.NotOptedIn(reason) {
		return report.Container{}
	}
	c := report.Container{
		Namespace: pod.GetNamespace(), Pod: pod.GetName(), UID: pod.GetUid(), Name: container.GetName(),
		State: report.LeftAlone, Reason: reason, Init: init,
	}
	switch {
	case missed:
		c.State = report.Missed
	case init != "":
		c.State, c.Reason = report.Wrapped, ""
	}
	return c
}

// decided remembers a decision, in place of the oldest. p.mu is held.
func (p *Plugin) decided(c report.Container) {
	switch {
	case c.Name == "":
	case len(p.recent) < report.MaxRecent:
		p.recent = append(p.recent, c)
		p.next = len(p.recent) % report.MaxRecent
	default:
		p.recent[p.next] = c
		p.next = (p.next + 1) % report.MaxRecent
	}
}
