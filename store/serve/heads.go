package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"piimg/store"
)

const (
	headTimeout  = 6 * time.Second // for one look at the head of an environment; with the time between two looks less than 15 s
	headsAtATime = 8
)

// environment is what the front end knows of one environment.
type environment struct {
	name string

	mu      sync.Mutex
	good    Head         // complete in the cache; what boards get. Seq 0: none yet
	before  store.Digest // the image that boards got before, zero where there was none
	checked time.Time    // when the fleet last answered
	absent  bool         // it answered that there is no such environment
	err     error        // why good may be behind
}

// Environment is the state of one environment for people and metrics. Err says why
// boards may get an older image than the fleet's head.
type Environment struct {
	Name    string
	Seq     int64         // of what boards get; 0 where they get nothing
	Image   store.Digest  // what boards get
	Before  store.Digest  // what they got before; the cache keeps it for a rollback
	Checked time.Time     // when the fleet last answered, zero if never
	Stale   time.Duration // since then, or since the start where it never has
	Err     error
}

// savedHead is the last known good head of an environment, on disk.
type savedHead struct {
	Env    string       `json:"env"`
	Before store.Digest `json:"before,omitzero"`
	Head
}

func (f *Front) envDir() string { return filepath.Join(f.cfg.Dir, "envs") }

// readEnvironments reads the last known good heads. A record that cannot be read is
// as good as none.
func readEnvironments(dir string, log *slog.Logger) (map[string]*environment, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := removeTemps(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	envs := map[string]*environment{}
	for _, e := range entries {
		var saved savedHead
		err := readJSON(filepath.Join(dir, e.Name()), &saved)
		if err != nil || saved.Env+".json" != e.Name() || store.CheckEnv(saved.Env) != nil {
			log.Warn("last known head is unreadable", "file", e.Name(), "err", err)
			continue
		}
		checked := time.Time{}
		if info, err := e.Info(); err == nil {
			checked = info.ModTime()
		}
		envs[saved.Env] = &environment{name: saved.Env, good: saved.Head, before: saved.Before, checked: checked}
	}
	return envs, nil
}

// Run looks for new heads every few seconds until ctx ends. A new head is fetched and
// verified before any board gets it.
func (f *Front) Run(ctx context.Context) error {
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		f.keepTrails(ctx)
	}()
	defer func() { <-kept }()
	for {
		f.refresh(ctx, f.heads.do)
		f.scrub(ctx)
		// Front ends that start together do not ask together for ever.
		pause := time.NewTimer(f.cfg.Poll*4/5 + rand.N(f.cfg.Poll*2/5))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// scrub looks at the bytes of a blob that nobody has looked at for long.
func (f *Front) scrub(ctx context.Context) {
	if b, damaged := f.cache.scrub(); damaged {
		if err := f.cache.room(ctx, b); err != nil {
			f.log.Error("damaged blob cannot be replaced", "blob", b.Digest, "err", err)
		}
	}
}

// Held are the images that the cache keeps whatever else is wanted: what environments run
// and ran before, and what boards are booting or have been told to run.
func (f *Front) Held() map[store.Digest]bool {
	held := map[store.Digest]bool{}
	for _, e := range f.environments() {
		e.mu.Lock()
		held[e.good.Image], held[e.before] = true, true
		e.mu.Unlock()
	}
	now := f.cfg.Now()
	known := map[string]bool{}
	for _, st := range f.allStations() {
		known[st.id] = true
		st.mu.Lock()
		hold(held, savedBoard{Assigned: st.assigned, Session: st.session}, now, f.cfg.Idle)
		st.mu.Unlock()
	}
	for _, saved := range savedBoards(f.boardDir()) {
		if !known[saved.Board] { // else this is older
			hold(held, saved, now, f.cfg.Idle)
		}
	}
	f.boards.Load().images(held)
	delete(held, store.Digest{})
	return held
}

// hold adds what b is booting or has been told to run.
func hold(held map[store.Digest]bool, b savedBoard, now time.Time, idle time.Duration) {
	if b.Assigned != nil {
		held[b.Assigned.Image] = true
	}
	if s := b.Session; s != nil && (s.active > 0 || now.Sub(s.Touched) < idle) {
		held[s.Image] = true
	}
}

// Refresh looks for new heads now, and forgets what failed or was refused a moment
// ago. It finds whatever was promoted before it was called. The error names every
// environment whose head boards do not get yet.
func (f *Front) Refresh(ctx context.Context) error {
	f.cache.forgive()
	f.mu.Lock()
	f.listed = time.Time{}
	f.mu.Unlock()
	for _, st := range f.allStations() {
		st.forgive()
	}
	return f.refresh(ctx, f.heads.anew)
}

// share is how several callers share one look at the head of an environment.
type share func(context.Context, *crew, string, func(context.Context) (Head, error)) (Head, error)

func (f *Front) refresh(ctx context.Context, share share) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, headsAtATime)
	envs := f.environments()
	errs := make([]error, len(envs))
	for n, e := range envs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, errs[n] = f.followBy(ctx, e, share)
		})
	}
	wg.Wait()
	err := errors.Join(append(errs, f.refreshRegistry(ctx))...)
	f.checkBoards()
	return err
}

// follow brings e to its present head; several callers share one look.
func (f *Front) follow(ctx context.Context, e *environment) (Head, error) {
	return f.followBy(ctx, e, f.heads.do)
}

func (f *Front) followBy(ctx context.Context, e *environment, share share) (Head, error) {
	return share(ctx, f.crew, e.name, func(ctx context.Context) (Head, error) {
		head, err := f.look(ctx, e)
		f.note(e, err)
		return head, err
	})
}

// look asks for the head of e, and makes it what boards get once its image is here.
func (f *Front) look(ctx context.Context, e *environment) (Head, error) {
	asked, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	good := e.current()
	head, err := f.cfg.Fleet.Head(asked, e.name, good)
	e.answered(f.cfg.Now(), err)
	if err != nil {
		return Head{}, err
	}
	if head.Seq < good.Seq || head.Seq == good.Seq && !head.same(good) {
		return Head{}, fmt.Errorf("head of %s is step %d with %s, but boards have had step %d with %s; is this cache of another store?: %w",
			e.name, head.Seq, head.Image.Short(), good.Seq, good.Image.Short(), store.ErrCorrupt)
	}
	img, err := f.cache.Ensure(ctx, head.Image)
	if err == nil && !f.cfg.Plain && head != good {
		err = img.checkTemplates()
	}
	if err != nil {
		return Head{}, trouble{fmt.Errorf("step %d of %s: %w", head.Seq, e.name, err)}
	}
	if head == good {
		f.dateHead(e)
		return head, nil
	}
	if err := writeJSON(filepath.Join(f.envDir(), e.name+".json"), savedHead{e.name, e.predecessor(head), head}, true); err != nil {
		return Head{}, trouble{fmt.Errorf("save the head of %s: %w", e.name, err)}
	}
	e.advance(head)
	f.adopt(e)
	f.dateHead(e)
	f.log.Info("environment has a new head", "env", e.name, "step", head.Seq, "image", head.Image)
	return head, nil
}

// dateHead makes the time of e's record the one at which the fleet last answered, so that
// a restart does not forget for how long boards have had what may be old.
func (f *Front) dateHead(e *environment) {
	now := f.cfg.Now()
	if err := os.Chtimes(filepath.Join(f.envDir(), e.name+".json"), now, now); err != nil {
		f.log.Warn("the time of the last look is not saved", "env", e.name, "err", err)
	}
}

// note keeps err for those who ask, and logs it when it is news. Of an environment that
// is not followed, whoever asked for it is told.
func (f *Front) note(e *environment, err error) {
	e.mu.Lock()
	before, good := e.err, e.good
	e.err = err
	e.mu.Unlock()
	switch {
	case !f.follows(e) || sameNews(before, err):
	case err == nil:
		f.log.Info("environment is up to date again", "env", e.name, "step", good.Seq)
	case good.Seq > 0:
		f.log.Warn("environment stays at its last good image", "env", e.name, "step", good.Seq, "image", good.Image, "err", err)
	case errors.Is(err, fs.ErrNotExist):
		f.log.Warn(fmt.Sprintf("there is no environment %s yet", e.name))
	default:
		f.log.Warn("environment has no image yet", "env", e.name, "err", err)
	}
}

// sameNews says whether a and b tell people the same. That there is no environment of a
// name is one piece of news, whichever others there are.
func sameNews(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Error() == b.Error() || errors.Is(a, fs.ErrNotExist) && errors.Is(b, fs.ErrNotExist)
}

func (f *Front) follows(e *environment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.envs[e.name] == e
}

func (e *environment) current() Head {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.good
}

func (e *environment) advance(head Head) {
	before := e.predecessor(head)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.good, e.before = head, before
}

// predecessor is the image that boards got before head, once they get head.
func (e *environment) predecessor(head Head) store.Digest {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.good.Seq == 0 || e.good.Image == head.Image {
		return e.before
	}
	return e.good.Image
}

// answered keeps what the fleet said about e's existence.
func (e *environment) answered(now time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.absent = errors.Is(err, fs.ErrNotExist)
	if err == nil || e.absent {
		e.checked = now
	}
}

// adopt makes e one of the environments that are followed from now on, unless there
// is one of its name. Names that somebody only made up never come here.
func (f *Front) adopt(e *environment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.envs[e.name] == nil {
		f.envs[e.name] = e
	}
}

func (f *Front) environments() []*environment {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*environment, 0, len(f.envs))
	for _, e := range f.envs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *environment) int { return strings.Compare(a.name, b.name) })
	return all
}

// headOf is what boards of env get: what is known to be good, and only for an
// environment never seen before a look at the fleet. The error wraps io/fs.ErrNotExist
// where there is no such environment.
func (f *Front) headOf(ctx context.Context, env string) (Head, error) {
	f.mu.Lock()
	e := f.envs[env]
	f.mu.Unlock()
	if e == nil {
		e = &environment{name: env} // followed from now on only if it has a head
	}
	if good := e.current(); good.Seq > 0 {
		return good, nil
	}
	return f.follow(ctx, e)
}

// Environments is the state of every environment that this front end follows, by name.
func (f *Front) Environments() []Environment {
	var all []Environment
	for _, e := range f.environments() {
		e.mu.Lock()
		since := e.checked
		if since.IsZero() {
			since = f.began
		}
		all = append(all, Environment{e.name, e.good.Seq, e.good.Image, e.before, e.checked, max(f.cfg.Now().Sub(since), 0), e.err})
		e.mu.Unlock()
	}
	return all
}

// Ready says by nil that boards can be served: every environment that the front end
// follows has a complete image here, or the fleet says that it does not exist yet.
func (f *Front) Ready() error {
	for _, e := range f.environments() {
		e.mu.Lock()
		ready, err := e.good.Seq > 0 || e.absent, e.err
		e.mu.Unlock()
		if !ready {
			return fmt.Errorf("environment %s has no image yet: %w", e.name, cmp.Or(err, errors.New("not looked for")))
		}
	}
	return nil
}
