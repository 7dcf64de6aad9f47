package initrd

import (
	"fmt"
	"path"
	"strings"
)

// CheckGlob refuses what [Match] takes for no glob: absolute and unclean paths, and
// brackets left open.
func CheckGlob(glob string) error {
	for _, element := range strings.Split(glob, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("glob %q has to be relative and clean", glob)
		}
		if _, err := path.Match(element, ""); err != nil {
			return fmt.Errorf("glob %q: close every [", glob)
		}
	}
	return nil
}

// Match says whether a glob that [CheckGlob] has passed stands for name, a path in a tree.
// * ? and [a-z] stand for anything within one element of a path, a backslash takes the
// meaning from what follows it, and ** stands for any number of elements: "usr/share/**"
// is all that is in that folder, and not the folder. Nothing stands for ".", the root.
func Match(glob, name string) bool {
	return name != "." && matchElements(strings.Split(glob, "/"), strings.Split(name, "/"))
}

func matchElements(glob, name []string) bool {
	for len(glob) > 0 {
		if glob[0] == "**" {
			rest := glob[1:]
			if len(rest) == 0 {
				return len(name) > 0
			}
			for skip := range len(name) {
				if matchElements(rest, name[skip:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(glob[0], name[0]); !ok {
			return false
		}
		glob, name = glob[1:], name[1:]
	}
	return len(name) == 0
}
