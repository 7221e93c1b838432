// Command document writes docs/reasons.md to standard output. "make generate" runs it.
package main

import (
	"fmt"
	"os"

	"github.com/podinit/podinit/internal/reason"
)

func main() {
	if _, err := os.Stdout.WriteString(reason.Markdown()); err != nil {
		fmt.Fprintln(os.Stderr, "writing the reasons:", err)
		os.Exit(1)
	}
}
