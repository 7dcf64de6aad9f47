package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"piimg/cmd/piimg/config"
	"piimg/store/board"
	"piimg/store/serve"
)

// sightings say what front ends have seen of boards: those of this host, or those at from.
type sightings struct {
	cache string
	from  []string        // URLs; none for this host
	said  map[string]bool // what was warned of: whoever follows asks every second
}

func (s *sightings) flags(c *cobra.Command) {
	s.said = map[string]bool{}
	c.Flags().StringVar(&s.cache, "cache", "", "folder of piimg serve")
	c.Flags().StringSliceVar(&s.from, "from", nil, "ask these front ends instead, such as http://rack-a1:8080,http://rack-a2:8080")
	c.MarkFlagsMutuallyExclusive("cache", "from")
}

// every is the time between two looks.
func (s *sightings) every() time.Duration {
	if len(s.from) > 0 {
		return time.Second
	}
	return 300 * time.Millisecond // they are written once a second
}

// latest is the latest boot of each board, by the name that the front end knows it by.
func (a *app) latest(ctx context.Context, s sightings) (map[string]serve.Boot, error) {
	all := map[string]serve.Boot{}
	if len(s.from) == 0 {
		kept, err := a.trails(s.cache)
		for id, boots := range kept {
			all[id] = serve.Diagnosed(boots, a.now())[len(boots)-1]
		}
		return all, err
	}
	found, err := a.ask(ctx, s, "")
	for _, b := range found {
		if was, ok := all[b.Board]; !ok || b.Seen.After(was.Seen) {
			all[b.Board] = b
		}
	}
	return all, err
}

// boots are the last boots of the board id, the oldest first. The error wraps
// io/fs.ErrNotExist where nobody has seen it.
func (a *app) boots(ctx context.Context, s sightings, id string) ([]serve.Boot, error) {
	var boots []serve.Boot
	var err error
	if len(s.from) == 0 {
		boots, err = a.bootsHere(ctx, s.cache, id)
	} else {
		boots, err = a.ask(ctx, s, "/"+id)
	}
	if err == nil && len(boots) == 0 {
		err = hint(fmt.Errorf("board %s was not seen here: %w", id, fs.ErrNotExist), "piimg boards lists those that were; --from asks front ends elsewhere")
	}
	slices.SortStableFunc(boots, func(x, y serve.Boot) int { return x.Opened.Compare(y.Opened) })
	return boots, err
}

// trails are the boots that front ends of this host have kept, without boards of none.
func (a *app) trails(cache string) (map[string][]serve.Boot, error) {
	c, err := a.serveConfig(config.Serve{Cache: cache})
	if err != nil {
		return nil, err
	}
	return serve.Trails(c.Cache)
}

// bootsHere are those of one board under all of its names, as front ends of this host have
// kept them.
func (a *app) bootsHere(ctx context.Context, cache, id string) ([]serve.Boot, error) {
	all, err := a.trails(cache)
	if err != nil {
		return nil, hint(err, "piimg serve keeps trails in its cache folder: say which with --cache, or ask a front end with --from")
	}
	boots := all[id]
	if len(boots) == 0 { // a MAC address of a board that is known by its serial, or the other way round
		known, _ := a.registered(ctx) // a store that is away does not hide what was seen
		own, _, _ := board.Find(known, board.ID(id))
		boots = all[string(own)]
	}
	return serve.Diagnosed(boots, a.now()), nil
}

// ask asks front ends for what they know below serve.BoardsPath, and says of each boot whom
// it is from. Where some do not answer, it warns, and it is an error where none does.
func (a *app) ask(ctx context.Context, s sightings, path string) ([]serve.Boot, error) {
	urls := s.from
	type answer struct {
		boots []serve.Boot
		err   error
	}
	answers := make([]chan answer, len(urls))
	for n, u := range urls {
		answers[n] = make(chan answer, 1)
		go func() {
			boots, err := askFront(ctx, u, path)
			answers[n] <- answer{boots, err}
		}()
	}
	var all []serve.Boot
	var failed []error
	for n, u := range urls {
		got := <-answers[n]
		for _, b := range got.boots {
			b.Front = u
			all = append(all, b)
		}
		if got.err != nil {
			failed = append(failed, got.err)
		}
	}
	if len(failed) == len(urls) {
		return nil, cmp.Or(ctx.Err(), failed[0])
	}
	for _, err := range failed {
		if !s.said[err.Error()] {
			s.said[err.Error()] = true
			a.ui.warn("%v", err)
		}
	}
	return all, nil
}

const (
	askWithin = 15 * time.Second
	maxReport = 64 << 20 // bytes of an answer
)

// askFront asks one front end. A board that it has never seen has no boots.
func askFront(ctx context.Context, base, path string) ([]serve.Boot, error) {
	if strings.Contains(base, "@") {
		return nil, usageError{errors.New("--from: write http://front-end:8080, without a user or a password")}
	}
	if !isWeb(base) {
		return nil, usageError{fmt.Errorf("--from %s: write http://front-end:8080", base)}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+serve.BoardsPath+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, fmt.Errorf("ask the front end: %w", err)
	}
	defer r.Body.Close()
	switch {
	case r.StatusCode == http.StatusNotFound && r.Header.Get("Content-Type") == "application/json":
		return nil, nil
	case r.StatusCode == http.StatusNotFound:
		return nil, hint(fmt.Errorf("the front end at %s does not tell what it has seen", base), "it was started with --no-share, or is older")
	case r.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the front end at %s: %s", base, r.Status)
	}
	doc, err := io.ReadAll(io.LimitReader(r.Body, maxReport+1))
	if err == nil && len(doc) > maxReport {
		err = errors.New("too much")
	}
	var boots []serve.Boot
	if err == nil {
		err = json.Unmarshal(doc, &boots)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the front end at %s has seen: %w", base, err)
	}
	return boots, nil
}
