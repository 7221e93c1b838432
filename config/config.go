// Package config is what podinit is deployed from, for programs that compare a cluster with it.
package config

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed certificates/*.yaml crd/*.yaml manager/*.yaml rbac/*.yaml webhook/*.yaml
var files embed.FS

//go:embed policy/*.yaml
var policy embed.FS

// Objects are all that config/default deploys, without the labels that it adds.
func Objects() ([]unstructured.Unstructured, error) { return objectsIn(files) }

// Policy is what the component config/policy adds.
func Policy() ([]unstructured.Unstructured, error) { return objectsIn(policy) }

func objectsIn(files embed.FS) ([]unstructured.Unstructured, error) {
	var objects []unstructured.Unstructured
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			var object unstructured.Unstructured
			if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("config/%s: %w", path, err)
			}
			if kind := object.GetKind(); kind != "" && kind != "Kustomization" {
				objects = append(objects, object)
			}
		}
	})
	return objects, err
}
