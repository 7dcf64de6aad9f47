package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/board"
	"piimg/store/serve"
)

// foresight says what boards would get from a front end with the configuration of this
// machine, without one. It is for one goroutine.
type foresight struct {
	store *store.Store
	guard *guard
	front serve.Config
	views map[store.Digest]seen
	heads map[string]serve.Head
}

// seen is an image with the eyes of a front end.
type seen struct {
	image *store.Image
	view  serve.View
}

// foresight looks into the store s. What g refuses is not what boards get; g may be nil.
func (a *app) foresight(s *store.Store, flags config.Serve, g *guard) (*foresight, error) {
	c, err := a.serveConfig(flags)
	if err != nil {
		return nil, err
	}
	return foresee(s, c, g)
}

// foresee looks into the store s for a front end with the configuration c.
func foresee(s *store.Store, c config.Serve, g *guard) (*foresight, error) {
	front, err := frontOf(c, placed(c.URL, "http://"+somewhere+":8080"), placed(c.SecureURL, "https://"+somewhere+":8443"))
	if err != nil {
		return nil, err
	}
	return &foresight{s, g, front, map[store.Digest]seen{}, map[string]serve.Head{}}, nil
}

// placed says for every board that a server is where the operator says, or else at other.
func placed(said, other string) func(netip.Addr) string {
	return func(netip.Addr) string { return cmp.Or(strings.TrimSuffix(said, "/"), other) }
}

// prospect is what one board would get, and why. Its image is zero where that is nothing.
type prospect struct {
	serve.Decision
	mode  string     // net, local, off or none
	head  serve.Head // of the environment; zero where that is not asked, or has none
	visit serve.Visit
	seen  seen
}

// prospect decides for the board id, which asks from addr. A zero addr is in no network.
func (f *foresight) prospect(ctx context.Context, id board.ID, own board.Assignment, addr netip.Addr) (prospect, error) {
	told, err := fleet{f.store, f.guard}.assignment(ctx, own)
	if err != nil {
		return prospect{}, err
	}
	p := prospect{Decision: f.front.Decide(told, addr), mode: "net"}
	p.visit = serve.Visit{Board: string(id), Decision: p.Decision, Addr: addr}
	switch {
	case p.Local:
		p.mode = "local"
	case p.Off:
		p.mode = "off"
	case p.Env == "" && p.Image.IsZero():
		p.mode = "none"
	case p.Image.IsZero():
		if p.head, err = f.head(ctx, p.Env); errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
		p.Image = p.head.Image
	}
	if err != nil || p.Image.IsZero() {
		return p, err
	}
	p.seen, err = f.look(ctx, p.Image)
	return p, err
}

func (f *foresight) head(ctx context.Context, env string) (serve.Head, error) {
	if h, ok := f.heads[env]; ok {
		return h, nil
	}
	h, err := fleet{f.store, f.guard}.Head(ctx, env, serve.Head{})
	if err == nil {
		f.heads[env] = h
	}
	return h, err
}

// look reads the small files of an image.
func (f *foresight) look(ctx context.Context, d store.Digest) (seen, error) {
	if s, ok := f.views[d]; ok {
		return s, nil
	}
	image, err := f.store.Image(ctx, d)
	if err != nil {
		return seen{}, err
	}
	view, err := serve.NewView(image, f.front, func(file store.File) (io.ReadCloser, error) { return f.store.OpenFile(ctx, file) })
	if err != nil {
		return seen{}, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	f.views[d] = seen{image, view}
	return f.views[d], nil
}

// check says which files the board cannot have of what it would get, and err why that cannot
// be known. Secret files are looked at too, if there is a network that may have them.
func (f *foresight) check(ctx context.Context, id board.ID, own board.Assignment) (wrong []error, err error) {
	addr := netip.Addr{}
	if len(own.Addresses) > 0 {
		addr = own.Addresses[0]
	}
	p, err := f.prospect(ctx, id, own, addr)
	if err != nil || p.seen.image == nil || f.front.Plain {
		return nil, err
	}
	p.visit.Secrets = slices.ContainsFunc(f.front.Networks, func(n serve.Network) bool { return n.Secrets })
	return p.seen.view.Check(p.visit), nil
}

// texts are what errs say.
func texts(errs []error) []string {
	var all []string
	for _, err := range errs {
		all = append(all, err.Error())
	}
	return all
}

// forewarn warns of what a board that has just been changed cannot have.
func (a *app) forewarn(ctx context.Context, s *store.Store, set board.Assignment) {
	f, err := a.foresight(s, config.Serve{}, nil)
	if err != nil {
		a.ui.warn("what the board gets is not looked at: %v", err)
		return
	}
	wrong, err := f.check(ctx, set.Board, set)
	if err != nil {
		a.ui.warn("what the board gets is not looked at: %v", err)
	}
	for _, fault := range texts(wrong) {
		a.ui.warn("board %s cannot have %s", set.Board, printable(fault))
	}
}

// warnOfTemplates warns of files of an image that leaves for where nobody fills them in.
func (a *app) warnOfTemplates(ctx context.Context, s *store.Store, image store.Digest) {
	f := &foresight{store: s, views: map[store.Digest]seen{}}
	found, err := f.look(ctx, image)
	if err != nil {
		return // whoever writes the files says so
	}
	for _, name := range found.view.Templates() {
		a.ui.warn("%s has {{templates}}, which only piimg serve fills in: there, boards read it as it is", name)
	}
}

// checkServe looks at what a front end with these flags would give to boards: to all that are
// known, and to others. What it finds is printed, and is an errFindings.
func (a *app) checkServe(ctx context.Context, flags config.Serve) error {
	c, err := a.servable(flags)
	if err != nil {
		return err
	}
	if _, err := httpsConfig(c); err != nil {
		return err
	}
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	g, err := a.guard()
	if err != nil {
		return err
	}
	f, err := foresee(s, c, g)
	if err != nil {
		return err
	}
	for _, env := range f.front.Envs() {
		if _, err := f.head(ctx, env); errors.Is(err, fs.ErrNotExist) {
			a.ui.warn(neverRun, env, env)
		}
	}
	known, err := board.Snapshot(ctx, s, nil)
	if err != nil {
		return err
	}
	found := 0
	for _, id := range slices.Sorted(maps.Keys(known)) {
		wrong, err := f.check(ctx, id, known[id])
		if err != nil {
			return fmt.Errorf("what board %s gets: %w", id, err)
		}
		for _, fault := range texts(wrong) {
			found++
			fmt.Fprintf(a.out, "board %s: %s\n", id, printable(fault))
		}
	}
	wrong, err := f.checkOthers(ctx)
	if err != nil {
		return fmt.Errorf("what boards get that nobody has described: %w", err)
	}
	for _, fault := range wrong {
		found++
		fmt.Fprintf(a.out, "boards that nobody has described: %s\n", printable(fault))
	}
	if found > 0 {
		return cmp.Or(a.out.err, errFindings)
	}
	a.ui.say("%d boards and %d files of their own: every file can be made", len(known), len(f.front.Files))
	return nil
}

// checkOthers is check for boards that nobody has described, in each network and in none.
func (f *foresight) checkOthers(ctx context.Context) (wrong []string, err error) {
	some := []board.Assignment{{}}
	for _, n := range f.front.Networks {
		some = append(some, board.Assignment{Details: board.Details{Addresses: []netip.Addr{n.Prefix.Addr()}}})
	}
	for _, own := range some {
		found, err := f.check(ctx, "00000000", own)
		if err != nil {
			return nil, err
		}
		for _, fault := range texts(found) {
			if !slices.Contains(wrong, fault) {
				wrong = append(wrong, fault)
			}
		}
	}
	return wrong, nil
}
