package repack

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// plan decides what becomes of each entry, and remembers what that needs: what the result
// has, which edits have met something, and who shares an inode.
type plan struct {
	edits   Edits
	under   *initrd.Tree // of the archives that stay in front; may be nil
	epoch   uint32
	stats   *Stats
	met     map[string]bool // labels and kinds of edits that matched
	adds    map[string]*Add
	done    map[string]bool   // adds that took the place of a folder
	kinds   map[string]uint32 // types of what the result has
	renamed map[string]string // new paths → labels
	made    map[string]string // folders made for lack of a parent → labels
	gone    map[string]bool   // folders: removed?
	groups  map[group]*members
	serial  int // of the archive: a trailer ends hard links
	spooled int64
	ino     uint32 // the highest of the base
	text    int64  // bytes of the names of the base
	summed  bool   // the entry before is of 070702
}

// group tells inodes of several names apart.
type group struct {
	archive int
	dev     newc.Device
	ino     uint32
}

// members is what is known about the names of an inode.
type members struct {
	kept  string // the first name that stays, as its entry has it
	data  bool   // a name that stays has brought the data
	spool []byte // data of a name that goes, for one that comes
	lost  string // the name that it went with, where it is too large to spool
	mode  *uint32
	uid   *uint32
	gid   *uint32
}

// maxSpool bounds in bytes the data of removed hard links that later names need.
const maxSpool = 16 << 20

func newPlan(e Edits, epoch uint32, stats *Stats) (*plan, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	p := &plan{
		edits: e, epoch: epoch, stats: stats,
		met: map[string]bool{}, adds: map[string]*Add{}, done: map[string]bool{}, kinds: map[string]uint32{},
		renamed: map[string]string{}, made: map[string]string{}, gone: map[string]bool{}, groups: map[group]*members{},
	}
	for n := range e.Add {
		p.adds[e.Add[n].Entry.Name] = &e.Add[n]
	}
	return p, nil
}

// verdict is what becomes of an entry.
type verdict struct {
	before []newc.Entry // folders that have to be there first
	entry  newc.Entry   // as it shall be
	drop   bool         // header and body go
	change bool         // the header is written anew
	spool  *members     // drop: the body is needed later
	body   []byte       // change: in the place of the body, which is empty
}

// decide is called for every entry of the base, in order.
func (p *plan) decide(e newc.Entry) (verdict, error) {
	if strings.HasPrefix(e.Name, "/") || slices.Contains(strings.Split(e.Name, "/"), "..") {
		return verdict{}, errors.New("the name leads out of the tree")
	}
	p.ino = max(p.ino, e.Ino)
	v := verdict{entry: e}
	name := path.Clean(e.Name)
	removed := p.removed(name)
	if !removed {
		var err error
		if name, err = p.rename(&v, name); err != nil {
			return v, err
		}
	}
	if !removed {
		replaced, err := p.replace(&v, name)
		if err != nil {
			return v, err
		}
		removed = replaced
	}
	var m *members
	if e.Links >= 2 && e.Type() == newc.Regular {
		m = p.members(e)
	}
	if removed {
		p.stats.Removed++
		return p.drop(v, m)
	}
	p.attributes(&v, name, m)
	p.restore(&v, m)
	if label, ok := p.made[name]; ok && e.Type() != newc.Dir {
		return v, wrong(label, "needs the folder %s, which is none here", name)
	}
	p.kinds[name] = e.Type()
	if v.change {
		p.stats.Changed++
	}
	return v, nil
}

func (p *plan) members(e newc.Entry) *members {
	key := group{p.serial, e.Dev, e.Ino}
	m := p.groups[key]
	if m == nil {
		m = &members{}
		p.groups[key] = m
	}
	return m
}

// removed says whether a name or a folder above it is removed.
func (p *plan) removed(name string) bool {
	if len(p.edits.Remove) == 0 {
		return false
	}
	gone := false
	for _, r := range p.edits.Remove {
		if initrd.Match(r.Glob, name) {
			p.met["remove "+r.Label+r.Glob] = true
			gone = true
		}
	}
	return gone || p.folderGone(path.Dir(name))
}

func (p *plan) folderGone(dir string) bool {
	if dir == "." {
		return false
	}
	gone, known := p.gone[dir]
	if !known {
		gone = slices.ContainsFunc(p.edits.Remove, func(r Remove) bool { return initrd.Match(r.Glob, dir) }) || p.folderGone(path.Dir(dir))
		p.gone[dir] = gone
	}
	return gone
}

// rename applies the first rename that fits and answers the new name.
func (p *plan) rename(v *verdict, name string) (string, error) {
	for _, r := range p.edits.Rename {
		if !below(name, r.From) {
			continue
		}
		p.met["rename "+r.Label+r.From] = true
		name = r.To + name[len(r.From):]
		if _, ok := p.kinds[name]; ok && p.renamed[name] == "" {
			return name, wrong(r.Label, "%s is there already", name)
		}
		if len(name) > 4095 {
			return name, wrong(r.Label, "path of %d bytes, the kernel takes 4095", len(name))
		}
		p.renamed[name] = r.Label
		v.entry.Name, v.change = name, true
		return name, p.parents(r.Label, name, &v.before)
	}
	if label, ok := p.renamed[name]; ok {
		return name, wrong(label, "%s is there already", name)
	}
	return name, nil
}

// kind is the type of what the result has as name so far.
func (p *plan) kind(name string) (uint32, bool) {
	if t, ok := p.kinds[name]; ok || p.under == nil {
		return t, ok
	}
	if n := p.beneath(name); n != nil {
		return n.Type(), true
	}
	return 0, false
}

// beneath is what the archives in front have as name. Folders that take the place of a
// symlink there have nothing in them that it led to.
func (p *plan) beneath(name string) *initrd.Node {
	if p.under == nil {
		return nil
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if n := p.under.Lookup(dir); p.kinds[dir] == newc.Dir && (n == nil || n.Type() != newc.Dir) {
			return nil
		}
	}
	at, err := p.under.Resolve(name)
	if err != nil {
		return nil // its folder is not there
	}
	return p.under.Lookup(at)
}

// parents appends the folders above name that the result does not have so far.
func (p *plan) parents(label, name string, out *[]newc.Entry) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if t, ok := p.kind(dir); ok {
		if t != newc.Dir && t != newc.Symlink {
			return wrong(label, "%s lies below %s, which is no folder", name, dir)
		}
		return nil
	}
	if err := p.parents(label, dir, out); err != nil {
		return err
	}
	p.kinds[dir], p.made[dir] = newc.Dir, label
	*out = append(*out, newc.Entry{Name: dir, Mode: newc.Dir | 0o755})
	return nil
}

// replace says whether name goes because a new file has its path.
func (p *plan) replace(v *verdict, name string) (bool, error) {
	if len(p.adds) == 0 {
		return false, nil
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if a, ok := p.adds[dir]; ok && a.Entry.Type() != newc.Dir {
			return false, wrong(a.Label, "takes the place of the folder %s, which has %s in it: remove that first", dir, name)
		}
	}
	a, ok := p.adds[name]
	if !ok {
		return false, nil
	}
	if a.Weak {
		p.done[name] = true // whether it can stand for a, added asks: later entries win
		return false, nil
	}
	if a.Entry.Type() != newc.Dir || v.entry.Type() != newc.Dir {
		return true, nil
	}
	v.entry.Mode, v.entry.UID, v.entry.GID = a.Entry.Mode, a.Entry.UID, a.Entry.GID
	v.change, p.done[name] = true, true
	return false, nil
}

// checkWeak says whether what is there, of a type, can stand for the folder a.
func (a *Add) checkWeak(there uint32) error {
	if there == newc.Dir || there == newc.Symlink {
		return nil
	}
	return wrong(a.Label, "%s is a folder here and none in the base", a.Entry.Name)
}

// drop removes an entry, and sees to the data that other names of it need.
func (p *plan) drop(v verdict, m *members) (verdict, error) {
	if m == nil || v.entry.Size == 0 {
		v.drop = true
		return v, nil
	}
	if m.kept != "" && !m.data {
		// Written again under the first name. With one link, the kernel writes into
		// the file that all names share; with more it would delete it first.
		v.before = nil
		v.entry.Name, v.entry.Links, v.change, m.data = m.kept, 1, true, true
		m.apply(&v.entry)
		return v, nil
	}
	v.drop = true
	if m.kept == "" && m.spool == nil {
		if p.spooled += v.entry.Size; p.spooled > maxSpool {
			m.lost = v.entry.Name
			p.spooled -= v.entry.Size
		} else {
			v.spool = m
		}
	}
	return v, nil
}

// restore gives the first name that stays the data of one that has gone.
func (p *plan) restore(v *verdict, m *members) {
	if m == nil {
		return
	}
	if v.entry.Size > 0 {
		m.data = true
	} else if !m.data && m.spool != nil {
		v.body, v.entry.Size, v.change, m.data = m.spool, int64(len(m.spool)), true, true
		if v.entry.Summed {
			v.entry.Sum = newc.Sum(m.spool)
		}
		p.spooled -= v.entry.Size
		m.spool = nil
	}
	if m.kept == "" {
		m.kept = v.entry.Name
	}
}

// attributes applies modes and owners. Names of one inode share them: in the kernel the
// last one counts.
func (p *plan) attributes(v *verdict, name string, m *members) {
	if m == nil {
		m = &members{}
	}
	for n := range p.edits.Chmod {
		c := &p.edits.Chmod[n]
		if v.entry.Type() != newc.Symlink && initrd.Match(c.Glob, name) {
			p.met["chmod "+c.Label+c.Glob] = true
			m.mode = &c.Mode
		}
	}
	for _, c := range p.edits.Chown {
		if initrd.Match(c.Glob, name) {
			p.met["chown "+c.Label+c.Glob] = true
			m.own(c)
		}
	}
	before := v.entry
	m.apply(&v.entry)
	v.change = v.change || v.entry != before
}

// apply gives an entry the mode and owner that the edits want.
func (m *members) apply(e *newc.Entry) {
	if m.mode != nil {
		e.Mode = e.Type() | *m.mode
	}
	if m.uid != nil {
		e.UID = *m.uid
	}
	if m.gid != nil {
		e.GID = *m.gid
	}
}

func (m *members) own(c Chown) {
	if c.UID >= 0 {
		uid := uint32(c.UID)
		m.uid = &uid
	}
	if c.GID >= 0 {
		gid := uint32(c.GID)
		m.gid = &gid
	}
}

// lost names data that went with a removed name and was too large to keep.
func (p *plan) lost() error {
	for _, key := range slices.SortedFunc(maps.Keys(p.groups), func(a, b group) int { return int(int64(a.ino) - int64(b.ino)) }) {
		if m := p.groups[key]; m.lost != "" && m.kept != "" && !m.data {
			return fmt.Errorf("%s: the content of its hard link %s is more than %d MiB and stands with this name alone: keep it", m.lost, m.kept, maxSpool>>20)
		}
	}
	return nil
}

// added are the files to write at the end, sorted, with the folders they need.
func (p *plan) added() ([]*Add, error) {
	var all []*Add
	for _, name := range slices.Sorted(maps.Keys(p.adds)) {
		a := p.adds[name]
		if p.done[name] && a.Weak {
			if err := a.checkWeak(p.kinds[name]); err != nil {
				return nil, err
			}
		}
		if p.done[name] {
			continue
		}
		var dirs []newc.Entry
		if err := p.parents(a.Label, name, &dirs); err != nil {
			return nil, err
		}
		for _, d := range dirs {
			all = append(all, &Add{Label: a.Label, Entry: d})
		}
		if t, ok := p.kind(name); ok && a.Weak {
			if err := a.checkWeak(t); err != nil {
				return nil, err
			}
			continue
		}
		if p.shadows(a) {
			all = append(all, &Add{Label: a.Label, Entry: newc.Entry{Name: name, Mode: newc.Symlink | 0o777, Size: 1}, Open: Text([]byte("."))})
		}
		p.kinds[name] = a.Entry.Type()
		all = append(all, a)
	}
	return all, nil
}

// unmetEdit is an error for the first edit that matched nothing.
func (p *plan) unmetEdit() error {
	for _, r := range p.edits.Remove {
		if !p.met["remove "+r.Label+r.Glob] {
			return unmet(r.Label, "remove %q matches nothing", r.Glob)
		}
	}
	for _, r := range p.edits.Rename {
		if !p.met["rename "+r.Label+r.From] {
			return unmet(r.Label, "rename %q matches nothing", r.From)
		}
	}
	for _, c := range p.edits.Chmod {
		if !p.met["chmod "+c.Label+c.Glob] {
			return unmet(c.Label, "chmod %q matches nothing", c.Glob)
		}
	}
	for _, c := range p.edits.Chown {
		if !p.met["chown "+c.Label+c.Glob] {
			return unmet(c.Label, "chown %q matches nothing", c.Glob)
		}
	}
	return nil
}
