package serve

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"

	"piimg/pipeline/format/newc"
)

// errToken: it is not the token of a board's present session.
var errToken = errors.New("no board's token of now")

// redeem is the board whose session token is of.
func (f *Front) redeem(token string) (*station, *session, error) {
	cut := strings.LastIndexByte(token, '-')
	if cut < 0 || len(token) > 64 {
		return nil, nil, errToken
	}
	id, ok := f.cfg.Fleet.Board(token[:cut])
	if !ok {
		return nil, nil, errToken
	}
	st := f.known(f.canonical(id))
	if st == nil {
		return nil, nil, errToken
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.session
	if s == nil || s.Token == "" || subtle.ConstantTimeCompare([]byte(token[cut+1:]), []byte(s.Token)) != 1 {
		return nil, nil, errToken
	}
	return st, s, nil
}

// reported is a request that a board has shown its token with.
func (f *Front) reported(name, protocol string, client netip.AddrPort, r Result) Event {
	return Event{Time: f.cfg.Now(), Name: name, Protocol: protocol, Client: client, Result: r}
}

// alive takes a board's word that it is up, and runs what its session has delivered. Only the
// first time in a session counts.
func (f *Front) alive(token string, client netip.AddrPort, protocol string) error {
	st, s, err := f.redeem(token)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if s.Alive {
		return nil
	}
	s.Alive = true
	f.save(st)
	f.counts.alive.Inc()
	if b := st.trail.of(s); b != nil {
		b.Milestone = Alive
		b.note(f.reported("report", protocol, client, OK))
		st.dirty = true
	}
	f.log.Info("board is up", "board", st.id, "client", client, "image", s.Image, "env", s.Env, "after", f.cfg.Now().Sub(s.Opened))
	return nil
}

// errGone: the files have been handed over in this session, or it is too late for that.
var errGone = errors.New("handed over already, or too late")

// handOver is a cpio archive of the secret files of the board whose token it is, once in a
// session: whoever has the archive has the only one. That it was handed over is on disk
// before anybody gets it. The error wraps io/fs.ErrNotExist where there are none.
func (f *Front) handOver(ctx context.Context, token string, client netip.AddrPort) ([]byte, error) {
	doc, st, s, err := f.secrets(token)
	if err == nil {
		err = f.spend(st, s)
	}
	result, level, event := "ok", slog.LevelInfo, OK
	switch {
	case errors.Is(err, errToken):
		result, level = "token", slog.LevelWarn
	case errors.Is(err, errGone):
		result, level, event = "gone", slog.LevelWarn, Missing
	case errors.Is(err, fs.ErrNotExist):
		result, level, event = "none", slog.LevelInfo, Missing
	case err != nil:
		result, level, event = "error", slog.LevelError, Failed
	}
	f.counts.handovers.WithLabelValues(result).Inc()
	board := ""
	if st != nil {
		board = st.id
		st.mu.Lock()
		if b := st.trail.of(s); b != nil {
			b.note(f.reported("report/secrets", "https", client, event))
			st.dirty = true
		}
		st.mu.Unlock()
	}
	about := []any{"board", board, "client", client, "result", result}
	if err != nil {
		f.nothing.Log(ctx, level, "secret files were asked for", append(about, "err", err)...)
		return nil, err
	}
	// Who got a board's secrets is no part of a flood, and is never left out.
	f.log.Info("secret files are handed over", append(about, "bytes", len(doc))...)
	return doc, nil
}

// secrets makes the archive. The board is nil where the token is nobody's.
func (f *Front) secrets(token string) ([]byte, *station, *session, error) {
	st, s, err := f.redeem(token)
	if err != nil {
		return nil, nil, nil, err
	}
	if f.cfg.Handover <= 0 || len(f.cfg.withheld(f.policyOf(s), s)) == 0 {
		return nil, st, s, fmt.Errorf("board %s has no secret files to be handed: %w", st.id, fs.ErrNotExist)
	}
	r := f.rendererOf(st, s, nil)
	files, err := r.contents(r.withheld)
	if err != nil {
		return nil, st, s, trouble{err}
	}
	var doc bytes.Buffer
	out := newc.NewWriter(&doc)
	for _, file := range files {
		body, err := file.Open()
		if err == nil {
			file.Entry.Time = epoch
			err = errors.Join(out.WriteEntry(file.Entry, body), body.Close())
		}
		if err != nil {
			return nil, st, s, trouble{err}
		}
	}
	err = out.Close()
	return doc.Bytes(), st, s, err
}

// spend makes sure that the files of s are handed over no second time.
func (f *Front) spend(st *station, s *session) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if s.Spent || st.session != s || f.cfg.Now().Sub(s.Opened) > f.cfg.Handover {
		return errGone
	}
	s.Spent = true
	if err := f.keep(st, true); err != nil {
		s.Spent = false
		return trouble{fmt.Errorf("note that the files of board %s are handed over: %w", st.id, err)}
	}
	return nil
}
