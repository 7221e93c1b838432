package report

import (
	"fmt"
	"testing"
)

// What is missed comes first, so that no bound hides it, and all is counted.
func TestSet(t *testing.T) {
	var all []Container
	for i := range MaxContainers {
		all = append(all, Container{Namespace: "a", Pod: fmt.Sprint(i), State: Wrapped})
	}
	all = append(all, Container{Namespace: "z", Pod: "bare", State: Missed}, Container{Namespace: "b", State: LeftAlone})
	r := Report{}
	r.Set(all)
	if want := (Counts{Wrapped: MaxContainers, LeftAlone: 1, Missed: 1}); r.Counts != want || len(r.Containers) != MaxContainers || r.Omitted != 2 {
		t.Errorf("%+v, %d listed, %d omitted", r.Counts, len(r.Containers), r.Omitted)
	}
	if r.Containers[0].Pod != "bare" || r.Containers[1].Pod != "0" {
		t.Errorf("first come %v", r.Containers[:2])
	}
}
