package main

// The rules of what people see:
//
//   - stdout carries results only; everything else goes to stderr.
//   - An error is one line, "piimg: error: " and what was being done to what, then
//     "piimg: hint: " and what to do, where there is something to do. No capital, no full
//     stop, no stack.
//   - Progress is one line that is written over on a terminal, and plain lines elsewhere.

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"

	"piimg/pipeline"
	"piimg/pipeline/format/newc"
	"piimg/recipes"
	"piimg/store"
	"piimg/store/peer"
)

// Exit codes are part of the command line: every command has these and no others.
const (
	codeOK          = 0
	codeError       = 1
	codeUsage       = 2
	codeFindings    = 3
	codeConflict    = 4
	codeInterrupted = 130
)

const exitCodes = `
Exit codes: 0 done, 1 error, 2 wrong usage, 3 findings (of lint, damage, a failed boot),
4 somebody else was faster, 130 interrupted.`

var (
	errInterrupted = errors.New("interrupted")
	// errFindings ends a command whose findings have been printed. By itself it is not
	// printed once more; wrapped, it is.
	errFindings = errors.New("findings")
)

// usageError: the command line cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// hinted is an error with advice.
type hinted struct {
	err  error
	hint string
}

func (e hinted) Error() string { return e.err.Error() }
func (e hinted) Unwrap() error { return e.err }
func (e hinted) Hint() string  { return e.hint }

// hint adds advice to err.
func hint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return codeOK
	case errors.Is(err, errInterrupted):
		return codeInterrupted
	case errors.Is(err, errFindings):
		return codeFindings
	case errors.Is(err, store.ErrConflict):
		return codeConflict
	case errors.As(err, &usage):
		return codeUsage
	}
	return codeError
}

// results writes to stdout and keeps the first error: a result that nobody got is no
// success, wherever in a command it was written.
type results struct {
	w   io.Writer
	err error
}

func (r *results) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.w.Write(p)
	if err != nil {
		r.err = fmt.Errorf("write the result: %w", err)
	}
	return n, r.err
}

// ui writes to stderr. It is safe for concurrent use.
type ui struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	status   string // the line that is written over
}

func newUI(f *os.File) *ui { return &ui{w: f, terminal: term.IsTerminal(int(f.Fd()))} }

// say writes a line.
func (u *ui) say(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	fmt.Fprintf(u.w, format+"\n", args...)
}

// now shows a line until the next one, on a terminal only.
func (u *ui) now(format string, args ...any) {
	if !u.terminal {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	const width = 79
	line := []rune(fmt.Sprintf(format, args...))
	u.status = string(line[:min(len(line), width)])
	fmt.Fprint(u.w, u.status)
}

func (u *ui) clear() {
	if u.status != "" {
		fmt.Fprint(u.w, "\r\x1b[K")
		u.status = ""
	}
}

// warn writes a warning.
func (u *ui) warn(format string, args ...any) {
	u.say("piimg: warning: %s", harmless(fmt.Sprintf(format, args...)))
}

// harmless is text without what would move a terminal's cursor, but with its lines: what
// others have written to a store may be in it.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		lines[n] = printable(line)
	}
	return strings.Join(lines, "\n")
}

// fail writes an error and its hint. What has been reported already is not repeated.
func (u *ui) fail(err error) {
	if err == nil || err == errFindings {
		return
	}
	if mistakes := recipes.Mistakes(err); len(mistakes) > 0 {
		for _, m := range mistakes {
			u.complain(m.Error(), m.Hint())
		}
		return
	}
	u.complain(err.Error(), hintOf(err))
}

func (u *ui) complain(text, hint string) {
	u.say("piimg: error: %s", harmless(text))
	if hint != "" {
		u.say("piimg: hint: %s", harmless(hint))
	}
}

// hintOf is the advice that goes with an error: its own, or what is true of its kind.
func hintOf(err error) string {
	var h interface{ Hint() string }
	var drift *pipeline.DriftError
	var usage usageError
	var unreached *net.OpError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &h):
		return h.Hint()
	case differHint(err) != "":
		return differHint(err)
	case errors.As(err, &drift):
		return fmt.Sprintf("if the change is meant, pin it: piimg lock --update %s %s", drift.Name, drift.Recipe)
	case errors.Is(err, pipeline.ErrNoSigner):
		return "name the private key with --boot-key or PIIMG_BOOT_KEY, or a command with --boot-sign or PIIMG_BOOT_SIGN"
	case errors.Is(err, pipeline.ErrOffline):
		return "run it once without --offline"
	case errors.Is(err, peer.ErrReadOnly):
		return "http:// is for piimg serve and for looking: build, promote and set boards on the store itself"
	case errors.Is(err, newc.ErrLimit):
		return "if you trust it, raise the limit: [initramfs.limits] in a recipe, --limit of piimg initramfs"
	case errors.Is(err, store.ErrConflict):
		return "look at what changed with piimg history, and try again"
	case errors.Is(err, store.ErrCorrupt):
		return "piimg fsck --read-data says what is damaged and whom it hits, and with --repair puts it right"
	case errors.As(err, &usage):
		return "piimg help shows every command, and piimg COMMAND --help its flags with examples"
	case errors.As(err, &unreached) && unreached.Op == "dial":
		return "see whether the server is up and can be reached from here, and whether its address is right"
	case errors.As(err, &untrusted):
		return "where the certificate is one of your own, name the file that has it with SSL_CERT_FILE, or for an S3 store with ?ca=FILE"
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: make room and run it again, what is finished is kept"
	case errors.Is(err, syscall.EROFS):
		return "the file system may only be read: choose another place with --store"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the path, or choose another one"
	}
	return ""
}

// table writes aligned columns: cells are separated by tabs.
func table(w io.Writer, header string, rows func(line func(format string, args ...any))) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, header)
	rows(func(format string, args ...any) {
		for n, arg := range args {
			if s, ok := arg.(string); ok {
				args[n] = printable(s)
			}
		}
		fmt.Fprintf(t, format+"\n", args...)
	})
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// printable is s without what would move a terminal's cursor or a table's columns, or turn the
// direction of text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return '·'
		}
		return r
	}, s)
}

// size is a number of bytes for people.
func size(n int64) string {
	const k = 1000
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.1f kB", float64(n)/k)
	case n < k*k*k:
		return fmt.Sprintf("%.1f MB", float64(n)/k/k)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/k/k/k)
}
