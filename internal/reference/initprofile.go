package reference

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func initProfile(root string) (string, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	text, err := os.ReadFile(filepath.Join(root, "config/crd/podinit.dev_initprofiles.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &crd)
	}
	if err != nil {
		return "", err
	}
	version := crd.Spec.Versions[0]
	schema := version.Schema.OpenAPIV3Schema
	spec := schema.Properties["spec"]

	var b strings.Builder
	b.WriteString(head(crd.Spec.Names.Kind, "the CustomResourceDefinition in config/crd",
		strings.Join(strings.Fields(schema.Description), " ")+"\n\n"+
			fmt.Sprintf("`apiVersion: %s/%s`, cluster-scoped. How to use it: [profiles](../profiles.md). The same in a cluster: `kubectl explain initprofile.spec --recursive`.",
				crd.Spec.Group, version.Name)))
	b.WriteString("\n```yaml\n" + strings.TrimRight(example(spec, "spec", 0), "\n") + "\n```\n")
	document(&b, "spec", spec)
	return b.String(), nil
}

// example is a property with all its defaults.
func example(schema apiextensionsv1.JSONSchemaProps, name string, depth int) string {
	indent := strings.Repeat("  ", depth)
	if len(schema.Properties) == 0 {
		value := "# " + schema.Type + ", no default"
		if schema.Default != nil {
			value = string(schema.Default.Raw)
		}
		return indent + name + ": " + value + "\n"
	}
	text := indent + name + ":\n"
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		text += example(schema.Properties[key], key, depth+1)
	}
	return text
}

// document writes a section for each field below path.
func document(b *strings.Builder, path string, schema apiextensionsv1.JSONSchemaProps) {
	required := map[string]bool{}
	for _, name := range schema.Required {
		required[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := schema.Properties[name]
		fmt.Fprintf(b, "\n## %s.%s\n\n%s\n", path, name, facts(field, required[name]))
		if field.Description != "" {
			b.WriteString("\n" + paragraph(field.Description) + "\n")
		}
		for _, rule := range rules(field) {
			b.WriteString("\n" + rule + "\n")
		}
		document(b, path+"."+name, field)
		if field.Items != nil && field.Items.Schema != nil {
			document(b, path+"."+name+"[]", *field.Items.Schema)
		}
	}
}

// facts of a field, in one line.
func facts(field apiextensionsv1.JSONSchemaProps, required bool) string {
	kind := field.Type
	if field.Items != nil && field.Items.Schema != nil {
		kind = "list of " + field.Items.Schema.Type
	}
	facts := []string{kind}
	if required {
		facts = append(facts, "required")
	}
	if field.Default != nil && len(field.Properties) == 0 {
		facts = append(facts, "default "+code(string(field.Default.Raw)))
	}
	if len(field.Enum) > 0 {
		var values []string
		for _, value := range field.Enum {
			values = append(values, code(strings.Trim(string(value.Raw), `"`)))
		}
		facts = append(facts, "one of "+strings.Join(values, ", "))
	}
	number := func(format string, n *int64) {
		if n != nil {
			facts = append(facts, fmt.Sprintf(format, *n))
		}
	}
	limits := func(of string, s *apiextensionsv1.JSONSchemaProps) {
		if s.Minimum != nil {
			facts = append(facts, fmt.Sprintf("%sat least %g", of, *s.Minimum))
		}
		if s.Maximum != nil {
			facts = append(facts, fmt.Sprintf("%sat most %g", of, *s.Maximum))
		}
		number(of+"at most %d characters", s.MaxLength)
	}
	limits("", &field)
	number("at most %d of them", field.MaxItems)
	if field.Items != nil && field.Items.Schema != nil {
		limits("each ", field.Items.Schema)
	}
	return "*" + strings.Join(facts, "; ") + "*"
}

// rules are sentences that say what the field, and each of its items, must be besides.
func rules(field apiextensionsv1.JSONSchemaProps) (rules []string) {
	say := func(what string, validations apiextensionsv1.ValidationRules) {
		for _, v := range validations {
			if strings.HasPrefix(v.Message, "must ") {
				rules = append(rules, what+" "+v.Message+".")
			} else {
				rules = append(rules, what+" is refused unless this holds: "+v.Message+".")
			}
		}
	}
	say("It", field.XValidations)
	if field.Items != nil && field.Items.Schema != nil {
		say("Each", field.Items.Schema.XValidations)
	}
	return rules
}

// paragraph is a description without the line breaks of the source.
func paragraph(description string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(strings.Join(strings.Fields(description), " "))
}
