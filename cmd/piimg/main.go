// Command piimg builds images of Raspberry Pi boot files from recipes, keeps them by
// digest, says which environment runs which, and serves boards over TFTP and HTTP.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], system())
	stop()
	os.Exit(code)
}

// app is what a command may use of the world around it.
type app struct {
	in     io.Reader
	out    *results // and nothing else
	ui     *ui      // everything that is no result
	getenv func(string) string
	now    func() time.Time

	program string // as it was called

	store      string // --store
	refs       string // --refs
	configFile string // --config
	key        string // --key
	trust      string // --trust
}

// system is the app of a real process.
func system() *app {
	return &app{
		in: os.Stdin, out: &results{w: os.Stdout}, ui: newUI(os.Stderr),
		getenv: os.Getenv, now: time.Now, program: os.Args[0],
	}
}

// run is the whole program: it runs one command and returns the exit code.
func run(ctx context.Context, args []string, a *app) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.ui.w)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.out.err
	}
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	a.ui.fail(err)
	return exitCode(err)
}
