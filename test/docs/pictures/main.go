// Command pictures makes the pictures of the documentation that show what was measured.
//
//	pictures draw DIRECTORY          draws docs/images/*.json into a directory; "make generate" does
//	pictures record timeline INIT    writes docs/images/timeline.json, with the program of the init (root)
//	pictures record dashboard        writes docs/images/dashboard.json, from two minutes of a webhook and Prometheus
//
// Both run at the repository's root.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/podinit/podinit/test/docs/timeline"
	"github.com/podinit/podinit/test/observe"
	"github.com/podinit/podinit/test/observe/live"
)

// images is where recordings and pictures are.
const images = "docs/images"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "draw":
		return draw(args[1])
	case len(args) == 3 && args[0] == "record" && args[1] == "timeline":
		recording, err := timeline.Record(ctx, args[2], 10*time.Second)
		if err != nil {
			return err
		}
		return write("timeline", recording)
	case len(args) == 2 && args[0] == "record" && args[1] == "dashboard":
		return recordDashboard(ctx)
	}
	return errors.New("usage: pictures draw DIRECTORY, pictures record timeline INIT, or pictures record dashboard")
}

// draw draws every recording.
func draw(directory string) error {
	var end timeline.Recording
	if err := read("timeline", &end); err != nil {
		return err
	}
	var answers live.Recording
	if err := read("dashboard", &answers); err != nil {
		return err
	}
	dashboard, err := observe.ReadDashboard(".")
	if err != nil {
		return err
	}
	for name, picture := range map[string]string{"timeline": timeline.Draw(end), "dashboard": live.Draw(dashboard, answers)} {
		if err := os.WriteFile(filepath.Join(directory, name+".svg"), []byte(picture), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func recordDashboard(ctx context.Context) error {
	dashboard, err := observe.ReadDashboard(".")
	if err != nil {
		return err
	}
	stage, err := live.Start(ctx)
	if err != nil {
		return err
	}
	defer stage.Close()
	loading, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := stage.Load(loading); err != nil {
		return err
	}
	answers, err := stage.Ask(ctx, dashboard, 60)
	if err != nil {
		return err
	}
	text, err := json.Marshal(answers)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(images, "dashboard.json"), append(text, '\n'), 0o644)
}

// read reads a recording.
func read(name string, recording any) error {
	text, err := os.ReadFile(filepath.Join(images, name+".json"))
	if err == nil {
		err = json.Unmarshal(text, recording)
	}
	if err != nil {
		return fmt.Errorf("reading the recording %s: %w", name, err)
	}
	return nil
}

// write writes a recording, a line for each value, so that a change of it can be read.
func write(name string, recording any) error {
	text, err := json.MarshalIndent(recording, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(images, name+".json"), append(text, '\n'), 0o644)
}
