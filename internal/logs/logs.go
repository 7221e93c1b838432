// Package logs is how podinit's servers log: JSON, an object on each line.
package logs

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

// MaxVerbosity bounds the log: with the logger that controller-runtime puts into contexts, client-go writes bodies at 8, and
// Secrets are among those (k8s.io/client-go/rest, logBody).
const MaxVerbosity = 6

// New writes what is wrong and what changes, and with a higher verbosity more.
func New(to io.Writer, verbosity int) logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.Level(-verbosity)}))
}
