package simpi

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"

	"piimg/pipeline/format/configtxt"
)

// configName is the file that every stage reads.
const configName = "config.txt"

// session is one attempt of a board to boot.
//
// Its methods record what they learn and go on, as the firmware does. A failure of the
// simulation itself (a socket, the end of ctx) stays in err, after which every request
// is missing and nothing more is sent.
type session struct {
	*trip
	attempt  int
	stage    Stage
	link     link
	prefix   string          // before every name; "" once the board has left its folder
	log      probes          // of the published log that the board follows
	absolute bool            // names are looked up from the root of the folder: "91cdf03d//config.txt"
	present  map[string]bool // names that were asked for, and whether they exist
	pending  *transfer       // a probe that keeps its port until the next request
	resolved Resolved
	findings []Problem
	err      error
}

func newSession(t *trip, attempt int) *session {
	return &session{trip: t, attempt: attempt, prefix: t.board.prefix(), present: map[string]bool{}}
}

// enter begins a stage, whose program asks for blocks of blksize bytes.
func (s *session) enter(stage Stage, blksize int) {
	b := s.board
	s.stage = stage
	s.link = link{
		server: s.server, local: b.Local, blksize: blksize, rollsOver: b.RollsOver(),
		fileTimeout: b.FileTimeout, resendEvery: b.ResendEvery, now: s.opts.Now, air: s.air,
	}
}

// request is one request: begun, sent by do, recorded.
func (s *session) request(req Request, do func(*Request) error) Request {
	req.Attempt, req.Stage, req.Path = s.attempt, s.stage, s.path(req.Name)
	req.Start, req.Result = s.since(), Missing
	if s.err != nil {
		return req
	}
	n := len(s.report.Requests)
	s.opts.Before(n, req)
	if s.err = do(&req); s.err != nil {
		return req
	}
	req.Duration = s.since() - req.Start
	s.present[req.Name] = req.Result == Found
	s.report.Requests = append(s.report.Requests, req)
	s.opts.After(n, req)
	return req
}

// path is what the board asks for when it wants name.
func (s *session) path(name string) string {
	if s.absolute {
		return s.prefix + "/" + name
	}
	return s.prefix + name
}

// settle ends the probe that is still open.
func (s *session) settle() {
	if s.pending != nil {
		s.pending.terminate()
		s.pending = nil
	}
}

func (s *session) probe(ctx context.Context, name string) Result {
	return s.request(Request{Kind: Probe, Name: name}, func(req *Request) error {
		open, err := s.link.probe(ctx, req, s.board.Style, s.settle)
		s.pending = open
		return err
	}).Result
}

// fetch reads a file and returns its text where keep asks for it.
func (s *session) fetch(ctx context.Context, req Request, keep bool) (Request, []byte) {
	var text []byte
	req = s.request(req, func(req *Request) (err error) {
		text, err = s.link.get(ctx, req, keep, s.settle)
		return err
	})
	return req, text
}

// load reads a file that a usable boot needs.
func (s *session) load(ctx context.Context, name string) (File, bool) {
	req, _ := s.fetch(ctx, Request{Kind: Get, Name: name, Required: true}, false)
	return req.file(), req.Result == Found
}

// text reads a file that the board can do without.
func (s *session) text(ctx context.Context, name string) ([]byte, bool) {
	req, text := s.fetch(ctx, Request{Kind: Get, Name: name}, true)
	return text, req.Result == Found
}

// miss asks for a file that a healthy image does not have. A real board would act on it.
func (s *session) miss(ctx context.Context, name string) Result {
	req, _ := s.fetch(ctx, Request{Kind: ExpectMissing, Name: name}, false)
	return req.Result
}

// found probes once, or as often as the seed says: one to three probes were seen.
func (s *session) found(ctx context.Context, name string) bool {
	return s.foundTimes(ctx, name, s.times(1))
}

func (s *session) foundTimes(ctx context.Context, name string, times int) bool {
	for range times {
		if s.probe(ctx, name) != Found {
			return false
		}
	}
	return true
}

// find returns the first of the candidates that exists.
func (s *session) find(ctx context.Context, names []string) (string, bool) {
	for _, name := range names {
		if s.exists(ctx, name) {
			return name, true
		}
	}
	return "", false
}

// probes is how often a published log shows that files were looked for; 0 is once.
type probes struct {
	kernel, initramfs int
	cmdline           bool // before it is read
}

// usual is what the published log has for name.
func (s *session) usual(name string) int {
	base := path.Base(name)
	switch {
	case slices.Contains(s.board.Kernels, base):
		return max(1, s.log.kernel)
	case strings.HasPrefix(base, "initramfs"):
		return max(1, s.log.initramfs)
	}
	return 1
}

// times is how often a file is looked for: as in the published log, or as the seed says.
func (s *session) times(usual int) int {
	if s.board.Seed == 0 {
		return usual
	}
	return 1 + s.rng.IntN(3)
}

// either is usual with seed 0 and chance with any other.
func (s *session) either(usual bool) bool {
	if s.board.Seed == 0 {
		return usual
	}
	return s.rng.IntN(2) == 0
}

// exists answers from what the board asked before, and probes for the rest.
func (s *session) exists(ctx context.Context, name string) bool {
	if known, ok := s.present[name]; ok {
		return known
	}
	return s.foundTimes(ctx, name, s.times(s.usual(name)))
}

// config reads config.txt. Without an option acknowledgement the firmware takes each
// block and then behaves as if the file were empty (a published report on a CM4).
func (s *session) config(ctx context.Context) []byte {
	req, text := s.fetch(ctx, Request{Kind: Get, Name: configName}, true)
	if req.has(NoOACK) {
		return nil
	}
	return text
}

// eval evaluates a config.txt that was read. Its includes are requests of their own.
func (s *session) eval(ctx context.Context, config []byte, stage configtxt.Stage) *configtxt.Settings {
	read := func(name string) ([]byte, error) {
		if name == configName {
			return config, nil
		}
		text, ok := s.text(ctx, name)
		if !ok {
			s.warn("include "+name+" of config.txt is not there", "add the file, or remove the line")
			return nil, fs.ErrNotExist
		}
		return text, nil
	}
	set, _ := configtxt.Eval(read, configName, s.board.Board, stage)
	return set
}

func (s *session) warn(what, hint string) { s.record(Warning, what, hint) }

func (s *session) fail(what, hint string) { s.record(Error, what, hint) }

// record keeps a problem once, unless the session has ended and everything looks missing.
func (s *session) record(sev Severity, what, hint string) {
	p := Problem{Severity: sev, What: what, Hint: hint}
	if s.err == nil && !slices.Contains(s.findings, p) {
		s.findings = append(s.findings, p)
	}
}

// timedOut says whether the last request did.
func (s *session) timedOut() bool {
	n := len(s.report.Requests)
	return n > 0 && s.report.Requests[n-1].Result == Timeout
}

func list(names []string) string { return strings.Join(names, ", ") }

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r\x00 ")
}
