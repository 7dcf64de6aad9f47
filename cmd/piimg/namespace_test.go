package main

import (
	"bytes"
	"flag"
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
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if _, ok := t.(*testing.B); ok {
		cmd.Stdout = os.Stdout
	}
	err := runOnce(t, cmd)
	t.Logf("in a network namespace:\n%s", out.Bytes())
	if err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
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
