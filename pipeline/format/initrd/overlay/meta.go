package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// MetaFile is the file at the top of an overlay that says what a checkout cannot hold. It
// does not become part of the image.
//
//	# path         mode  owner  node
//	etc/shadow     0600  0:42
//	usr/bin/ping   4755  -
//	home/pi/**     -     1000:1000
//	dev/console    0600  0:0    char 5 1
//	run/initctl    0600  0:0    fifo
//
// Fields are separated by blanks; "-" leaves what would be there without the line. A path
// is a glob as [initrd.Match] has it, and of a node the path itself; \ooo stands for one
// byte without a meaning of its own, such as \040 for a blank and \052 for an asterisk.
// Later lines win.
const MetaFile = ".piimg-meta"

// Rule is one line of a meta file.
type Rule struct {
	Line     int    // from 1
	Glob     string // as [initrd.Match] takes it
	Mode     int    // permission bits; -1 where the line says none
	UID, GID int64  // -1 where the line says none
	Node     *Node  // that the line makes, or nil

	path string // Glob as a path; of a node
}

// Node is what a line makes.
type Node struct {
	Type   uint32 // newc.Char, newc.Block or newc.FIFO
	Device newc.Device
}

func (r Rule) matches(name string) bool { return initrd.Match(r.Glob, name) }

const maxMeta = 4 << 20 // bytes

func readMeta(fsys fs.FS) ([]Rule, error) {
	info, err := fs.Lstat(fsys, MetaFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe would be waited for, a symlink may lead anywhere
		return nil, &Error{MetaFile, "is no file", "put a file there, or remove it"}
	}
	f, err := fsys.Open(MetaFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseMeta(f)
}

// ParseMeta reads a meta file. Errors are of type [*Error] and name the line.
func ParseMeta(r io.Reader) ([]Rule, error) {
	var rules []Rule
	s := bufio.NewScanner(io.LimitReader(r, maxMeta+1))
	size := 0
	for line := 1; s.Scan(); line++ {
		if size += len(s.Bytes()) + 1; size > maxMeta {
			return nil, &Error{MetaFile, fmt.Sprintf("is larger than %d MiB", maxMeta>>20), "write globs"}
		}
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		rule, err := parseRule(fields)
		if err != nil {
			return nil, &Error{MetaFile, fmt.Sprintf("line %d: %v", line, err), `write "path mode owner", such as "etc/shadow 0600 0:42"`}
		}
		rule.Line = line
		rules = append(rules, rule)
	}
	return rules, s.Err()
}

func parseRule(fields []string) (Rule, error) {
	r := Rule{Mode: -1, UID: -1, GID: -1}
	if len(fields) < 3 {
		return r, errors.New("a line has a path, a mode and an owner")
	}
	var err error
	var wild bool
	if r.Glob, r.path, wild, err = unescape(fields[0]); err != nil {
		return r, err
	}
	if err := initrd.CheckGlob(r.Glob); err != nil {
		return r, err
	}
	if fields[1] != "-" {
		mode, err := strconv.ParseUint(fields[1], 8, 32)
		if err != nil || mode > newc.PermMask {
			return r, fmt.Errorf("%q is not a mode", fields[1])
		}
		r.Mode = int(mode)
	}
	if fields[2] != "-" {
		if err := r.owner(fields[2]); err != nil {
			return r, err
		}
	}
	if len(fields) > 3 {
		if wild {
			return r, errors.New("the path of a node is no glob")
		}
		return r, r.node(fields[3:])
	}
	return r, nil
}

func (r *Rule) owner(s string) error {
	u, g, ok := strings.Cut(s, ":")
	uid, uerr := strconv.ParseUint(u, 10, 32)
	gid, gerr := strconv.ParseUint(g, 10, 32)
	if !ok || uerr != nil || gerr != nil {
		return fmt.Errorf("%q is not an owner, such as 0:42", s)
	}
	r.UID, r.GID = int64(uid), int64(gid)
	return nil
}

func (r *Rule) node(fields []string) error {
	kinds := map[string]uint32{"char": newc.Char, "block": newc.Block, "fifo": newc.FIFO}
	kind, ok := kinds[fields[0]]
	want := 3
	if kind == newc.FIFO {
		want = 1
	}
	switch {
	case !ok:
		return fmt.Errorf("%q is none of char, block and fifo", fields[0])
	case len(fields) != want:
		return fmt.Errorf("%s takes %d numbers, major and minor", fields[0], want-1)
	case r.Mode < 0:
		return errors.New("a node has to have a mode")
	}
	r.Node = &Node{Type: kind}
	if want == 1 {
		return nil
	}
	major, err := strconv.ParseUint(fields[1], 10, 12)
	if err != nil {
		return fmt.Errorf("%q is not a major number", fields[1])
	}
	minor, err := strconv.ParseUint(fields[2], 10, 20)
	if err != nil {
		return fmt.Errorf("%q is not a minor number", fields[2])
	}
	r.Node.Device = newc.Device{Major: uint32(major), Minor: uint32(minor)}
	return nil
}

// unescape makes a glob, and a path, of what has \ooo in the place of bytes. What stands so
// has no meaning in the glob. wild says whether anything else has one.
func unescape(s string) (glob, path string, wild bool, err error) {
	var g, p strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			if c, err = octal(s[i+1:]); err != nil {
				return "", "", false, fmt.Errorf("%s: %w", s, err)
			}
			i += 3
			g.WriteByte('\\')
		} else if strings.IndexByte("*?[", c) >= 0 {
			wild = true
		}
		g.WriteByte(c)
		p.WriteByte(c)
	}
	return g.String(), p.String(), wild, nil
}

// escape is a path as a meta file has it: unescape gives it back.
func escape(path string) string {
	var s strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c > '~' || strings.IndexByte(`\*?[#`, c) >= 0 {
			fmt.Fprintf(&s, `\%03o`, c)
		} else {
			s.WriteByte(c)
		}
	}
	return s.String()
}

func octal(s string) (byte, error) {
	v, err := strconv.ParseUint(s[:min(3, len(s))], 8, 8)
	if len(s) < 3 || err != nil || v == 0 || v == '/' {
		return 0, errors.New(`three octal digits of a byte have to follow a backslash`)
	}
	return byte(v), nil
}
