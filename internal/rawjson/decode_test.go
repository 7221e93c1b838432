package rawjson_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	kjson "sigs.k8s.io/json"

	"github.com/podinit/podinit/internal/rawjson"
)

var documents = flag.Int("documents", 20000, "how many documents the comparison with sigs.k8s.io/json makes")

type name string

// every has a field of each type that a Decoder takes.
type every struct {
	Name   name                       `json:"name"`
	Yes    bool                       `json:"yes"`
	Long   int64                      `json:"long,omitempty"`
	Short  int16                      `json:"short"`
	Raw    json.RawMessage            `json:"raw"`
	Far    *int64                     `json:"far"`
	Words  []string                   `json:"words"`
	Parts  []json.RawMessage          `json:"parts"`
	Labels map[string]string          `json:"labels"`
	Limits map[string]json.RawMessage `json:"limits"`
	Inner  struct {
		Deep *struct {
			Name string `json:"name"`
		} `json:"deep"`
	} `json:"inner"`
	List []inner `json:"list"`

	own int //nolint:unused // decoding must pass it over
}

type inner struct {
	Name  string   `json:"name"`
	Empty *nothing `json:"empty"`
	List  []bool   `json:"list"`
}

type nothing struct{}

var decoder = rawjson.For[every]()

// theirs is what sigs.k8s.io/json makes of a document, duplicate fields being an error.
func theirs(raw []byte) (*every, error) {
	into := &every{}
	strict, err := kjson.UnmarshalStrict(raw, into, kjson.DisallowDuplicateFields)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	return into, err
}

func agree(t *testing.T, raw []byte) (valid bool) {
	t.Helper()
	before := string(raw)
	want, wantErr := theirs(raw)
	got, err := decoder.Decode(raw)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\nours: %v\ntheirs: %v", raw, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(want, got) {
		t.Fatalf("%s\nours: %+v\ntheirs: %+v", raw, got, want)
	}
	if before != string(raw) {
		t.Fatalf("%q became %q", before, raw)
	}
	return err == nil
}

// seeds hold a case of everything that JSON and the tags can mean.
var seeds = []string{
	`{"name":"a","yes":true,"long":-7,"short":32767,"raw":{"x": [1]},"far":0,"words":["a",null,"b"],"parts":[1,null,"x",{}],"labels":{"a":"b","c":null},"limits":{"cpu":1,"memory":"1Gi","x":null},"inner":{"deep":{"name":"d"}},"list":[{"name":"x","empty":{"y":1},"list":[true,false,null]},null,{}]}`,
	`{"name":null,"yes":null,"long":null,"short":null,"raw":null,"far":null,"words":null,"parts":null,"labels":null,"limits":null,"inner":null,"list":null}`,
	`{"words":[],"parts":[],"labels":{},"limits":{},"inner":{"deep":{}},"list":[]}`,
	" {\t\"name\"\n:\r\"a\" , \"list\" : [ { } , { \"name\" : \"b\" } ] } \n",
	`{"name":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00\ud83d\udead\udead \ud83dx"}`,
	"{\"name\":\"\xff\xc3\x28\",\"labels\":{\"\xff\":\"\xed\xa0\x80\"},\"words\":[\"\u2028\U0001f600\x7f\"]}",
	`{"\u006eame":"escaped","labels":{"\u0061":"x","\n":"y"}}`,
	`{"Name":"case","NAME":7,"yes":false,"unknown":1,"unknown":{"a":[true,false,null,-0.5e+7,1E5,0,10.25]}}`,
	`{"name":"a","name":"b"}`, `{"\u006eame":"a","name":"a"}`, `{"name":null,"name":null}`, `{"labels":{"a":"b","\u0061":"b"}}`,
	`{"limits":{"a":1,"a":1}}`, `{"inner":{"deep":null,"deep":null}}`, `{"list":[{"name":"a"},{"name":"b","name":"c"}]}`,
	"{\"labels\":{\"\xff\":\"a\",\"\xfe\":\"b\"}}",
	`null`, `true`, `7`, `"name"`, `[]`, `[{}]`, ``, ` `, `{`, `}`, `{}`, `{}{}`, `{} {`, `{},`, "{}\x00", "\xef\xbb\xbf{}", `nul`, `nulll`, `{"raw":tru}`,
	`{"name"}`, `{"name":}`, `{"name":"a",}`, `{,"name":"a"}`, `{"name":"a" "yes":true}`, `{name:"a"}`, `{'name':'a'}`, `{"name":"a`, `{"name`,
	`{"list":[,]}`, `{"list":[{},]}`, `{"list":[{} {}]}`, `{"list":[{}}`, `{"x":[1,]}`, `{"x":[1 2]}`, `{"x":{"a":1,}}`, `{"x":{1:2}}`, `{"x":[}`, `{"x":{]}`,
	`{"long":01}`, `{"long":-}`, `{"long":1.0}`, `{"long":1e2}`, `{"long":1.}`, `{"long":.5}`, `{"long":+1}`, `{"long":-0}`, `{"long":"1"}`, `{"long":true}`,
	`{"long":9223372036854775807}`, `{"long":9223372036854775808}`, `{"long":-9223372036854775808}`, `{"short":32768}`, `{"short":-32768}`,
	`{"x":01}`, `{"x":-}`, `{"x":1.}`, `{"x":1e}`, `{"x":1e+}`, `{"x":-a}`, `{"x":1.5.5}`, `{"x":0x10}`, `{"x":NaN}`, `{"x":1e999}`, `{"raw":1e999}`,
	`{"name":7}`, `{"name":{}}`, `{"name":["a"]}`, `{"yes":"true"}`, `{"yes":1}`, `{"words":{}}`, `{"words":"a"}`, `{"words":[1]}`, `{"words":[[]]}`,
	`{"labels":[]}`, `{"labels":{"a":1}}`, `{"labels":"a"}`, `{"limits":[]}`, `{"inner":[]}`, `{"inner":"a"}`, `{"inner":{"deep":7}}`, `{"list":{}}`, `{"list":[[]]}`, `{"list":["a"]}`,
	`{"list":[{"empty":[]}]}`, `{"list":[{"empty":"a"}]}`, `{"far":{}}`, `{"far":"1"}`,
	`{"name":"\x"}`, `{"name":"\u12g4"}`, `{"name":"\u12"}`, `{"name":"\`, `{"name":"\u`, "{\"name\":\"\n\"}", "{\"name\":\"\x00\"}", "{\"x\":\"\x1f\"}", `{"x":"\x"}`, `{"x":"\u12g4"}`, "{\"x\t\":1}",
	`{"name":"\u123"}`, `{"x":"\u123g"}`, `{"x":[1:2]}`, `{"x":1:"y":2}`, `{"x";1}`, `{"x":1e-5,"y":2E+05,"z":-1.25e0}`, `{"x":1e-}`, `{"x":1e+-5}`,
	`{"own":1}`,
}

func TestAgreesOnSeeds(t *testing.T) {
	for _, seed := range seeds {
		agree(t, []byte(seed))
	}
}

func TestAgreesOnDepth(t *testing.T) {
	for _, depth := range []int{9999, 10000, 10001} {
		for _, shape := range []string{`{"x":%s}`, `{"raw":%s}`, `{"limits":{"a":%s}}`, `{"list":[{"x":%s}]}`} {
			outside := strings.Count(shape, "{") + strings.Count(shape, "[")
			for _, ends := range []string{"[]", "{}"} {
				open := ends[:1]
				if open == "{" {
					open = `{"a":`
				}
				n := depth - outside
				inside := strings.Repeat(open, n-1) + ends + strings.Repeat(ends[1:], n-1)
				if valid := agree(t, []byte(fmt.Sprintf(shape, inside))); valid != (depth <= 10000) {
					t.Errorf("%s of depth %d: valid is %v", shape, depth, valid)
				}
			}
		}
	}
}

// Documents are the seeds with something cut, doubled, exchanged or put in.
func TestAgreesOnMutations(t *testing.T) {
	valid := 0
	for seed := range *documents {
		if agree(t, mutated(rand.New(rand.NewPCG(uint64(seed), 0)))) {
			valid++
		}
	}
	if valid < *documents/20 || valid > *documents*19/20 {
		t.Errorf("%d of %d documents are valid: the mutations have lost their use", valid, *documents)
	}
}

var pieces = []string{
	`null`, `true`, `{}`, `[]`, `""`, `"a"`, `"name"`, `"\u0041"`, `-1`, `1.5`, `,`, `:`, `{`, `}`, `[`, `]`, `"`, `\`, ` `, "\n", "\x00", "\xff",
	`"name":"x",`, `"list":[{}],`, `"labels":{"a":"b"},`, `"unknown":0,`,
}

func mutated(r *rand.Rand) []byte {
	raw := []byte(seeds[r.IntN(4)])
	for range r.IntN(3) {
		from := r.IntN(len(raw) + 1)
		to := min(len(raw), from+r.IntN(6))
		switch piece := pieces[r.IntN(len(pieces))]; r.IntN(4) {
		case 0:
			raw = append(append([]byte{}, raw[:from]...), raw[to:]...)
		case 1:
			raw = append(append(append([]byte{}, raw[:to]...), raw[from:to]...), raw[to:]...)
		case 2:
			raw = append(append(append([]byte{}, raw[:from]...), piece...), raw[from:]...)
		case 3:
			raw = append(append(append([]byte{}, raw[:from]...), piece...), raw[to:]...)
		}
	}
	return raw
}

func FuzzAgrees(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}

// What is stored is bounded, what is skipped is not.
func TestBound(t *testing.T) {
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":""`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	// Elements of 48 bytes, entries of 32, parts of 24.
	const most, mostKeys = 8 << 20 / 48, 8 << 20 / 32
	for name, c := range map[string]struct {
		document string
		valid    bool
	}{
		"as many as may be":   {`{"list":` + list(most) + `}`, true},
		"one too many":        {`{"list":` + list(most+1) + `}`, false},
		"in two places":       {`{"list":` + list(most/2) + `,"parts":` + list(most+2) + `}`, false},
		"keys":                {`{"labels":` + keys(mostKeys) + `}`, true},
		"one key too many":    {`{"labels":` + keys(mostKeys+1) + `}`, false},
		"in a field unlooked": {`{"x":` + list(2*most) + `,"raw":` + list(2*most) + `}`, true},
	} {
		_, err := decoder.Decode([]byte(c.document))
		if valid := err == nil; valid != c.valid {
			t.Errorf("%s: error %v, want valid %v", name, err, c.valid)
		}
		if err != nil && !strings.Contains(err.Error(), "elements of more than 8 MiB") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestError(t *testing.T) {
	for document, want := range map[string]string{
		``:                                   `at byte 0: the document ends where an object must be`,
		`{"name":"a"} x`:                     `at byte 13: 'x' where the end of the document must be`,
		`{"list":[{},{"name":7}]}`:           `list[1].name, at byte 20: '7' where a string must be`,
		`{"labels":{"a\nb":[]}}`:             `labels["a\nb"], at byte 18: '[' where a string must be`,
		`{"inner":{"deep":{"name":"a`:        `inner.deep.name, at byte 27: the document ends where the end of a string must be`,
		`{"long":1.5}`:                       `long, at byte 8: a number that is not an integer of 64 bits`,
		`{"list":[{"list":[],"list":7}]}`:    `list[0], at byte 20: duplicate field "list"`,
		`{"x":` + strings.Repeat("[", 10000): `at byte 10004: nested deeper than 10000`,
	} {
		if _, err := decoder.Decode([]byte(document)); err == nil || err.Error() != want {
			t.Errorf("%.50s: %v, want %s", document, err, want)
		}
	}
}

// A json.RawMessage is part of the document, and appending to it does not write into what follows.
func TestRawIsNoCopy(t *testing.T) {
	document := []byte(`{"raw": [1] ,"name":"a"}`)
	got, err := decoder.Decode(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Raw) != "[1]" || &got.Raw[0] != &document[8] || cap(got.Raw) != 3 {
		t.Errorf("raw is %q with room for %d, want the document's own 3 bytes", got.Raw, cap(got.Raw))
	}
}

func TestUnsupportedTypes(t *testing.T) {
	for name, make := range map[string]func(){
		"float": func() {
			rawjson.For[struct {
				F float64 `json:"f"`
			}]()
		},
		"interface": func() {
			rawjson.For[struct {
				F any `json:"f"`
			}]()
		},
		"map": func() {
			rawjson.For[struct {
				F map[string]int `json:"f"`
			}]()
		},
		"no tag": func() { rawjson.For[struct{ F string }]() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			make()
		}()
	}
}
