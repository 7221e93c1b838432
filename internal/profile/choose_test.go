package profile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/profile"
)

// fake are the InitProfiles of a cluster; nil if they cannot be read.
type fake map[string]v1alpha1.InitProfileSpec

func (f fake) Get(name string) (*v1alpha1.InitProfileSpec, error) {
	if f == nil {
		return nil, profile.ErrUnread
	}
	if spec, ok := f[name]; ok {
		return &spec, nil
	}
	return nil, profile.ErrMissing
}

func TestChoose(t *testing.T) {
	no := false
	open, closed := v1alpha1.InitProfileSpec{}, v1alpha1.InitProfileSpec{PodsMayChoose: &no}
	broken := v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{Grace: "soon"}}
	cluster := fake{"team": open, "other": open, "strict": closed, "broken": broken}
	with := func(spec v1alpha1.InitProfileSpec) fake {
		f := fake{v1alpha1.DefaultProfile: spec}
		for name, spec := range cluster {
			f[name] = spec
		}
		return f
	}
	for name, c := range map[string]struct {
		profiles       fake
		namespace, pod string
		want           string
		ignored        []v1alpha1.Reason
	}{
		"nothing is named":                         {profiles: cluster},
		"nothing is named, there is a default":     {profiles: with(open), want: "default"},
		"the namespace names one":                  {profiles: with(open), namespace: "team", want: "team"},
		"the pod names one":                        {profiles: with(open), pod: "team", want: "team"},
		"the pod goes before the namespace":        {profiles: with(open), namespace: "team", pod: "other", want: "other"},
		"the namespace may name what pods may not": {profiles: cluster, namespace: "strict", want: "strict"},
		"no escape from the namespace's":           {profiles: cluster, namespace: "strict", pod: "team", want: "strict", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileFixed}},
		"no escape by a name that is missing":      {profiles: cluster, namespace: "strict", pod: "typo", want: "strict", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileMissing}},
		"no escape from the default":               {profiles: with(closed), pod: "team", want: "default", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileFixed}},
		"naming the one that holds is not ignored": {profiles: cluster, namespace: "strict", pod: "strict", want: "strict"},
		"not for pods":                             {profiles: with(open), pod: "strict", want: "default", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileNotForPods}},
		"the pod's is missing":                     {profiles: cluster, namespace: "team", pod: "typo", want: "team", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileMissing}},
		"the namespace's is missing":               {profiles: with(open), namespace: "typo", want: "default", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileMissing}},
		"both are missing":                         {profiles: cluster, namespace: "x", pod: "y", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileMissing, v1alpha1.ReasonProfileMissing}},
		"the pod's is broken":                      {profiles: cluster, pod: "broken", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileInvalid}},
		"the default is broken":                    {profiles: with(broken), ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileInvalid}},
		"unread, nothing is named":                 {},
		"unread":                                   {namespace: "team", pod: "other", ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileUnread, v1alpha1.ReasonProfileUnread}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ignored := profile.Choose(c.profiles, c.namespace, c.pod)
			if diff := cmp.Diff(c.want, got.Name()); diff != "" {
				t.Errorf("profile (-want +got):\n%s", diff)
			}
			var reasons []v1alpha1.Reason
			for _, i := range ignored {
				reasons = append(reasons, i.Reason)
			}
			if diff := cmp.Diff(c.ignored, reasons); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
		})
	}
}

// The pod's author can correct what the pod says, but not a profile or what the namespace says.
func TestCorrectable(t *testing.T) {
	no := false
	broken := v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{Grace: "soon"}}
	cluster := fake{"team": {}, "broken": broken, "strict": {PodsMayChoose: &no}}
	for name, c := range map[string]struct {
		profiles       fake
		namespace, pod string
		want           bool
	}{
		"the pod's is missing":       {profiles: cluster, pod: "typo", want: true},
		"the pod's is not for pods":  {profiles: cluster, namespace: "team", pod: "strict", want: true},
		"the pod's is broken":        {profiles: cluster, pod: "broken"},
		"the pod's is unread":        {pod: "team"},
		"the namespace's is missing": {profiles: cluster, namespace: "typo"},
		"the default is broken":      {profiles: fake{v1alpha1.DefaultProfile: broken}},
	} {
		t.Run(name, func(t *testing.T) {
			_, ignored := profile.Choose(c.profiles, c.namespace, c.pod)
			for _, i := range ignored {
				if i.Correctable != c.want {
					t.Errorf("%s (%s): correctable is %t", i.Setting, i.Reason, i.Correctable)
				}
			}
		})
	}
}

func TestWarning(t *testing.T) {
	_, ignored := profile.Choose(fake{"broken": {Init: v1alpha1.InitSpec{Grace: "soon"}}}, "typo", "broken")
	var got []string
	for _, i := range ignored {
		got = append(got, i.Warning())
	}
	want := []string{
		`podinit: the namespace's annotation podinit.dev/profile: "typo" ignored because there is no InitProfile of that name. Create it, or correct the name; kubectl get initprofiles lists them.`,
		`podinit: the pod's annotation podinit.dev/profile: "broken" ignored because the InitProfile is not valid (spec.init: --grace: "soon" is not a duration such as 45s, 1m30s or a number of seconds). Correct it with kubectl edit initprofile.`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
