package simpi

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestStorm switches on boards of which some find nothing.
func TestStorm(t *testing.T) {
	files := under("10000000/", image(t, ""))
	for name, data := range under("10000001/", image(t, "")) {
		files[name] = data
	}
	s := newTFTP(t, files)
	storm := Storm{Spread: 50 * time.Millisecond, Seed: 1}
	for n := range 5 {
		b := pi4b()
		b.Serial = 0x10000000 + uint32(n)
		storm.Boards = append(storm.Boards, b)
	}
	ended := map[string]Outcome{}
	storm.After = func(r *Report) { ended[r.Serial] = r.Outcome }
	f, err := storm.Run(t.Context(), s.addr())
	if err != nil {
		t.Fatal(err)
	}
	if f.Boards != 5 || f.Booted != 2 || f.Failed != 3 || len(ended) != 5 || ended["10000001"] != Started || ended["10000004"] == Started {
		t.Errorf("%+v, and the boards ended with %v", f, ended)
	}
	if f.Bytes < 2*(300_000+700_000) || f.Requests < 2*20+3*2 || f.Timeouts != 0 {
		t.Errorf("%d bytes in %d requests, %d not in time", f.Bytes, f.Requests, f.Timeouts)
	}
	if f.BootP50 <= 0 || f.BootP50 > f.BootP99 || f.BootP99 != f.BootMax || f.BootMax > f.Wall || f.AnswerP50 <= 0 || f.AnswerP50 > f.AnswerP99 {
		t.Errorf("times %+v", f)
	}
	if got, want := f.PerMinute, 2/f.Wall.Minutes(); got != want {
		t.Errorf("%f boots a minute, want %f", got, want)
	}
	if len(f.Problems) == 0 || f.Problems[0] != (Counted{3, Error, "start4.elf is missing"}) {
		t.Errorf("problems: %+v", f.Problems)
	}

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := storm.Run(ctx, s.addr()); !errors.Is(err, cause) {
		t.Errorf("Run that is ended: %v", err)
	}
	storm.Boards[3].Model = Model{}
	if _, err := storm.Run(t.Context(), s.addr()); err == nil {
		t.Error("a board of no model is none")
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for n := range 100 {
		hundred = append(hundred, time.Duration(n+1))
	}
	got := [][3]time.Duration{}
	for _, sorted := range [][]time.Duration{nil, {7}, {1, 2, 3}, hundred} {
		got = append(got, [3]time.Duration{quantile(sorted, 50), quantile(sorted, 99), quantile(sorted, 100)})
	}
	want := [][3]time.Duration{{0, 0, 0}, {7, 7, 7}, {2, 3, 3}, {50, 99, 100}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
