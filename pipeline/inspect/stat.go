package inspect

import (
	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Stat counts what is in an initramfs.
type Stat struct {
	Archives int      `json:"archives"`
	Members  []Member `json:"members"` // what the archives stand in, in order
	Entries  int64    `json:"entries"` // in the archives
	Names    int      `json:"names"`   // in the tree that a kernel makes of them
	Content  int64    `json:"content"` // bytes of the tree's files, hard links once
	Problems []string `json:"problems"`
}

// Member is an archive, or several in one compressed stream.
type Member struct {
	Offset int64  `json:"offset"` // in the file, bytes
	Format string `json:"format"` // "none", "gzip", "zstd" …
}

// Count reads an initramfs and counts.
func Count(src Source) (Stat, error) {
	tree, err := readTree(src)
	if err != nil {
		return Stat{}, err
	}
	s := Stat{Archives: tree.Archives, Entries: tree.Entries, Names: tree.Len(), Members: []Member{}, Problems: []string{}}
	for _, m := range tree.Members {
		s.Members = append(s.Members, Member{m.Offset, string(m.Format)})
	}
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
