package gc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"piimg/store"
	"piimg/store/env"
	"piimg/store/gc"
	"piimg/store/mem"
)

// The code itself, taken through its interleavings: each operation of a publisher, a
// promoter and a collector on their bucket waits for its turn, and a search tries every
// order of turns in which there are at most so many switches from somebody who could have
// gone on. Time is that of the bubble, which passes when nobody has anything to do.

// actor is somebody who works on the store.
type actor struct {
	name string
	run  func(ctx context.Context, s *store.Store) error
	err  error
	done bool
}

// turns gives the actors their turns.
type turns struct {
	mu      sync.Mutex
	waiting []*turn
	free    bool // everybody goes on as they like
	log     []string

	crash   int // the actor that dies, -1 for none,
	crashAt int // before this of its operations
	asked   map[int]int
}

// turn is an operation that waits.
type turn struct {
	actor int
	what  string
	grant chan struct{}
}

var errDead = errors.New("the process is dead")

// take waits for a turn. The dead do nothing any more.
func (s *turns) take(who int, what string) error {
	s.mu.Lock()
	s.asked[who]++
	dead := who == s.crash && s.asked[who] > s.crashAt
	if dead || s.free {
		s.mu.Unlock()
		if dead {
			return errDead
		}
		return nil
	}
	t := &turn{who, what, make(chan struct{})}
	s.waiting = append(s.waiting, t)
	s.mu.Unlock()
	<-t.grant
	return nil
}

// first is the operation of an actor that comes first, of those that it does at once.
func (s *turns) first(who int) *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *turn
	for _, t := range s.waiting {
		if t.actor == who && (found == nil || t.what < found.what) {
			found = t
		}
	}
	return found
}

func (s *turns) grant(t *turn) {
	s.mu.Lock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *turn) bool { return w == t })
	s.log = append(s.log, fmt.Sprintf("%d %s", t.actor, t.what))
	s.mu.Unlock()
	close(t.grant)
}

// parked is the bucket of one actor.
type parked struct {
	store.Bucket
	turns *turns
	actor int
}

// matters says whether the order of operations on a key is of interest. Content is looked
// at when it is there, and that is what is.
func matters(key string) bool {
	for _, prefix := range []string{"leases/", "gc/state", "images/", "published/", "blobs/", "envs/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return key == ""
}

func (b parked) take(op, key string) error {
	if !matters(key) {
		return nil
	}
	return b.turns.take(b.actor, op+" "+key)
}

func (b parked) Put(ctx context.Context, key string, c store.Content) error {
	if err := b.take("put", key); err != nil {
		return err
	}
	return b.Bucket.Put(ctx, key, c)
}

func (b parked) Create(ctx context.Context, key string, doc []byte) error {
	if err := b.take("create", key); err != nil {
		return err
	}
	return b.Bucket.Create(ctx, key, doc)
}

func (b parked) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := b.take("get", key); err != nil {
		return nil, err
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b parked) Stat(ctx context.Context, key string) (store.Info, error) {
	if err := b.take("stat", key); err != nil {
		return store.Info{}, err
	}
	return b.Bucket.Stat(ctx, key)
}

func (b parked) Delete(ctx context.Context, key string) error {
	if err := b.take("delete", key); err != nil {
		return err
	}
	return b.Bucket.Delete(ctx, key)
}

func (b parked) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if err := b.take("list", prefix); err != nil {
			yield(store.Info{}, err)
			return
		}
		b.Bucket.List(ctx, prefix, after)(yield)
	}
}

// scenario is what the actors find, and who they are.
type scenario struct {
	actors []*actor
	bucket store.Bucket
	seen   func(actor int, b store.Bucket) store.Bucket // what an actor sees of it
}

// schedule is one order of turns: whose each was, and whose it could have been.
type schedule struct {
	chosen  []int
	enabled [][]int
	log     []string
}

// play runs the actors: first those of choices, then each for as long as it can.
func play(t *testing.T, sc *scenario, s *turns, choices []int) schedule {
	t.Helper()
	var wg sync.WaitGroup
	for n, a := range sc.actors {
		wg.Go(func() {
			st, err := store.Open(t.Context(), parked{sc.seen(n, sc.bucket), s, n})
			if err == nil {
				err = a.run(t.Context(), st)
			}
			a.err, a.done = err, true
		})
	}
	var got schedule
	idle := 0
	for {
		synctest.Wait()
		var enabled []int
		left := 0
		for n, a := range sc.actors {
			if s.first(n) != nil {
				enabled = append(enabled, n)
			}
			if !a.done {
				left++
			}
		}
		if left == 0 && len(enabled) == 0 {
			break
		}
		if len(enabled) == 0 {
			if idle++; idle > 1000 {
				t.Fatalf("nobody goes on: %q", s.log)
			}
			time.Sleep(time.Second)
			continue
		}
		who := next(got.chosen, enabled, choices)
		got.chosen, got.enabled = append(got.chosen, who), append(got.enabled, enabled)
		s.grant(s.first(who))
	}
	wg.Wait()
	got.log = s.log
	return got
}

// next is who has the next turn.
func next(chosen, enabled, choices []int) int {
	n := len(chosen)
	if n < len(choices) && slices.Contains(enabled, choices[n]) {
		return choices[n]
	}
	if n > 0 && slices.Contains(enabled, chosen[n-1]) {
		return chosen[n-1]
	}
	return enabled[0]
}

// switches is how often s takes the turn from somebody who could have gone on.
func (s schedule) switches(until int) int {
	k := 0
	for n := 1; n < until; n++ {
		if s.chosen[n] != s.chosen[n-1] && slices.Contains(s.enabled[n], s.chosen[n-1]) {
			k++
		}
	}
	return k
}

// branches are the beginnings of other schedules that s leads to, with at most so many
// switches. given is the beginning that s itself was made from.
func (s schedule) branches(given, most int) [][]int {
	var all [][]int
	for n := given; n < len(s.chosen); n++ {
		before := s.switches(n)
		for _, who := range s.enabled[n] {
			if who == s.chosen[n] {
				continue
			}
			cost := 0
			if n > 0 && who != s.chosen[n-1] && slices.Contains(s.enabled[n], s.chosen[n-1]) {
				cost = 1
			}
			if before+cost <= most {
				all = append(all, append(slices.Clone(s.chosen[:n]), who))
			}
		}
	}
	return all
}

// search plays all schedules with at most so many switches, and calls check after each.
func search(t *testing.T, most int, crash, crashAt int, begin func(t *testing.T) *scenario, check func(t *testing.T, sc *scenario) error) (plays int, failure error) {
	t.Helper()
	open := [][]int{nil}
	for len(open) > 0 {
		choices := open[len(open)-1]
		open = open[:len(open)-1]
		plays++
		synctest.Test(t, func(t *testing.T) {
			sc := begin(t)
			s := &turns{crash: crash, crashAt: crashAt, asked: map[int]int{}}
			got := play(t, sc, s, choices)
			open = append(open, got.branches(len(choices), most)...)
			s.free = true
			if err := check(t, sc); err != nil && failure == nil {
				failure = fmt.Errorf("%w, after\n%s", err, strings.Join(got.log, "\n"))
			}
		})
		if failure != nil {
			return plays, failure
		}
	}
	return plays, nil
}

// condemned is a store with an image that was published long ago, which nothing keeps and
// which the next collection removes.
func condemned(t *testing.T) (*mem.Bucket, store.Image, store.Digest) {
	t.Helper()
	b := mem.New()
	s, err := store.Init(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) store.Blob {
		c := store.Bytes([]byte(text))
		if _, err := s.Blobs().Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Blob()
	}
	publish := func(kernel string) (store.Image, store.Digest) {
		i := store.Image{Name: "test", Config: put("config of " + kernel), Files: []store.File{store.NewFile("kernel8.img", 0o644, put(kernel))}}
		d, err := s.PutImage(t.Context(), i, store.Record{Actor: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		return i, d
	}
	_, kept := publish("kept")
	if _, err := env.Promote(t.Context(), s, env.PromoteOptions{Env: "dev", Image: kept, Actor: "ci"}); err != nil {
		t.Fatal(err)
	}
	i, d := publish("old")
	time.Sleep(15 * day)
	if r, err := gc.Run(t.Context(), s, gc.Options{Delete: true, Owner: "before"}); err != nil || r.Condemned.Blobs != 3 {
		t.Fatal(r, err)
	}
	time.Sleep(25 * time.Hour)
	return b, i, d
}

func collector() *actor {
	return &actor{name: "collector", run: func(ctx context.Context, s *store.Store) error {
		_, err := gc.Run(ctx, s, gc.Options{Delete: true, Owner: "collector"})
		return err
	}}
}

// builder puts what is there, and publishes the image.
func builder(i store.Image) *actor {
	return &actor{name: "builder", run: func(ctx context.Context, s *store.Store) error {
		l := s.NewLease(store.LeaseOptions{Holder: "builder"})
		defer l.Release(ctx)
		kernel := store.Bytes([]byte("old"))
		if err := l.Hold(ctx, kernel.Blob()); err != nil {
			return err
		}
		for _, c := range []store.Content{kernel, store.Bytes([]byte("config of old"))} {
			if _, err := s.Blobs().Put(ctx, c); err != nil {
				return err
			}
		}
		_, err := l.PutImage(ctx, i, store.Record{Actor: "builder"})
		return err
	}}
}

func promoter(name string, d store.Digest) *actor {
	return &actor{name: "promoter", run: func(ctx context.Context, s *store.Store) error {
		_, err := env.Promote(ctx, s, env.PromoteOptions{Env: name, Image: d, Actor: "promoter"})
		return err
	}}
}

// nothingLost checks that whoever reported success has all of its image there, that no
// head lacks anything, and that this stays so after all leases have ended.
func nothingLost(t *testing.T, sc *scenario, d store.Digest) error {
	t.Helper()
	s, err := store.Open(t.Context(), sc.bucket)
	if err != nil {
		return err
	}
	for round := range 2 {
		for _, a := range sc.actors {
			if a.name == "collector" && a.err != nil && !errors.Is(a.err, errDead) && !errors.Is(a.err, store.ErrConflict) {
				return fmt.Errorf("collector: %w", a.err)
			}
			if a.name == "collector" || a.err != nil && round == 0 && (errors.Is(a.err, fs.ErrNotExist) || errors.Is(a.err, errDead)) || round == 1 && a.err != nil {
				continue // it failed cleanly
			}
			if a.err != nil {
				return fmt.Errorf("%s: %w", a.name, a.err)
			}
			if err := complete(t.Context(), s, d); err != nil {
				return fmt.Errorf("%s reported success, and %w (round %d)", a.name, err, round)
			}
		}
		if head, err := env.Head(t.Context(), s, "prod"); err == nil {
			if err := complete(t.Context(), s, head.Image); err != nil {
				return fmt.Errorf("the head of prod: %w (round %d)", err, round)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		time.Sleep(7 * time.Hour) // leases of the dead end
		for range 2 {
			if _, err := gc.Run(t.Context(), s, gc.Options{Delete: true, Owner: "after"}); err != nil {
				return fmt.Errorf("collect afterwards: %w", err)
			}
			time.Sleep(25 * time.Hour)
		}
	}
	return nil
}

func complete(ctx context.Context, s *store.Store, d store.Digest) error {
	i, err := s.Image(ctx, d)
	if err != nil {
		return err
	}
	return s.Complete(ctx, i)
}

// scenarios are who meets whom. Each is searched with at most so many switches; those of
// make soak, where there is time, are deep.
var scenarios = []struct {
	name       string
	most, deep int
	actors     func(i store.Image, d store.Digest) []*actor
}{
	{"builder", 2, 4, func(i store.Image, _ store.Digest) []*actor { return []*actor{builder(i), collector()} }},
	{"promoter", 2, 4, func(_ store.Image, d store.Digest) []*actor { return []*actor{promoter("prod", d), collector()} }},
	{"two builders", 1, 2, func(i store.Image, _ store.Digest) []*actor {
		return []*actor{builder(i), builder(i), collector()}
	}},
	{"builder and promoter", 1, 2, func(i store.Image, d store.Digest) []*actor {
		return []*actor{builder(i), promoter("prod", d), collector()}
	}},
	{"two collectors", 1, 2, func(i store.Image, d store.Digest) []*actor {
		return []*actor{builder(i), collector(), collector()}
	}},
}

func deep() bool { return os.Getenv("PIIMG_SOAK") != "" }

// TestFaultRow19Interleavings: whatever the order of operations, an image that is built or
// promoted while it is collected survives, or the build or promotion fails and leaves
// nothing that lacks something.
func TestFaultRow19Interleavings(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			most := sc.most
			if deep() {
				most = sc.deep
			}
			plays, err := searchAll(t, most, -1, 0, sc.actors, everything)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d schedules", plays)
		})
	}
}

// TestFaultRow19Crashes: the same, with a process that dies before each of its operations.
func TestFaultRow19Crashes(t *testing.T) {
	for _, sc := range scenarios[:2] {
		for who := range 2 {
			t.Run(fmt.Sprintf("%s, %d dies", sc.name, who), func(t *testing.T) {
				total, most := 0, 0
				if deep() {
					most = 1
				}
				for at := range 16 {
					plays, err := searchAll(t, most, who, at, sc.actors, everything)
					if total += plays; err != nil {
						t.Fatalf("before operation %d: %v", at, err)
					}
				}
				t.Logf("%d schedules", total)
			})
		}
	}
}

// TestTheSearchFindsWhatIsWrong: without leases, and without the sign of a sweep, blobs are
// lost, and the search says so.
func TestTheSearchFindsWhatIsWrong(t *testing.T) {
	for key, blind := range map[string]int{"leases/": 1, "gc/state.json": 0} {
		t.Run(key, func(t *testing.T) {
			_, err := searchAll(t, 2, -1, 0, scenarios[0].actors, func(actor int, b store.Bucket) store.Bucket {
				if actor == blind {
					return hiding{b, key}
				}
				return b
			})
			if err == nil || !strings.Contains(err.Error(), "reported success, and ") {
				t.Errorf("search = %v; want a blob that was lost", err)
			}
		})
	}
}

// everything is what an actor sees that is not blind.
func everything(_ int, b store.Bucket) store.Bucket { return b }

// hiding is a bucket that shows nothing of a kind.
type hiding struct {
	store.Bucket
	prefix string
}

func (b hiding) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(key, b.prefix) {
		return nil, fs.ErrNotExist
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b hiding) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if strings.HasPrefix(prefix, b.prefix) {
		return func(func(store.Info, error) bool) {}
	}
	return b.Bucket.List(ctx, prefix, after)
}

func searchAll(t *testing.T, most, crash, crashAt int, actors func(store.Image, store.Digest) []*actor, seen func(int, store.Bucket) store.Bucket) (int, error) {
	t.Helper()
	var d store.Digest
	begin := func(t *testing.T) *scenario {
		b, i, image := condemned(t)
		d = image
		return &scenario{actors(i, image), b, seen}
	}
	return search(t, most, crash, crashAt, begin, func(t *testing.T, got *scenario) error { return nothingLost(t, got, d) })
}
