package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// namespaceOf is set in the process that runs one test in a network namespace.
const namespaceOf = "PIIMG_TEST_NAMESPACE"

// inNamespace says whether this process has a network of its own, with nothing in it but a
// loopback interface. Where it has not, one that has runs the test, and its outcome becomes
// that of this one: the caller returns. Root needs no other right for that; everybody else
// needs user namespaces.
func inNamespace(t testing.TB) bool {
	t.Helper()
	if os.Getenv(namespaceOf) == t.Name() {
		command(t, "ip", "link", "set", "lo", "up")
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.count=1", "-test.v", "-test.timeout=20m"}
	if _, ok := t.(*testing.B); ok {
		args = []string{"-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.benchtime=" + flag.Lookup("test.benchtime").Value.String()}
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), namespaceOf+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var out, figures bytes.Buffer // each is written by one goroutine
	cmd.Stdout, cmd.Stderr = &out, &out
	if _, ok := t.(*testing.B); ok {
		cmd.Stdout = io.MultiWriter(os.Stdout, &figures)
	}
	err := runOnce(t, cmd)
	t.Logf("in a network namespace:\n%s", out.Bytes())
	if err == nil {
		err = ran(t.Name(), out.String()+figures.String())
	}
	if err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
}

// ran says whether the test or benchmark has run in the process that printed this and ended
// well: one that is left out, or not found, lets a process end well, too.
func ran(name, printed string) error {
	switch {
	case strings.Contains(printed, "--- SKIP: "+name):
		return fmt.Errorf("%s was left out", name)
	case !strings.Contains(printed, "--- PASS: "+name+" (") && !strings.Contains("\n"+printed, "\n"+name): // a benchmark begins a line
		return fmt.Errorf("%s was not run", name)
	}
	return nil
}

func TestNamespaceTestsRun(t *testing.T) {
	for _, tt := range []struct{ name, printed, want string }{
		{"TestX", "=== RUN   TestX\n--- PASS: TestX (0.10s)\nPASS\n", "<nil>"},
		{"TestX", "=== RUN   TestX\n    x_test.go:9: no ip\n--- SKIP: TestX (0.00s)\nPASS\n", "TestX was left out"},
		{"TestX", "=== RUN   TestX/a\n    --- SKIP: TestX/a (0.10s)\n--- PASS: TestX (0.10s)\n", "TestX was left out"},
		{"TestX", "=== RUN   TestX/a\n    --- PASS: TestX/a (0.10s)\n", "TestX was not run"},
		{"TestX", "testing: warning: no tests to run\nPASS\n", "TestX was not run"},
		{"BenchmarkX", "goos: linux\nBenchmarkX-2   \t       1\t  12 ns/op\nPASS\n", "<nil>"},
		{"BenchmarkX", "goos: linux\nBenchmarkX \t 100 \t 12 ns/op\nPASS\n", "<nil>"},
		{"BenchmarkX", "--- SKIP: BenchmarkX\nPASS\n", "BenchmarkX was left out"},
		{"BenchmarkX", "goos: linux\nPASS\n", "BenchmarkX was not run"},
	} {
		if got := fmt.Sprint(ran(tt.name, tt.printed)); got != tt.want {
			t.Errorf("%s of %q: %s, want %s", tt.name, tt.printed, got, tt.want)
		}
	}
}

// runOnce runs a command, once in a benchmark too, however often its loop goes round: that
// counts for the other process.
func runOnce(t testing.TB, cmd *exec.Cmd) (err error) {
	b, ok := t.(*testing.B)
	if !ok {
		return cmd.Run()
	}
	for cmd.Process == nil || b.Loop() {
		if cmd.Process == nil {
			err = cmd.Run()
		}
	}
	return err
}

// command runs a program of the system, which has to succeed, and returns what it prints.
func command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: make deps installs it\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
