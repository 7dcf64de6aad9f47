package simpi

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Storm is many boards that are switched on together.
type Storm struct {
	Boards []Board
	Spread time.Duration // each starts at a time of its own within it
	Seed   uint64        // of these times

	// After is called with the report of each board as it ends, by one goroutine at a time.
	After func(*Report)
}

// Figures are what became of a storm.
type Figures struct {
	Boards int           `json:"boards"`
	Booted int           `json:"booted"` // without an error
	Failed int           `json:"failed"`
	Wall   time.Duration `json:"wall_ns"`

	PerMinute float64       `json:"boots_per_minute"`
	BootP50   time.Duration `json:"boot_p50_ns"` // of the boards that booted, from switching on to the kernel's last byte
	BootP99   time.Duration `json:"boot_p99_ns"`
	BootMax   time.Duration `json:"boot_max_ns"`
	AnswerP50 time.Duration `json:"answer_p50_ns"` // from a request to the server's first packet
	AnswerP99 time.Duration `json:"answer_p99_ns"`

	Requests int   `json:"requests"`
	Bytes    int64 `json:"bytes"`      // that the boards have received
	Asked    int   `json:"resends"`    // packets that a board sent again after 2 s of silence
	Repeated int   `json:"duplicates"` // packets that came again, sent by the server or made by the network
	Timeouts int   `json:"timeouts"`   // files that were not there in time

	Problems []Counted `json:"problems"` // the most frequent first
}

// Counted is a problem and the number of boards that have it.
type Counted struct {
	Boards   int      `json:"boards"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
}

// Run boots all boards from the TFTP server. An error is one of the boards' settings or
// of ctx; what the server does wrong is in the figures.
func (s Storm) Run(ctx context.Context, server netip.AddrPort) (*Figures, error) {
	return s.run(ctx, func(ctx context.Context, b Board) (*Report, error) { return b.Boot(ctx, server, Options{}) })
}

// RunHTTP boots all boards from below a URL, as [Board.BootHTTP] does.
func (s Storm) RunHTTP(ctx context.Context, base string) (*Figures, error) {
	return s.run(ctx, func(ctx context.Context, b Board) (*Report, error) { return b.BootHTTP(ctx, base) })
}

func (s Storm) run(ctx context.Context, boot func(context.Context, Board) (*Report, error)) (*Figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rng := rand.New(rand.NewPCG(s.Seed, uint64(len(s.Boards))))
	t := tally{problems: map[Problem]int{}}
	var wg sync.WaitGroup
	start := time.Now()
	for _, b := range s.Boards {
		var wait time.Duration
		if s.Spread > 0 {
			wait = time.Duration(rng.Int64N(int64(s.Spread)))
		}
		wg.Go(func() {
			if sleep(ctx, wait) != nil {
				return
			}
			r, err := boot(ctx, b)
			if err != nil {
				cancel(fmt.Errorf("board %08x: %w", b.Serial, err))
				return
			}
			t.add(r, s.After)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return t.figures(time.Since(start)), nil
}

// tally collects reports.
type tally struct {
	mu       sync.Mutex
	f        Figures
	boots    []time.Duration
	answers  []time.Duration
	problems map[Problem]int
}

func (t *tally) add(r *Report, after func(*Report)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.f.Boards++
	if r.OK() {
		t.f.Booted++
		t.boots = append(t.boots, r.Duration)
	} else {
		t.f.Failed++
	}
	t.f.Bytes += r.Bytes
	t.f.Requests += len(r.Requests)
	for _, req := range r.Requests {
		t.f.Asked += req.Resends
		t.f.Repeated += req.Duplicates
		if req.Result == Timeout {
			t.f.Timeouts++
			continue
		}
		t.answers = append(t.answers, req.Answer)
	}
	seen := map[Problem]bool{}
	for _, p := range r.Findings {
		p.What, p.Hint = general(p.What, r), ""
		if !seen[p] {
			seen[p] = true
			t.problems[p]++
		}
	}
	if after != nil {
		after(r)
	}
}

func (t *tally) figures(wall time.Duration) *Figures {
	f := t.f
	f.Wall = wall
	f.PerMinute = float64(f.Booted) / wall.Minutes()
	slices.Sort(t.boots)
	slices.Sort(t.answers)
	f.BootP50, f.BootP99, f.BootMax = quantile(t.boots, 50), quantile(t.boots, 99), quantile(t.boots, 100)
	f.AnswerP50, f.AnswerP99 = quantile(t.answers, 50), quantile(t.answers, 99)
	f.Problems = []Counted{}
	for p, n := range t.problems {
		f.Problems = append(f.Problems, Counted{n, p.Severity, p.What})
	}
	slices.SortFunc(f.Problems, func(a, b Counted) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(b.Boards, a.Boards), cmp.Compare(a.What, b.What))
	})
	return &f
}

// quantile is the smallest of sorted that so many percent are not above; 0 of none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}
