package v1alpha1

import "testing"

func TestDisables(t *testing.T) {
	for value, want := range map[string]bool{
		"disabled": true, "Disabled": true, "false": true, "False": true, "FALSE": true, "no": true, "NO": true, "off": true, "Off": true,
		"": false, "enabled": false, "true": false, "yes": false, "on": false, "0": false, "disable": false, "nope": false,
	} {
		if got := Disables(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}
