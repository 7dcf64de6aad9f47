package inspect

import (
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Stat counts what is in an initramfs.
type Stat struct {
	Archives int      `json:"archives"`
	Entries  int64    `json:"entries"` // in the archives
	Names    int      `json:"names"`   // in the tree that a kernel makes of them
	Content  int64    `json:"content"` // bytes of the tree's files, hard links once
	Problems []string `json:"problems"`
}

// Count reads an initramfs and counts.
func Count(open Opener) (Stat, error) {
	tree, err := readTree(open)
	if err != nil {
		return Stat{}, err
	}
	s := Stat{Archives: tree.Archives, Entries: tree.Entries, Names: tree.Len(), Problems: []string{}}
	seen := map[*initrd.Inode]bool{}
	for n := range tree.All() {
		if n.Type() == newc.Regular && !seen[n.Inode] {
			seen[n.Inode] = true
			s.Content += int64(n.Size)
		}
	}
	for _, p := range tree.Problems {
		s.Problems = append(s.Problems, p.String())
	}
	return s, nil
}
