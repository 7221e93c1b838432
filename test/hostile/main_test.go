// Package hostile attacks the webhook as a hostile tenant, a neighbour on the network and a broken registry would, and
// watches the pods of another tenant meanwhile. The webhook is the real program, under the memory limit that it is
// deployed with; the apiservers and etcd are real, too. 'make test-hostile' runs it.
//
// There are two apiservers, as in a cluster of more than one control plane node: the attacker's requests go to one, the
// other tenant's to the other. What the attacker does costs its own apiserver processor time, and that one and the
// attacker itself run at a low priority (nice(1)): what is left to hurt the other tenant is the webhook, which both
// share.
package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	binFlag     = flag.String("bin", "", "`directory` with etcd and kube-apiserver, as 'make cluster-programs' builds them")
	webhookFlag = flag.String("webhook", "", "the webhook's `program`")
	scaleFlag   = flag.Float64("scale", 0.25, "size of the attacks; 1 is the full one")
	timeFlag    = flag.Duration("time", 4*time.Second, "how long each attack lasts")
	rateFlag    = flag.Int("rate", 40, "usual pods created in a second meanwhile")
)

const (
	// niceness is how much less an attacker's processes count than the others.
	niceness = 10
	// registriesVariable is set in the process that is the hostile registries.
	registriesVariable = "PODINIT_TEST_REGISTRIES"
	// attackVariable has the attack and what it is to know, in a process that is to attack.
	attackVariable = "PODINIT_TEST_ATTACK"
	// patience bounds the other tenant's 99th percentile.
	patience = time.Second
	// answered is what an attacker counts who should have had no answer.
	answered = "answered without the right to call"
	// maxLog bounds what one attack may have the webhook log, in bytes.
	maxLog = 1 << 20
)

func TestMain(m *testing.M) {
	if text := os.Getenv(attackVariable); text != "" {
		attack(text)
		return
	}
	if os.Getenv(registriesVariable) != "" {
		serveHostile()
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// order is what an attacking process gets.
type order struct {
	Attack string
	Target target
}

// attack runs one attack until the standard input ends. It prints a line when it begins, and then what came of its requests.
func attack(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	for _, a := range attacks {
		if a.name == o.Attack {
			begin := sync.OnceFunc(func() { fmt.Println("begins") })
			attacker := &attacker{
				Target: o.Target, tally: &tally{counts: map[string]int{}, first: begin},
				prepared: func() { time.AfterFunc(3*time.Second, begin) }, // nothing has come of it yet, but it is under way
			}
			a.run(ctx, attacker)
			fmt.Print(attacker.tally)
			return
		}
	}
	log.Fatalf("there is no attack %q", o.Attack)
}

// startOurselves starts this program at a low priority, with variables that say what it is to be.
func startOurselves(t *testing.T, variables ...string) (cmd *exec.Cmd, stdin io.WriteCloser, stdout io.Reader) {
	t.Helper()
	cmd = exec.Command("nice", "-n", fmt.Sprint(niceness), os.Args[0])
	cmd.Env = append(os.Environ(), variables...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdin, stdout
}

// startAttack starts a process that attacks, and returns when it has begun; end ends it and tells what came of it.
func startAttack(t *testing.T, name string, target target) (end func() string) {
	t.Helper()
	text, err := json.Marshal(order{name, target})
	if err != nil {
		t.Fatal(err)
	}
	cmd, stdin, stdout := startOurselves(t, attackVariable+"="+string(text), "GOMEMLIMIT=3GiB")
	kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); err != nil {
		_ = cmd.Wait()
		t.Fatalf("the attacker has said %q: %v", line, err)
	}
	kill.Stop()
	return func() string {
		stdin.Close()
		kill := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() }) // requests under way are of no more interest
		defer kill.Stop()
		told, err := io.ReadAll(out)
		if err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		return string(told)
	}
}

// TestHostile runs one attack after the other, each on a webhook that has just started.
func TestHostile(t *testing.T) {
	if *binFlag == "" || *webhookFlag == "" {
		t.Fatal("no -bin or -webhook given: run 'make test-hostile'")
	}
	w := newWorld(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { w.withstand(t, a) })
	}
}

// withstand runs one attack, and fails if another tenant notices, or the webhook ends. If pods were merely slow, it is
// tried once more: the machine may have had something else to do.
func (w *world) withstand(t *testing.T, a assault) {
	pods := w.measure(t, a)
	if pods.percentile(99) > patience && !t.Failed() {
		t.Log("slow: once more")
		pods = w.measure(t, a)
	}
	if p := pods.percentile(99); p > patience {
		t.Errorf("the 99th percentile of usual pods took %v", p.Round(time.Millisecond))
	}
}

// measure runs one attack on a new webhook, and returns how long usual pods took. It fails for all that is worse than slow.
func (w *world) measure(t *testing.T, a assault) *created {
	hook := w.startWebhook(t, a.arguments...)
	w.warmUp(t)
	end := startAttack(t, a.name, w.target())
	pods := w.createPods(t, *timeFlag, *rateFlag)
	told := end()
	peak, err := hook.Stop()
	if err != nil {
		t.Errorf("the webhook: %v", err)
	}
	logged := hook.Logged()
	t.Logf("%s; memory at most %d of %d MiB; %d KiB of log; attacker: %s", pods, peak>>20, w.Memory>>20, logged>>10, told)
	if told == "" {
		t.Error("nothing has come of the attack: it has shown nothing")
	}
	if strings.Contains(told, answered) {
		t.Error("who may not call was answered")
	}
	for problem, n := range pods.problems {
		t.Errorf("%d of %d usual pods: %s", n, len(pods.took), problem)
	}
	if logged > maxLog {
		t.Errorf("the webhook wrote %d bytes of log", logged)
	}
	if t.Failed() {
		t.Logf("the webhook's log ends with:\n%s", hook.Tail())
	}
	return pods
}
