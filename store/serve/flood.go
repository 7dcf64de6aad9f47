package serve

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Flood logs what there may be very many of, such as requests that are refused: so many
// lines a second. The next line after that says how many were left out. It is safe for
// concurrent use.
type Flood struct {
	log   *slog.Logger
	lines int // a second
	now   func() time.Time

	mu      sync.Mutex
	began   time.Time // the second that is counted
	written int       // lines in it
	missed  int       // lines that were left out since the last one
}

// NewFlood returns a Flood that writes to log at most so many lines a second of the
// clock now.
func NewFlood(log *slog.Logger, lines int, now func() time.Time) *Flood {
	return &Flood{log: log, lines: lines, now: now}
}

// Log logs as a [slog.Logger] does, or counts what it leaves out.
func (f *Flood) Log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if !f.log.Enabled(ctx, level) {
		return
	}
	missed, ok := f.admit()
	if !ok {
		return
	}
	if missed > 0 {
		args = append(args, "left_out", missed)
	}
	f.log.Log(ctx, level, msg, args...)
}

// admit says whether there may be a line now, and how many were left out before it.
func (f *Flood) admit() (missed int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A clock that was set back begins a new second too.
	if now := f.now(); now.Before(f.began) || now.Sub(f.began) >= time.Second {
		f.began, f.written = now, 0
	}
	if f.written >= f.lines {
		f.missed++
		return 0, false
	}
	f.written++
	missed, f.missed = f.missed, 0
	return missed, true
}
