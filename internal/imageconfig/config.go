// Package imageconfig finds out what a container without a command runs: its image's ENTRYPOINT and CMD.
//
// A Config is what one image says, an Image what a reference stands for, one Config for every platform. A Source finds
// Images; a Cache is a Source that asks a Registry only for what it does not know. Configs are kept as the image has
// them; what is to be written into a container is derived from them for each container alone (see Config.Process).
//
// There is no I/O here: a Registry does that (package registry).
package imageconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Config is what an image for one platform says about how it is run.
type Config struct {
	Platform Platform
	// Entrypoint and Cmd are the words of ENTRYPOINT and CMD.
	Entrypoint, Cmd []string
	// StopSignal as the image names it, such as SIGQUIT or 3; empty for SIGTERM.
	StopSignal string
	// User, WorkingDir and Path (the variable PATH) are how the first word is found and run.
	User, WorkingDir, Path string
}

// Platform is what an image is made for, in Go's names.
type Platform struct {
	OS, Architecture, Variant string
}

// maxWords bounds ENTRYPOINT and CMD together, in bytes. They become part of the Pod, which may not be larger than
// 1.5 MiB (etcd), with every $ doubled; and a program takes 128 KiB in one word (execve(2), MAX_ARG_STRLEN).
const maxWords = 128 << 10

// Parse reads an image config, of OCI or Docker: for what is read here they are the same.
func Parse(raw []byte) (Config, error) {
	var file struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
		Config       struct {
			Entrypoint []string `json:"Entrypoint"`
			Cmd        []string `json:"Cmd"`
			StopSignal string   `json:"StopSignal"`
			User       string   `json:"User"`
			WorkingDir string   `json:"WorkingDir"`
			Env        []string `json:"Env"`
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return Config{}, fmt.Errorf("reading an image config: %w", err)
	}
	config := Config{
		Platform:   Platform{OS: file.OS, Architecture: file.Architecture, Variant: file.Variant},
		Entrypoint: file.Config.Entrypoint,
		Cmd:        file.Config.Cmd,
		StopSignal: file.Config.StopSignal,
		User:       file.Config.User,
		WorkingDir: file.Config.WorkingDir,
	}
	for _, variable := range file.Config.Env {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			config.Path = path
		}
	}
	if config.Size() > maxWords {
		return Config{}, fmt.Errorf("reading an image config: what it runs is longer than %d bytes", maxWords)
	}
	return config, nil
}

// Size is what the config's words need, in bytes; a word costs something even if it is empty.
func (c Config) Size() int {
	n := len(c.StopSignal) + len(c.User) + len(c.WorkingDir) + len(c.Path) + len(c.Platform.OS) + len(c.Platform.Architecture) + len(c.Platform.Variant)
	for _, words := range [][]string{c.Entrypoint, c.Cmd} {
		for _, word := range words {
			n += len(word) + 16 // a string's header
		}
	}
	return n
}

// ErrNoProgram is returned where neither an image nor a container names a program.
var ErrNoProgram = errors.New("neither the image nor the container says what to run")

// Process is what a container without a command must be given as command and args to run what it runs now, as
// container runtimes put it together (containerd's WithProcessArgs, CRI-O's SpecSetProcessArgs): the image's
// entrypoint, followed by the container's own args, or by the image's cmd if it has none.
//
// args are nil if the container's own stay. The words are Escaped, and no part of c.
func (c Config) Process(ownArgs bool) (command, args []string, err error) {
	entrypoint := c.Entrypoint
	if len(entrypoint) == 1 && entrypoint[0] == "" {
		entrypoint = nil // containerd takes [""] for none
	}
	if len(entrypoint) > 0 {
		command = Escape(entrypoint)
	}
	if !ownArgs && len(c.Cmd) > 0 {
		args = Escape(c.Cmd)
	}
	if len(command)+len(args) == 0 && !ownArgs {
		return nil, nil, ErrNoProgram
	}
	return command, args, nil
}

// Escape is a copy of words that are meant literally, as the kubelet must find them: in a container's command and args
// it expands $(NAME) and turns $$ into $ (third_party/forked/golang/expansion). What an image says is not expanded.
func Escape(words []string) []string {
	escaped := slices.Clone(words)
	for i, word := range escaped {
		escaped[i] = strings.ReplaceAll(word, "$", "$$")
	}
	return escaped
}
