package simpi

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// nameWidth is the room of a name in a line of at most 100 columns.
const nameWidth = 32

// String is the line of the trail for r: seconds since the start, stage, kind, name,
// result, time taken, bytes and rate, in columns that are the same for every request. A
// second line follows where something was odd.
func (r Request) String() string {
	line := fmt.Sprintf("%9.3f  %-6s  %-5s  %-*s  %-7s %7.0f ms", r.Start.Seconds(), r.Stage, r.Kind.word(), nameWidth, shorten(r.Path), r.Result,
		r.Duration.Seconds()*1000)
	if r.Bytes > 0 {
		line += fmt.Sprintf(" %10d %10s", r.Bytes, rate(r.Bytes, r.Duration))
	}
	if odd := r.odd(); len(odd) > 0 {
		line += fmt.Sprintf("\n%26s! %s", "", list(odd))
	}
	return line
}

func (k Kind) word() string {
	if k == ExpectMissing {
		return "miss?"
	}
	return string(k)
}

func (r Request) odd() []string {
	var odd []string
	for _, v := range r.Violations {
		odd = append(odd, string(v))
	}
	count := func(n int, what string) {
		if n > 0 {
			odd = append(odd, fmt.Sprintf("%s: %d", what, n))
		}
	}
	count(r.Resends, "sent again")
	count(r.Duplicates, "came twice")
	count(r.Strays, "from another port")
	return odd
}

// shorten keeps both ends of a long name.
func shorten(name string) string {
	if len(name) <= nameWidth {
		return name
	}
	const head = nameWidth/2 - 1
	return name[:head] + "..." + name[len(name)-(nameWidth-head-3):]
}

// rate is in bytes a second.
func rate(n int64, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	perSecond := float64(n) / d.Seconds()
	for _, unit := range []string{"B/s", "kB/s", "MB/s"} {
		if perSecond < 1000 {
			return fmt.Sprintf("%.1f %s", perSecond, unit)
		}
		perSecond /= 1000
	}
	return fmt.Sprintf("%.1f GB/s", perSecond)
}

// WriteTo writes the trail, one line a request, and then the summary. No line is longer
// than 100 columns unless a problem or the kernel's command line is.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for i, req := range r.Requests {
		if i > 0 && req.Attempt != r.Requests[i-1].Attempt {
			fmt.Fprintf(&b, "attempt %d\n", req.Attempt)
		}
		fmt.Fprintln(&b, req)
	}
	b.WriteString(r.Summary())
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// Summary says how the boot ended, what the board would run, and what is wrong.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s) from %s: %s after %d requests, %d bytes, %.3f s\n",
		r.Model, r.Serial, r.Server, r.Outcome, len(r.Requests), r.Bytes, r.Duration.Seconds())
	r.summarise(&b)
	for _, p := range r.Findings {
		fmt.Fprintf(&b, "  %s: %s\n", p.Severity, p.What)
		if p.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", p.Hint)
		}
	}
	return b.String()
}

func (r *Report) summarise(b *strings.Builder) {
	file := func(what string, f File) {
		if f.Name != "" {
			fmt.Fprintf(b, "  %-10s %-*s %10d  %s\n", what, nameWidth, shorten(f.Name), f.Bytes, f.Digest.Short())
		}
	}
	file("ramdisk", r.Ramdisk)
	file("firmware", r.Start)
	file("fixup", r.Fixup)
	file("dtb", r.DTB)
	for _, o := range r.Overlays {
		file("overlay", o.File)
	}
	for _, f := range r.Initramfs {
		file("initramfs", f)
	}
	file("stub", r.Stub)
	file("kernel", r.Kernel)
	if r.Cmdline != "" {
		fmt.Fprintf(b, "  %-10s %s\n", "cmdline", r.Cmdline)
	}
}
