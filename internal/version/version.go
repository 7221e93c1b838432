// Package version holds the version that the build stamps into every binary of podinit.
package version

// Version is the release, as semantic versioning writes it (v1.2.3, or v1.2.3-5-gabcdef between releases).
// The Makefile sets it with -ldflags "-X"; a plain "go build" leaves the placeholder.
var Version = "v0.0.0-unstamped"
