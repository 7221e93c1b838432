package profile

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Parse reads the InitProfiles in the text of a file with that name, of which there may be several. It reads no other
// objects, and no fields that an InitProfile does not have; New checks the values.
func Parse(file string, text []byte) (all []v1alpha1.InitProfile, err error) {
	for _, part := range strings.Split("\n"+string(text), "\n---") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		var p v1alpha1.InitProfile
		if err := yaml.Unmarshal([]byte(part), &p); err != nil {
			return nil, fmt.Errorf("reading the InitProfile in %s: %w", file, err)
		}
		if p.Kind == "" {
			continue // comments alone
		}
		if p.Kind != "InitProfile" || p.Name == "" {
			return nil, fmt.Errorf("%s has a %s named %q, and must have only InitProfiles with names", file, p.Kind, p.Name)
		}
		if err := yaml.UnmarshalStrict([]byte(part), &p); err != nil {
			return nil, fmt.Errorf("reading InitProfile %q in %s: %w", p.Name, file, err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no InitProfile", file)
	}
	return all, nil
}
