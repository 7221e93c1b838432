// Command podinit-cluster starts and stops the test cluster; see package cluster.
//
//	podinit-cluster up BIN [NODES]
//	                          start it from the programs in directory BIN, with one node or so many
//	podinit-cluster down      stop it and remove what it left
//	podinit-cluster status    say whether it runs, and how to reach it
//	podinit-cluster kubeconfig, registry
//	                          print the file and the address by which clients reach it
//	podinit-cluster push ARCHIVE REPOSITORY
//	                          push an archive of make images to its registry, print the reference by digest
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	releaseimage "github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/test/cluster"
)

func main() {
	log.SetFlags(log.Ltime)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "podinit-cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case (len(args) == 2 || len(args) == 3) && args[0] == "up":
		nodes := 1
		if len(args) == 3 {
			var err error
			if nodes, err = strconv.Atoi(args[2]); err != nil {
				return fmt.Errorf("the number of nodes: %w", err)
			}
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		bin, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		c, err := cluster.Up(ctx, bin, self, nodes, os.Stderr)
		if err != nil {
			return err
		}
		report(c)
		return nil
	case len(args) == 1 && args[0] == "down":
		return cluster.Down(os.Stderr)
	case len(args) == 1 && args[0] == "status":
		c, err := cluster.Open()
		if err != nil {
			return err
		}
		report(c)
		return nil
	case len(args) == 1 && args[0] == "kubeconfig":
		fmt.Println(cluster.Kubeconfig)
		return nil
	case len(args) == 1 && args[0] == "registry":
		fmt.Println(cluster.Registry)
		return nil
	case len(args) == 3 && args[0] == "push":
		image, err := releaseimage.Open(args[1])
		if err != nil {
			return err
		}
		reference, err := cluster.Push(context.Background(), args[2], image)
		if err != nil {
			return err
		}
		fmt.Println(reference)
		return nil
	case len(args) == 3 && args[0] == "node":
		number, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return cluster.Supervise(args[1], number)
	}
	return errors.New("usage: podinit-cluster up BIN [NODES] | down | status | kubeconfig | registry | push ARCHIVE REPOSITORY")
}

func report(c *cluster.Cluster) {
	fmt.Printf("export KUBECONFIG=%s\nexport PATH=%s:$PATH\n# image registry: %s (plain HTTP; what podinit must be told of it: docs/lookup.md#a-registry-without-tls)\n", cluster.Kubeconfig, c.Bin, cluster.Registry)
}
