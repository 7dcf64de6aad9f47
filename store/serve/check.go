package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"

	"piimg/pipeline/format/boardtext"
	"piimg/store"
)

// check says which files the board cannot have, because a template in them, or in what the
// operator has configured, cannot be filled in. Nothing is read of the image.
func (r *renderer) check() faults {
	var all faults
	for _, name := range sortedKeys(r.img.texts) {
		_, err := r.text(name)
		all.add(err)
	}
	if r.img.hasRamdisk() {
		_, err := r.contents(r.own)
		all.add(err)
	}
	if r.session.Secrets != "" { // the board is handed them
		_, err := r.contents(r.withheld)
		all.add(err)
	}
	return all
}

// faults are what is wrong with the files of a board, one for each file that it cannot have.
type faults []error

func (f *faults) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

// String is all of them in one line.
func (f faults) String() string {
	var all []string
	for _, err := range f {
		all = append(all, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return strings.Join(all, "; ")
}

// hasRamdisk says whether there is a file that boards' own files follow.
func (i *image) hasRamdisk() bool {
	for name := range i.tails {
		if _, ok := i.File(name); ok {
			return true
		}
	}
	return false
}

// checkTemplates says what no board could have filled in.
func (i *image) checkTemplates() error {
	var errs []error
	for _, name := range sortedKeys(i.texts) {
		errs = append(errs, boardtext.Check(name, i.texts[name]))
	}
	return errors.Join(errs...)
}

// describe makes sure that the files of st can be made in its new session s. Where they
// cannot with what is known of the board now, but with what was known at its last boot, they
// are made with that: what it runs is decided all the same.
func (f *Front) describe(st *station, s *session, img *image) {
	if f.cfg.Plain {
		return
	}
	wrong := f.rendererOf(st, s, img).check()
	if wrong == nil {
		return
	}
	s.Warning = wrong.String()
	if told := f.lastDescription(st, s, img); told != nil {
		s.Told = told
		f.cfg.sayWhereSecretsAre(f.policyOf(s), s)
		s.Warning += "; what was known of the board at its last boot is used"
	}
	f.counts.unmade.Inc()
	f.nothing.Log(context.Background(), slog.LevelWarn, "files cannot be made for a board", "board", st.id, "image", s.Image, "why", s.Warning)
}

// lastDescription is what s is told to run with what was known of st at its last boot, and
// nil where that does not help either.
func (f *Front) lastDescription(st *station, s *session, img *image) *Assignment {
	st.mu.Lock()
	last := st.session
	st.mu.Unlock()
	if last == nil || last.Told == nil {
		return nil
	}
	told := *s.Told
	told.Labels, told.Vars, told.Also, told.Addresses = last.Told.Labels, last.Told.Vars, last.Told.Also, last.Told.Addresses
	again := *s
	again.Told = &told
	f.cfg.sayWhereSecretsAre(f.policyOf(s), &again)
	if f.rendererOf(st, &again, img).check() != nil {
		return nil
	}
	return &told
}

// checked is what was found of one board of the fleet, and of what.
type checked struct {
	told  Assignment
	image store.Digest
	wrong faults
}

// checkBoards looks whether files can be made for every board that the fleet names, before
// the board asks. Where all was well and nothing has changed, it is not looked at again.
func (f *Front) checkBoards() {
	if f.cfg.Plain {
		return
	}
	f.mu.Lock()
	before := f.checked
	f.mu.Unlock()
	now := map[string]checked{}
	boards := f.boards.Load().boards
	for _, id := range sortedKeys(boards) {
		c, ok := f.checkBoard(id, boards[id], before[id])
		if ok {
			now[id] = c
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checked = now
}

// checkBoard is what is found of one board, from the first of its addresses that is known, and
// false where nothing can be said: it gets nothing, or its image is not here. was is what was
// found before.
func (f *Front) checkBoard(id string, a Assignment, was checked) (checked, bool) {
	addr := netip.Addr{}
	if len(a.Addresses) > 0 {
		addr = plainAddr(a.Addresses[0])
	}
	p := f.policy.Load()
	d := p.Decide(a, addr)
	img := f.cache.peek(f.imageOf(d))
	if img == nil {
		return checked{}, false
	}
	if was.wrong == nil && was.image == img.Digest && reflect.DeepEqual(was.told, a) {
		return was, true
	}
	c := checked{a, img.Digest, f.cfg.foresee(p, img, Visit{Board: id, Decision: d, Addr: addr}).check()}
	if c.wrong != nil && c.wrong.String() != was.wrong.String() {
		f.nothing.Log(context.Background(), slog.LevelWarn, "files cannot be made for a board", "board", id, "image", img.Digest, "why", c.wrong.String())
	}
	return c, true
}

// imageOf is the image that a board with the decision d would get now, zero for none.
func (f *Front) imageOf(d Decision) store.Digest {
	if !d.Image.IsZero() {
		return d.Image
	}
	f.mu.Lock()
	e := f.envs[d.Env]
	f.mu.Unlock()
	if e == nil {
		return store.Digest{}
	}
	return e.current().Image
}

// faulty is how many boards of the fleet cannot have all of their files.
func (f *Front) faulty() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.checked {
		if c.wrong != nil {
			n++
		}
	}
	return n
}
