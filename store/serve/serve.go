package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"piimg/store"
)

// Fleet says which boards there are and what they run. Its methods are called
// concurrently, and their errors name the board or the environment.
type Fleet interface {
	// Board is the id of the board that name spells, and whether it spells one: the
	// last 8 hexadecimal digits of the serial, or the MAC with dashes, in lower case.
	// It asks nobody.
	Board(name string) (id string, ok bool)

	// Assigned is what the board has been told to run. The error wraps
	// io/fs.ErrNotExist where nobody has told it anything, and is a Refused where that
	// must not be served.
	Assigned(ctx context.Context, board string) (Assignment, error)

	// Head is what env runs now, for a front end that gives boards good, zero for none.
	// What does not go on from good, or must not be served, is an error, and boards keep
	// what they get. The error wraps io/fs.ErrNotExist where there is no such environment.
	Head(ctx context.Context, env string, good Head) (Head, error)
}

// Assignment is what one board has been told to run, and what is known of it: an image,
// else a target, else whatever the rules of the front end say.
type Assignment struct {
	Image store.Digest `json:"image,omitzero"` // goes before Env
	Target
	Labels    map[string]string `json:"labels,omitempty"`
	Vars      map[string]string `json:"vars,omitempty"`
	Also      []string          `json:"also,omitempty"` // ids that are other names of the board
	Addresses []netip.Addr      `json:"addresses,omitempty"`
}

// told says whether somebody has said what the board runs.
func (a Assignment) told() bool { return !a.Image.IsZero() || !a.Target.IsZero() }

// known says whether anybody has said anything of the board.
func (a Assignment) known() bool {
	return a.told() || len(a.Labels)+len(a.Vars)+len(a.Also)+len(a.Addresses) > 0
}

// with is a with another target.
func (a Assignment) with(t Target) Assignment {
	a.Image, a.Target = store.Digest{}, t
	return a
}

// Head is the latest step of an environment.
type Head struct {
	Seq   int64        `json:"seq"`
	Image store.Digest `json:"image"`
	Entry store.Digest `json:"entry,omitzero"` // of the step as it is stored; zero where the fleet does not say
}

// same says whether h and good are one step. What was saved by an older version has no Entry.
func (h Head) same(good Head) bool {
	return h.Seq == good.Seq && h.Image == good.Image && (h.Entry == good.Entry || good.Entry.IsZero())
}

// Source is where the cache gets what it lacks; a store.Blobs is one. The reader that
// Open returns ends in an error that wraps store.ErrCorrupt where bytes are wrong.
type Source interface {
	Find(ctx context.Context, d store.Digest) (store.Blob, error)
	Open(ctx context.Context, b store.Blob) (io.ReadCloser, error)
}

var _ Source = store.Blobs{}

// Config is what a Front is made of. Dir, Fleet and Source are needed.
type Config struct {
	Dir    string // cache folder: of this front end and this store alone
	Fleet  Fleet
	Source Source

	CacheSize int64 // most bytes of all images in the cache; 0: as the file system allows, of which 3 %, or 1 GiB, stay free
	Space     Space // nil asks the file system

	Policy // to begin with

	Plain bool                          // serve files as the image has them: nothing is made for a board
	URL   func(board netip.Addr) string // where a board finds this front end over HTTP, "" for nowhere; may be nil

	Handover   time.Duration                 // secret files that are left out are handed over once, so long after a boot began; 0: they are not
	SecretsURL func(board netip.Addr) string // where a board finds SecretsPath over HTTPS, "" for nowhere; may be nil

	Idle  time.Duration // a session ends after so long without a request; 30 s
	Limit time.Duration // a boot that starts over after so long is a new one, come what may; 5 min
	Poll  time.Duration // time between two looks for new heads; 5 s

	Now func() time.Time // the clock of sessions and trails; time.Now
	Log *slog.Logger     // nil is silent
}

// Defaults of Config.
const (
	defaultIdle  = 30 * time.Second
	defaultLimit = 5 * time.Minute
	defaultPoll  = 5 * time.Second
)

// refusalLines is how many boards that get nothing are logged a second: as many as are
// switched on together, and not all that somebody makes up.
const refusalLines = 10

// Front is a front end. It is safe for concurrent use. Close it.
type Front struct {
	cfg   Config
	log   *slog.Logger
	cache *cache
	lock  *os.File // of the cache folder
	crew  *crew
	heads group[string, Head]
	began time.Time

	policy  atomic.Pointer[Policy]   // for boots that begin now
	boards  atomic.Pointer[registry] // as the fleet last said
	listed  time.Time                // when that was; guarded by mu
	checked map[string]checked       // what was found of them, by id; guarded by mu

	registry *prometheus.Registry
	counts   *counts

	nothing *Flood // of boards that get nothing

	mu       sync.Mutex
	stations map[string]*station     // by board id
	seenAt   map[netip.Addr]*station // the board last seen at an address, with its name
	full     time.Time               // until then there is no board to forget
	envs     map[string]*environment
}

// New opens the cache folder and reads what earlier runs have left there. It asks
// neither the fleet nor the source.
func New(cfg Config) (*Front, error) {
	if cfg.Dir == "" || cfg.Fleet == nil || cfg.Source == nil {
		return nil, errors.New("a front end needs a cache folder, a fleet and a source")
	}
	policy, err := cfg.Policy.checked(cfg.Fleet)
	if err != nil {
		return nil, err
	}
	cfg.Idle = cmp.Or(cfg.Idle, defaultIdle)
	cfg.Limit = cmp.Or(cfg.Limit, defaultLimit)
	cfg.Poll = cmp.Or(cfg.Poll, defaultPoll)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Space == nil {
		cfg.Space = statfs
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	registry := prometheus.NewRegistry()
	f := &Front{
		cfg:      cfg,
		log:      cfg.Log,
		began:    cfg.Now(),
		registry: registry,
		counts:   newCounts(registry),
		crew:     newCrew(),
		stations: map[string]*station{},
		seenAt:   map[netip.Addr]*station{},
		envs:     map[string]*environment{},
		nothing:  NewFlood(cfg.Log, refusalLines, cfg.Now),
	}
	if err := f.openDir(policy); err != nil {
		f.unlock()
		return nil, fmt.Errorf("open cache %s: %w", cfg.Dir, err)
	}
	registry.MustRegister(state{f}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return f, nil
}

func (f *Front) openDir(p *Policy) error {
	lock, err := lockDir(f.cfg.Dir)
	if err != nil {
		return err
	}
	f.lock = lock
	if f.cache, err = openCache(f); err != nil {
		return err
	}
	if err := sweepTrails(filepath.Join(f.cfg.Dir, trailDir), f.cfg.Now()); err != nil {
		return err
	}
	if err := sweepBoards(f.boardDir(), f.cfg.Now()); err != nil {
		return err
	}
	f.envs, err = readEnvironments(f.envDir(), f.log)
	if err != nil {
		return err
	}
	f.take(p)
	f.readRegistry()
	return nil
}

// Close stops downloads that still run and waits for them. Files that are open stay
// readable.
func (f *Front) Close() {
	f.crew.dismiss()
	f.flushTrails()
	f.unlock()
}

func (f *Front) unlock() {
	if f.lock != nil {
		f.lock.Close()
	}
}

// plainAddr is addr as a key: IPv4 in its own form, no zone.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
