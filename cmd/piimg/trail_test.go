package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"piimg/store/serve"
)

// Whoever follows a trail is told once that the kernel came, and once that the board is up, also
// where both happened between two looks.
func TestTrailSaysHowFarItCame(t *testing.T) {
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		looks []serve.Milestone
		want  string
	}{
		"one by one": {[]serve.Milestone{serve.Start, serve.Kernel, serve.Kernel, serve.Alive, serve.Alive}, "kernel alive"},
		"at once":    {[]serve.Milestone{serve.Initramfs, serve.Alive, serve.Alive}, "alive"},
		"not so far": {[]serve.Milestone{serve.Start, serve.Initramfs}, ""},
	} {
		var out bytes.Buffer
		p := &trailPrinter{app: &app{out: &results{w: &out}}}
		for _, m := range tt.looks {
			if err := p.show([]serve.Boot{{Board: "91cdf03d", Opened: began, Seen: began.Add(time.Second), Milestone: m}}, false); err != nil {
				t.Fatal(err)
			}
		}
		var said []string
		for line := range strings.Lines(out.String()) {
			if rest, ok := strings.CutPrefix(line, "  reached "); ok {
				said = append(said, strings.Fields(rest)[0])
			}
		}
		if got := strings.Join(said, " "); got != tt.want {
			t.Errorf("%s: said %q, want %q", name, got, tt.want)
		}
	}
}
