package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"
)

// Request is one request for one file.
type Request struct {
	Client   netip.AddrPort
	Name     string // as the client wrote it
	Protocol string // for the trail: "tftp", "http"
	Plain    bool   // by TFTP without options

	rooted bool // without a board's folder
}

// A board that nothing can be had for is told so for a moment without asking again.
const (
	refuseFor  = 3 * time.Second // nobody told it anything
	troubleFor = time.Second     // the front end has trouble
)

// Open decides what r gets. The error wraps io/fs.ErrNotExist where the answer is that
// there is no such file; every other error is trouble of the front end. The caller
// tells File.Done how the transfer went, and closes the file.
func (f *Front) Open(ctx context.Context, r Request) (*File, error) {
	if f.crew.ctx.Err() != nil {
		return nil, errClosed
	}
	t, err := f.parse(r.Name)
	if err != nil {
		return nil, err
	}
	addr := plainAddr(r.Client.Addr())
	switch {
	case !t.image.IsZero():
		return f.openImage(ctx, r, t)
	case t.env != "":
		return f.openEnv(ctx, r, t)
	case t.board == "":
		id, ok := f.boardAt(addr)
		if !ok && t.path == romFile {
			return f.openForROM(ctx, r, addr)
		}
		if !ok {
			return nil, notFound(r.Name)
		}
		t.board, r.rooted = id, true
	}
	st, err := f.visit(t.board, addr)
	if err != nil {
		return nil, err
	}
	defer st.leave()
	return f.openBoard(ctx, r, st, t.path)
}

// openImage opens a file of the image that its digest names.
func (f *Front) openImage(ctx context.Context, r Request, t target) (*File, error) {
	img, err := f.cache.Ensure(ctx, t.image)
	if err != nil {
		return nil, err
	}
	file, err := f.openFile(ctx, r, img, t.path)
	if err != nil {
		return nil, err
	}
	file.Immutable = true
	return file, nil
}

// openEnv opens a file of the image that an environment runs now. Two requests in a
// row may get two images: only boards have sessions.
func (f *Front) openEnv(ctx context.Context, r Request, t target) (*File, error) {
	head, err := f.headOf(ctx, t.env)
	if err != nil {
		return nil, err
	}
	img, err := f.cache.Ensure(ctx, head.Image)
	if err != nil {
		return nil, trouble{err}
	}
	return f.openFile(ctx, r, img, t.path)
}

// romFile is what the boot ROM of a Pi 3 asks for. It has no folder to ask below yet.
const romFile = "bootcode.bin"

// openForROM opens romFile for a board that nothing is known of but its address: as the
// image has it that the rules give to boards there. By its next request the board says who
// it is, and its session begins.
func (f *Front) openForROM(ctx context.Context, r Request, addr netip.Addr) (*File, error) {
	d := f.policy.Load().Decide(Assignment{}, addr)
	if d.Env == "" {
		f.nothing.Log(ctx, slog.LevelInfo, "boot ROM gets nothing", "client", addr, "why", d.Why)
		return nil, notFound(r.Name)
	}
	return f.openEnv(ctx, r, target{env: d.Env, path: romFile})
}

// openBoard opens a file of the image that the board's session holds.
func (f *Front) openBoard(ctx context.Context, r Request, st *station, name string) (*File, error) {
	img, s, err := f.join(ctx, st, name)
	if err != nil {
		f.failed(st, event(f.cfg.Now(), r, name, err), s, err)
		return nil, err
	}
	file, err := f.openFileFor(ctx, r, st, s, img, name)
	if err != nil {
		f.finish(st, s, img, event(f.cfg.Now(), r, name, err))
		return nil, err
	}
	file.Board, file.station, file.session = st.id, st, s
	return file, nil
}

// join makes a request for name part of st's session, which it opens where there is
// none, and counts it as a transfer in progress.
func (f *Front) join(ctx context.Context, st *station, name string) (*image, *session, error) {
	if err := st.take(ctx); err != nil {
		return nil, nil, err
	}
	defer st.pass()
	now := f.cfg.Now()
	if s := st.present(name, now, f.cfg); s != nil {
		img, err := f.cache.Ensure(ctx, s.Image)
		if err != nil {
			return nil, s, trouble{err}
		}
		f.enter(st, s, name)
		return img, s, nil
	}
	if err := st.refused(now); err != nil {
		return nil, nil, err
	}
	img, s, err := f.decide(ctx, st)
	if err != nil {
		pause, why := troubleFor, "trouble"
		if errors.Is(err, fs.ErrNotExist) {
			pause, why = refuseFor, "told"
		}
		if ctx.Err() == nil {
			f.counts.nothing.WithLabelValues(why).Inc()
			st.refuse(err, f.cfg.Now().Add(pause))
			f.nothing.Log(ctx, slog.LevelInfo, "board gets nothing", "board", st.id, "client", st.addr, "why", err)
		}
		return nil, nil, err
	}
	f.begin(st, s, name)
	return img, s, nil
}

// present is the session that a request for name belongs to, and nil where that has to
// be opened.
func (st *station) present(name string, now time.Time, cfg Config) *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.session == nil || st.session.over(name, now, cfg.Idle, cfg.Limit) {
		return nil
	}
	return st.session
}

// decide says which image the next session of st holds. It is complete in the cache.
func (f *Front) decide(ctx context.Context, st *station) (*image, *session, error) {
	a, err := f.assignment(ctx, st)
	if err != nil {
		return nil, nil, trouble{err}
	}
	st.mu.Lock()
	addr := st.addr
	st.mu.Unlock()
	p := f.policy.Load()
	d := p.Decide(a, addr)
	switch {
	case d.Local:
		return nil, nil, fmt.Errorf("board %s boots from its own disk (%s): %w", st.id, d.Why, fs.ErrNotExist)
	case d.Off:
		return nil, nil, fmt.Errorf("board %s is out of service (%s): %w", st.id, d.Why, fs.ErrNotExist)
	case d.Image.IsZero() && d.Env == "":
		return nil, nil, fmt.Errorf("board %s has %s: %w", st.id, d.Why, fs.ErrNotExist)
	}
	s := f.cfg.opening(p, d, addr)
	s.Token = rand.Text()
	if s.Image.IsZero() {
		head, err := f.headOf(ctx, s.Env)
		if err != nil {
			return nil, nil, fmt.Errorf("board %s: %w", st.id, err)
		}
		s.Image = head.Image
	}
	img, err := f.cache.Ensure(ctx, s.Image)
	if err != nil {
		return nil, nil, trouble{fmt.Errorf("board %s: %w", st.id, err)}
	}
	f.describe(st, s, img)
	return img, s, nil
}

// begin opens the session s.
func (f *Front) begin(st *station, s *session, name string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := f.cfg.Now()
	s.Opened, s.First, s.active = now, name, 1
	s.asked(name, now)
	st.session, st.refusal, st.until = s, nil, time.Time{}
	st.trail.begin(st, s)
	f.save(st)
	f.counts.boots.Inc()
	f.log.Info("boot begins", "board", st.id, "client", st.addr, "image", s.Image, "env", s.Env, "why", s.Why, "first", name)
	if n := len(f.cfg.withheld(f.policyOf(s), s)); n > 0 && s.Secrets == "" {
		f.log.Info("secret files are left out: no serve.network says that this board's may have them", "board", st.id, "client", st.addr, "files", n)
	}
}

// enter takes note of one more request in s.
func (f *Front) enter(st *station, s *session, name string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	second := s.Second
	s.active++
	s.asked(name, f.cfg.Now())
	if s.Second != second {
		f.save(st)
		return
	}
	f.saveTouched(st)
}

// openFile opens the file of img at name.
func (f *Front) openFile(ctx context.Context, r Request, img *image, name string) (*File, error) {
	return f.openFileFor(ctx, r, nil, nil, img, name)
}

// openFileFor opens the file of img at name as st gets it in its session s.
func (f *Front) openFileFor(ctx context.Context, r Request, st *station, s *session, img *image, name string) (*File, error) {
	entry, ok := img.File(name)
	if !ok {
		return nil, fmt.Errorf("%s in image %s: %w", name, img.Digest.Short(), fs.ErrNotExist)
	}
	cached, err := f.cache.open(ctx, entry)
	if err != nil {
		return nil, trouble{fmt.Errorf("open %s of image %s: %w", name, img.Digest.Short(), err)}
	}
	entry, body, err := f.render(ctx, st, s, img, entry, cached)
	if err != nil {
		return nil, trouble{err}
	}
	return newFile(f, r, img, entry, body), nil
}
