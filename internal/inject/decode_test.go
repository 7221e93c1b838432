package inject

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

var documents = flag.Int("documents", 2000, "how many documents the comparison with sigs.k8s.io/json makes")

// agree holds Decode against the decoder that the apiserver uses: both refuse the document, or both make the same Pod.
func agree(t *testing.T, raw []byte) (valid bool) {
	t.Helper()
	want := &Pod{}
	strict, wantErr := kjson.UnmarshalStrict(raw, want, kjson.DisallowDuplicateFields)
	if wantErr == nil && len(strict) > 0 {
		wantErr = strict[0]
	}
	noPod := wantErr == nil && (want.Metadata == nil || want.Spec == nil)
	got, err := Decode(raw)
	if (err == nil) != (wantErr == nil && !noPod) {
		t.Fatalf("%s\nours: %v\ntheirs: %v", raw, err, wantErr)
	}
	want.raw = raw
	if err == nil {
		want.prepare()
	}
	if err == nil && !reflect.DeepEqual(want, got) {
		everything := cmp.Exporter(func(reflect.Type) bool { return true })
		t.Fatalf("%s (-theirs +ours):\n%s", raw, cmp.Diff(want, got, everything))
	}
	return err == nil
}

// Whatever field the Pod gets, it is read: documents are made of the Pod's own fields, with random values. Half of them
// have a value somewhere that is null or of another type.
func TestDecodeAgrees(t *testing.T) {
	valid := 0
	for seed := range *documents {
		g := generator{Rand: rand.New(rand.NewPCG(uint64(seed), 0)), wrong: seed%2 == 0}
		raw, err := json.Marshal(g.value(reflect.TypeFor[Pod]()))
		if err != nil {
			t.Fatal(err)
		}
		if agree(t, raw) {
			valid++
		}
	}
	if valid < *documents/4 || valid == *documents {
		t.Errorf("%d of %d documents are valid: the generator has lost its use", valid, *documents)
	}
}

type generator struct {
	*rand.Rand
	wrong bool
}

// value fits a type of the Pod's, if it is not wrong.
func (g generator) value(t reflect.Type) any {
	if g.wrong && g.IntN(300) == 0 {
		return []any{nil, nil, "a", 7, true, []any{}, map[string]any{}}[g.IntN(7)]
	}
	switch t.Kind() {
	case reflect.String:
		return []string{"", "a", "podinit", "é\"\\\n<&>\u2028"}[g.IntN(4)]
	case reflect.Bool:
		return g.IntN(2) == 0
	case reflect.Int64:
		return g.Int64() >> g.IntN(64)
	case reflect.Pointer:
		return g.value(t.Elem())
	case reflect.Map:
		return map[string]any{"a": g.value(t.Elem()), "é\n": g.value(t.Elem())}
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return []any{"1Gi", 7, nil, map[string]any{"a": []any{1.5}}}[g.IntN(4)]
		}
		list := []any{}
		for range g.IntN(3) {
			list = append(list, g.value(t.Elem()))
		}
		return list
	}
	object := map[string]any{"unknown": map[string]any{"a": []any{nil, 1.5}}}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && g.IntN(10) > 0 {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			object[name] = g.value(f.Type)
		}
	}
	return object
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*/pod.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden cases found: %v", err)
	}
	for _, file := range files {
		pod, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := yaml.YAMLToJSON(pod)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"metadata":{},"spec":{},"spec":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}
