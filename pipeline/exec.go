package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxLine is the longest line in bytes of a program that is read: Buildroot describes all
// its packages in one.
const maxLine = 64 << 20

// tailLines is how much of a failed program's output its error shows.
const tailLines = 20

// withUmask sets the umask that everybody is used to before it becomes the program:
// programs write modes into archives, and a process cannot set the umask of a child.
const withUmask = `umask 022 && exec "$@"`

// Exec runs a program in dir with the environment env and nothing else of ours, not even
// the umask. Its output goes to the log line by line. When ctx ends, it and all that it
// started are told to end, and killed if they do not; when piimg is killed, the program is too.
func (j *Job) Exec(ctx context.Context, dir string, env []string, argv ...string) error {
	return Exec(ctx, dir, env, func(line string) { j.Log("%s", line) }, argv...)
}

// Exec is [Job.Exec] with the lines of the program's output for each, one at a time.
func Exec(ctx context.Context, dir string, env []string, each func(line string), argv ...string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", withUmask, "sh"}, argv...)...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	tail := make(chan []string)
	go func() { tail <- lines(r, each) }()
	// The kernel takes the end of the thread that started a program for the death of
	// its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left running
	}
	w.Close()
	last := <-tail
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &ExecError{Program: filepath.Base(argv[0]), Output: last, Err: err}
	}
	return nil
}

func lines(r io.Reader, each func(string)) (last []string) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		each(s.Text())
		last = append(last, s.Text())
		if len(last) > tailLines {
			last = last[1:]
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line longer than the buffer must not block the program
	return last
}

// ExecError: a program that a stage ran has failed.
type ExecError struct {
	Program string
	Output  []string // its last lines
	Err     error
}

func (e *ExecError) Error() string {
	var exit *exec.ExitError
	what := e.Err.Error()
	if errors.As(e.Err, &exit) {
		what = exit.ProcessState.String()
	}
	if len(e.Output) == 0 {
		return fmt.Sprintf("%s: %s", e.Program, what)
	}
	return fmt.Sprintf("%s: %s; its last words:\n  %s", e.Program, what, strings.Join(e.Output, "\n  "))
}

func (e *ExecError) Unwrap() error { return e.Err }
