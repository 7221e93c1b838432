package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDraw(t *testing.T) {
	svg := draw("on <this> machine", testContenders, testRows)
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var seen []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		if c, ok := token.(xml.CharData); ok && strings.TrimSpace(string(c)) != "" {
			seen = append(seen, string(c))
		}
	}
	want := []string{"podinit beside the packaged inits: less is better", "on <this> machine",
		"memory, kB", "podinit", "100", "tini", "400", "dumb-init", "200",
		"latency, µs", "podinit", "21", "tini", "20", "dumb-init", "30",
		"SIGTERM lost, %, by µs after the init's exec", "podinit", "0", "tini", "100", "dumb-init", "4", "100"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
