package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"piimg/store"
)

const (
	maxBoots  = 4   // kept per board
	maxEvents = 256 // kept per boot, the latest; a boot has about 60
)

// Milestone is how far a boot has come.
type Milestone int

// The milestones in the order of a boot. Firmware may swap dtb and initramfs.
const (
	Nothing Milestone = iota
	PrefixProbe
	ConfigRead
	Start
	Fixup
	DTB
	Initramfs
	Kernel
	Alive // the board has said itself that it is up
)

var milestones = [...]string{"nothing", "prefix-probe", "config", "start4", "fixup", "dtb", "initramfs", "kernel", "alive"}

func (m Milestone) String() string { return milestones[m] }

// MarshalText writes the milestone's name.
func (m Milestone) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the milestone's name.
func (m *Milestone) UnmarshalText(text []byte) error {
	n := slices.Index(milestones[:], string(text))
	if n < 0 {
		return fmt.Errorf("milestone %q is none of %s", text, strings.Join(milestones[:], ", "))
	}
	*m = Milestone(n)
	return nil
}

// Event is one transfer, or one request that got none.
type Event struct {
	Time     time.Time      `json:"time"` // of the request
	Name     string         `json:"name"` // without the board's prefix
	Protocol string         `json:"protocol"`
	Client   netip.AddrPort `json:"client"`
	Result   Result         `json:"result"`
	Bytes    int64          `json:"bytes"` // that the client has taken
	Duration time.Duration  `json:"duration"`
	Size     int64          `json:"size,omitempty"`   // of the file
	Plain    bool           `json:"plain,omitempty"`  // asked for by TFTP without options
	Rooted   bool           `json:"rooted,omitempty"` // asked for without the board's folder
}

// Boot is one attempt of a board to boot. Image is zero where the board got nothing.
type Boot struct {
	Board     string       `json:"board"`
	Front     string       `json:"front,omitempty"` // where the front end was asked for it
	Address   netip.Addr   `json:"address"`
	Image     store.Digest `json:"image,omitzero"`
	Env       string       `json:"env,omitempty"` // that the image is of, "" where the board was assigned the image itself
	Opened    time.Time    `json:"opened"`
	Seen      time.Time    `json:"seen"`
	Milestone Milestone    `json:"milestone"`           // the furthest
	Reason    string       `json:"reason,omitempty"`    // why the board got nothing
	Warning   string       `json:"warning,omitempty"`   // what is wrong with the board's files
	Restarts  int          `json:"restarts,omitempty"`  // boots before this one, one soon after the other, that did not get their kernel
	Files     int          `json:"files"`               // that came whole
	Bytes     int64        `json:"bytes"`               // that the board has taken
	Diagnosis []Finding    `json:"diagnosis,omitempty"` // what probably went wrong
	Dropped   int          `json:"dropped"`             // events that are no longer in Events
	Events    []Event      `json:"events,omitempty"`
}

// trail is the last boots of one board, oldest first, guarded by its station.
type trail []*attempt

// attempt is a boot and the session that it has; nil where the board got nothing.
type attempt struct {
	Boot
	session *session
}

// Boards is the latest boot of every board that this process has seen, by board,
// without events.
func (f *Front) Boards() []Boot {
	var all []Boot
	for _, st := range f.allStations() {
		st.mu.Lock()
		if n := len(st.trail); n > 0 {
			b := st.trail[n-1].Boot
			b.Events = nil
			all = append(all, b)
		}
		st.mu.Unlock()
	}
	return all
}

// Trail is the last boots of the board that name spells, oldest first, and nothing where it
// was never seen.
func (f *Front) Trail(name string) []Boot {
	id, ok := f.cfg.Fleet.Board(name)
	if !ok {
		return nil
	}
	boots, _ := f.lastBoots(id)
	return boots
}

// lastBoots are those of the board id, which may be another name of it.
func (f *Front) lastBoots(id string) ([]Boot, error) {
	id = f.canonical(id)
	f.mu.Lock()
	st := f.stations[id]
	f.mu.Unlock()
	now := f.cfg.Now()
	if st == nil {
		boots, err := readTrail(f.trailFile(id))
		return Diagnosed(boots, now), err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.trail) == 0 {
		return nil, fmt.Errorf("board %s: %w", id, fs.ErrNotExist)
	}
	return st.trail.boots(now), nil
}

// begin starts the trail of s, a session of st; s is nil for a board that gets nothing.
func (t *trail) begin(st *station, s *session) *attempt {
	a := &attempt{Boot{Board: st.id, Address: st.addr, Opened: st.seen, Seen: st.seen}, s}
	if n := len(*t); n > 0 {
		last := (*t)[n-1]
		if last.Milestone < Kernel && st.seen.Sub(last.Seen) < soon {
			a.Restarts = last.Restarts + 1
		}
		last.Events = slices.Clone(last.Events) // without the room to grow
	}
	if s != nil {
		a.Image, a.Env, a.Opened, a.Seen, a.Warning = s.Image, s.Env, s.Opened, s.Touched, s.Warning
	}
	if len(*t) == maxBoots {
		*t = slices.Delete(*t, 0, 1)
	}
	*t = append(*t, a)
	return a
}

// of is the boot that has s. A transfer may end after the next boot has begun.
func (t trail) of(s *session) *attempt {
	for _, a := range t {
		if a.session == s {
			return a
		}
	}
	return nil
}

// opened is the boot that was opened then.
func (t trail) opened(at time.Time) *attempt {
	for _, a := range t {
		if a.Opened.Equal(at) && !a.Image.IsZero() {
			return a
		}
	}
	return nil
}

// refused is the boot of requests that get nothing: the last one, if it got nothing so far.
func (t trail) refused() *attempt {
	if n := len(t); n > 0 && t[n-1].session == nil {
		return t[n-1]
	}
	return nil
}

// add appends e, which is of a file.
func (b *Boot) add(e Event) {
	if e.Result == OK {
		b.Files++
	}
	b.Bytes += e.Bytes
	b.note(e)
}

// note appends e, whatever it is of.
func (b *Boot) note(e Event) {
	if len(b.Events) >= maxEvents {
		b.Events = slices.Delete(b.Events, 0, 1)
		b.Dropped++
	}
	b.Events = append(b.Events, e)
	b.Seen = e.Time.Add(e.Duration)
}

// event is the request r for name, which err has ended.
func event(now time.Time, r Request, name string, err error) Event {
	e := Event{Time: now, Name: name, Protocol: r.Protocol, Client: r.Client, Result: Failed, Plain: r.Plain, Rooted: r.rooted}
	if errors.Is(err, fs.ErrNotExist) {
		e.Result = Missing
	}
	return e
}

// failed adds a request to the trail that the board got no image for. s is the session
// whose image cannot be had, or nil.
func (f *Front) failed(st *station, e Event, s *session, err error) {
	f.counts.transfer(e)
	st.mu.Lock()
	defer st.mu.Unlock()
	b := st.trail.refused()
	if s != nil {
		b = st.trail.of(s)
	}
	if b == nil {
		b = st.trail.begin(st, s)
	}
	b.Reason = err.Error()
	b.add(e)
	st.dirty = true
}

// finish ends a transfer: e goes to the trail and the session learns what it shows.
func (f *Front) finish(st *station, s *session, img *image, e Event) {
	f.log.Debug("transfer", "board", st.name(), "client", e.Client, "protocol", e.Protocol, "name", e.Name,
		"result", e.Result, "bytes", e.Bytes, "duration", e.Duration, "image", img.name())
	f.counts.transfer(e)
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	s.active--
	s.Touched = f.cfg.Now()
	b := st.trail.of(s)
	reached := img.milestone(e)
	if b != nil {
		st.dirty = true
		b.add(e)
		b.Milestone = max(b.Milestone, reached)
	}
	if st.session != s {
		return
	}
	if reached == Kernel && !s.Done {
		s.Done = true
		f.save(st)
		f.counts.kernels.Inc()
		f.counts.bootSeconds.Observe(s.Touched.Sub(s.Opened).Seconds())
		files, bytes, restarts := 0, int64(0), 0
		if b != nil {
			files, bytes, restarts = b.Files, b.Bytes, b.Restarts
		}
		f.log.Info("kernel delivered", "board", st.id, "image", s.Image, "env", s.Env, "name", e.Name, "after", s.Touched.Sub(s.Opened),
			"files", files, "bytes", bytes, "restarts", restarts)
		return
	}
	f.saveTouched(st)
}

// name is the board's id, and "" where no board asked.
func (st *station) name() string {
	if st == nil {
		return ""
	}
	return st.id
}

// milestone is what e shows about the boot.
func (i *image) milestone(e Event) Milestone {
	if e.Result != OK {
		return PrefixProbe // the board has found the front end
	}
	dir, base := path.Split(e.Name)
	switch {
	case i.kernels[e.Name]:
		return Kernel
	case i.ramdisks[e.Name] || strings.HasPrefix(base, "initramfs") || strings.HasPrefix(base, "initrd"):
		return Initramfs
	case path.Ext(base) == ".dtb" && base != "overlay_map.dtb" && base != "hat_map.dtb" && !strings.HasSuffix(dir, "overlays/"):
		return DTB
	case isFixup(base):
		return Fixup
	case isLoader(base):
		return Start
	case base == "config.txt":
		return ConfigRead
	}
	return PrefixProbe
}
