package main

import (
	"flag"
	"os"
	"testing"
)

var options Options

func TestMain(m *testing.M) {
	options.flags(flag.CommandLine)
	flag.Parse()
	options.Before = []string{"-test.run=^TestNeverWorse$"}
	os.Exit(m.Run())
}

// TestNeverWorse runs the trees.
func TestNeverWorse(t *testing.T) {
	violations, err := options.Run(os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if violations > 0 {
		t.Errorf("%d trees violate the law", violations)
	}
}
