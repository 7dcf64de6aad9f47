package serve_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store/serve"
)

func TestFloodOfLines(t *testing.T) {
	var log bytes.Buffer
	c := &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	plain := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	f := serve.NewFlood(slog.New(plain), 2, c.now)
	for _, step := range []time.Duration{0, 0, 0, 999 * time.Millisecond, time.Millisecond, 0, 0, -time.Hour} {
		c.pass(step)
		f.Log(t.Context(), slog.LevelWarn, "refused", "at", c.now().Format("15:04:05"))
		f.Log(t.Context(), slog.LevelDebug, "not asked for")
	}
	want := "msg=refused at=12:00:00\nmsg=refused at=12:00:00\n" +
		"msg=refused at=12:00:01 left_out=2\nmsg=refused at=12:00:01\n" +
		"msg=refused at=11:00:01 left_out=1\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestFloodOfBoards makes up boards that get nothing: the log names some of them only.
func TestFloodOfBoards(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(c *serve.Config) {
		c.Default = ""
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	for n := range 100 {
		w.wantMissing(fmt.Sprintf("%08x/config.txt", n))
	}
	w.clock.pass(time.Second)
	w.wantMissing("91cdf03d/config.txt")
	if n := bytes.Count(log.Bytes(), []byte("board gets nothing")); n != 11 || !bytes.Contains(log.Bytes(), []byte("left_out=90")) {
		t.Errorf("%d lines for 100 boards and one, want 11, the last with a count:\n%s", n, &log)
	}
}
