// Command document writes the pages of docs/reference into a directory. "make generate" runs it at the repository's root.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/podinit/podinit/internal/reference"
)

func main() {
	if err := write(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "writing the reference:", err)
		os.Exit(1)
	}
}

func write(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: document DIRECTORY")
	}
	for name, page := range reference.Pages() {
		text, err := page(".")
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
