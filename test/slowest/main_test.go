package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	const events = `{"Action":"build-output","ImportPath":"p/broken","Output":"broken.go:1:1: expected 'package'\n"}
{"Action":"start","Package":"p/a"}
{"Action":"run","Package":"p/a","Test":"TestOne"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"    one_test.go:7: all is well\n"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"--- PASS: TestOne (1.50s)\n"}
{"Action":"pass","Package":"p/a","Test":"TestOne","Elapsed":1.5}
{"Action":"output","Package":"p/a","Output":"PASS\n"}
{"Action":"output","Package":"p/a","Output":"ok  \tp/a\t1.600s\n"}
{"Action":"pass","Package":"p/a","Elapsed":1.6}
{"Action":"output","Package":"p/b","Test":"TestTwo/part","Output":"    two_test.go:8: not well\n"}
{"Action":"output","Package":"p/b","Test":"TestTwo","Output":"--- FAIL: TestTwo (2.00s)\n"}
{"Action":"output","Package":"p/b","Test":"TestTwo/part","Output":"    --- FAIL: TestTwo/part (2.00s)\n"}
{"Action":"fail","Package":"p/b","Test":"TestTwo/part","Elapsed":2}
{"Action":"fail","Package":"p/b","Test":"TestTwo","Elapsed":2}
{"Action":"output","Package":"p/b","Test":"TestThree","Output":"panic: out of paper\n"}
{"Action":"output","Package":"p/b","Output":"FAIL\tp/b\t2.100s\n"}
{"Action":"fail","Package":"p/b","Elapsed":2.1}
go: a message
`
	var out strings.Builder
	if err := report(strings.NewReader(events), &out); err != nil {
		t.Fatal(err)
	}
	const want = `broken.go:1:1: expected 'package'
ok  	p/a	1.600s
    two_test.go:8: not well
    --- FAIL: TestTwo/part (2.00s)
--- FAIL: TestTwo (2.00s)
FAIL	p/b	2.100s
go: a message
panic: out of paper
the slowest packages:
    2.1 s  p/b
    1.6 s  p/a
the slowest tests:
    2.0 s  TestTwo of p/b
    1.5 s  TestOne of p/a
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
