package serve

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"path"
	"strings"
	"sync"

	"piimg/pipeline/format/boardtext"
	"piimg/pipeline/format/initrd"
	"piimg/store"
)

// Bounds of what is made for a board, in bytes.
const (
	maxCmdline = 2048     // what an arm64 kernel takes
	maxConfigs = 16 << 10 // the firmware reads 4096 of them
	maxOwn     = 1 << 20  // all of the board's own files
)

// anyToken stands for the token of a session that might be: it is as long as what rand.Text makes.
var anyToken = strings.Repeat("A", 26)

// Vars are what the templates of a board may use: what is set for the board, and board (its
// id), serial and mac (where they are known), address, image, env, url, hostname (pi- and
// the id, where nothing is set) and machine_id (always the same for the board).
func (a Assignment) vars(s *session, id string) map[string]string {
	vars := map[string]string{
		"board": id, "address": s.Addr.String(), "image": s.Image.String(), "env": s.Env, "url": s.URL,
		"hostname":   "pi-" + id,
		"machine_id": store.Sum([]byte("piimg machine-id " + id)).Hex()[:32],
	}
	for _, name := range append([]string{id}, a.Also...) {
		if strings.Contains(name, "-") {
			vars["mac"] = strings.ReplaceAll(name, "-", ":")
		} else {
			vars["serial"] = name
		}
	}
	for k, v := range a.Vars {
		if k != "board" && k != "image" && k != "env" { // these are so, whatever anybody has set
			vars[k] = v
		}
	}
	return vars
}

// renderer makes a file of an image for one board.
type renderer struct {
	img      *image
	session  *session
	vars     map[string]string
	own      []OwnFile // what the board gets behind its initramfs
	withheld []OwnFile // what it does not get there since it is secret
}

// newRenderer makes the files of img for the board id in its session s, which began under p.
func newRenderer(p *Policy, img *image, s *session, id string, secrets bool) *renderer {
	r := &renderer{img: img, session: s, vars: s.told().vars(s, id)}
	r.own, r.withheld = p.filesFor(s.told().Labels, secrets)
	return r
}

// render is body as the board of s gets it, with its entry: body itself where there is
// nothing to add. It closes body where it fails.
func (f *Front) render(ctx context.Context, st *station, s *session, img *image, entry store.File, b body) (store.File, body, error) {
	if f.cfg.Plain || st == nil {
		return entry, b, nil
	}
	r := f.rendererOf(st, s, img)
	var made []byte
	var err error
	keep := false // the file itself comes before what was made
	_, isText := img.texts[entry.Path]
	switch {
	case isText:
		made, err = r.text(entry.Path)
	case img.tails[entry.Path] && len(r.own) > 0:
		made, err = r.archive(ctx, entry, b)
		keep = true
	}
	if err != nil {
		b.Close()
		return entry, nil, fmt.Errorf("make %s for board %s: %w", entry.Path, st.id, err)
	}
	if made == nil {
		return entry, b, nil
	}
	if entry, b, err = r.replace(entry, b, made, keep); err != nil {
		return entry, nil, err
	}
	f.counts.rendered.Inc()
	f.noteRendered(st, s, entry)
	return entry, b, nil
}

// rendererOf is what st's files are made with in the session s.
func (f *Front) rendererOf(st *station, s *session, img *image) *renderer {
	p := f.policyOf(s)
	return newRenderer(p, img, s, st.id, p.Secrets(s.Addr))
}

// noteRendered logs what a board was given, once a boot.
func (f *Front) noteRendered(st *station, s *session, e store.File) {
	st.mu.Lock()
	defer st.mu.Unlock()
	level := slog.LevelInfo
	if s.rendered[e.Path] == e.Digest {
		level = slog.LevelDebug
	}
	if s.rendered == nil {
		s.rendered = map[string]store.Digest{}
	}
	s.rendered[e.Path] = e.Digest
	f.log.Log(context.Background(), level, "file made for a board", "board", st.id, "name", e.Path, "digest", e.Digest, "size", e.Size)
}

// text is the file at name, a command line or config.txt, as the board gets it, and nil
// where that is as it is.
func (r *renderer) text(name string) ([]byte, error) {
	if f, _ := r.img.File(name); f.Size > maxConfig {
		return nil, fmt.Errorf("%s: it has %d bytes, more than %d", name, f.Size, maxConfig)
	}
	was := r.img.texts[name]
	if r.img.cmdlines[name] {
		return r.cmdline(name, was)
	}
	now, err := boardtext.Fill(name, was, r.vars, maxConfigs)
	if err != nil || now == was {
		return nil, err
	}
	return []byte(now), nil
}

// token is what the board shows to prove that it is in its session: its id, and a secret.
func (r *renderer) token() string { return r.vars["board"] + "-" + r.session.Token }

// cmdline is the kernel's command line, with what the board runs, where it can report and be
// handed its secret files, and the token for that.
func (r *renderer) cmdline(name, was string) ([]byte, error) {
	line, err := boardtext.Fill(name, was, r.vars, maxConfigs)
	if err != nil {
		return nil, err
	}
	line, _, _ = strings.Cut(strings.TrimSpace(line), "\n") // the firmware reads no further
	line = strings.TrimSpace(line) + " piimg.image=" + r.session.Image.String()
	if r.session.URL != "" {
		line += " piimg.url=" + r.session.URL
	}
	if r.session.Secrets != "" {
		line += " piimg.secrets=" + r.session.Secrets
	}
	line += " piimg.token=" + r.token()
	line = strings.TrimSpace(line)
	if len(line) >= maxCmdline {
		return nil, fmt.Errorf("%s: %d bytes, the kernel takes %d", name, len(line), maxCmdline-1)
	}
	return []byte(line + "\n"), nil
}

// replace is made as a file, with the bytes of b before it where they are kept.
func (r *renderer) replace(entry store.File, b body, made []byte, keep bool) (store.File, body, error) {
	if !keep {
		b.Close()
		e := store.NewFile(entry.Path, entry.Mode, store.Blob{Digest: store.Sum(made), Size: int64(len(made))})
		return e, &composed{tail: made}, nil
	}
	made = append(make([]byte, initrd.Spacing(entry.Size)), made...)
	sum, err := r.img.sumOf(entry, b)
	if err != nil {
		b.Close()
		return entry, nil, err
	}
	sum.Write(made)
	e := store.File{Path: entry.Path, Mode: entry.Mode, Digest: store.Digest(sum.Sum(nil)), Size: entry.Size + int64(len(made))}
	return e, &composed{base: b, size: entry.Size, tail: made}, nil
}

// sums are the states of SHA-256 after files of an image, so that what is added for each
// board costs no more than itself.
type sums struct {
	mu     sync.Mutex
	states map[string][]byte
}

// sumOf is the hash after the bytes of b.
func (i *image) sumOf(entry store.File, b body) (hash.Hash, error) {
	i.sums.mu.Lock()
	defer i.sums.mu.Unlock()
	h := sha256.New()
	if state, ok := i.sums.states[entry.Path]; ok {
		return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
	}
	if _, err := io.Copy(h, io.NewSectionReader(b, 0, entry.Size)); err != nil {
		return nil, err
	}
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	if i.sums.states == nil {
		i.sums.states = map[string][]byte{}
	}
	i.sums.states[entry.Path] = state
	return h, nil
}

// composed is some bytes in memory, behind those of another body or alone.
type composed struct {
	base body // nil for none
	size int64
	tail []byte
}

func (c *composed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	n := 0
	if off < c.size {
		var err error
		n, err = c.base.ReadAt(p[:min(int64(len(p)), c.size-off)], off)
		if err != nil && err != io.EOF {
			return n, err
		}
		off += int64(n)
	}
	if n < len(p) && off >= c.size && off-c.size < int64(len(c.tail)) {
		n += copy(p[n:], c.tail[off-c.size:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *composed) memory() [][]byte {
	if c.base == nil {
		return [][]byte{c.tail}
	}
	before := c.base.memory()
	if before == nil {
		return nil
	}
	return append(before[:len(before):len(before)], c.tail)
}

func (c *composed) pieces() []Piece {
	tail := Piece{Bytes: c.tail, Size: int64(len(c.tail))}
	if c.base == nil {
		return []Piece{tail}
	}
	return append(c.base.pieces(), tail)
}

func (c *composed) check() error {
	if c.base == nil {
		return nil
	}
	return c.base.check()
}

func (c *composed) Close() error {
	if c.base == nil {
		return nil
	}
	return c.base.Close()
}

// cmdlines are the names of the kernel's command line, by what config.txt says.
func cmdlines(names configNames) []string {
	all := []string{"cmdline.txt"}
	return append(all, names.cmdlines...)
}

// tails are the files of img that end an initramfs: behind them a board's own files are the
// last, and the last one wins.
func tails(img *store.Image, names configNames) map[string]bool {
	set := map[string]bool{}
	for _, p := range append(names.prefixes, "") {
		mark(set, p, names.last)
	}
	if names.auto {
		for _, f := range img.Files {
			base := path.Base(f.Path)
			if strings.HasPrefix(base, "initramfs") && path.Ext(base) == "" {
				set[f.Path] = true
			}
		}
	}
	return set
}
