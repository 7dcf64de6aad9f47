package initrd

import (
	"bytes"
	"encoding/gob"
	"errors"
)

// snapshot is a tree as it is kept: what all names of a file share stands once.
type snapshot struct {
	Archives int
	Entries  int64
	Members  []savedMember
	Inodes   []Inode
	Nodes    []savedNode // sorted by path
}

type savedMember struct {
	Member
	End int64
}

type savedNode struct {
	Path, Target string
	Place        Place
	Inode        int // index of Inodes
}

// MarshalBinary encodes a tree without problems, for [Tree.UnmarshalBinary] of the same
// version of piimg.
func (t *Tree) MarshalBinary() ([]byte, error) {
	if len(t.Problems) > 0 {
		return nil, errors.New("a tree with problems")
	}
	s := snapshot{Archives: t.Archives, Entries: t.Entries}
	for _, m := range t.Members {
		s.Members = append(s.Members, savedMember{m, m.end})
	}
	known := map[*Inode]int{}
	for n := range t.All() {
		at, ok := known[n.Inode]
		if !ok {
			at = len(s.Inodes)
			known[n.Inode] = at
			s.Inodes = append(s.Inodes, *n.Inode)
		}
		s.Nodes = append(s.Nodes, savedNode{n.Path, n.Target, n.Place, at})
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(s)
	return b.Bytes(), err
}

// UnmarshalBinary decodes what MarshalBinary has encoded.
func (t *Tree) UnmarshalBinary(b []byte) error {
	var s snapshot
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		return err
	}
	*t = Tree{Archives: s.Archives, Entries: s.Entries, nodes: map[string]*Node{}}
	for _, m := range s.Members {
		m.end = m.End
		t.Members = append(t.Members, m.Member)
	}
	for _, n := range s.Nodes {
		if n.Inode < 0 || n.Inode >= len(s.Inodes) {
			return errors.New("a name without an inode")
		}
		t.nodes[n.Path] = &Node{Path: n.Path, Target: n.Target, Place: n.Place, Inode: &s.Inodes[n.Inode]}
	}
	t.sort()
	return nil
}
