package recipes

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

var (
	// Names, architectures and versions of packages as Debian's policy has them.
	debName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	debArch    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	debVersion = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~:-]*$`)
	suiteName  = regexp.MustCompile(`^[a-z0-9][a-z0-9./-]*$`)

	gitRevision = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+-]*$`)
	gitShort    = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^/]`)
	imageName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._@~-]*$`)
)

// deb reads a source that is a Debian package.
func (r *reader) deb(n *node, with map[string]*node) Source {
	s := Source{Deb: r.debPackage(n)}
	for _, el := range r.texts(with["depends"]) {
		if _, err := path.Match(el.text(), ""); err != nil {
			r.fail(el, badPatternHint, "pattern %q is malformed", el.text())
		}
		s.Depends = append(s.Depends, el.text())
	}
	if a := with["archive"]; a != nil {
		if p, ok := r.filled(a); ok {
			s.Archive = r.beside(a, p, aFile)
		}
		for _, key := range []string{"suite", "components"} {
			if with[key] != nil {
				r.fail(with[key], "say it in that file", "stands beside archive")
			}
		}
	}
	s.Suite = r.suite(with["suite"])
	for _, el := range r.texts(with["components"]) {
		s.Components = append(s.Components, r.suite(el))
	}
	return s
}

// debPackage is name, name:architecture or either with =version.
func (r *reader) debPackage(n *node) string {
	s, ok := r.filled(n)
	if !ok {
		return ""
	}
	which, version, hasVersion := strings.Cut(s, "=")
	name, arch, hasArch := strings.Cut(which, ":")
	const example = `write it as apt does: "busybox-static:arm64"`
	switch {
	case !debName.MatchString(name):
		r.fail(n, example, "%q is not the name of a package", name)
	case hasArch && !debArch.MatchString(arch):
		r.fail(n, example, "%q is not an architecture", arch)
	case hasVersion && !debVersion.MatchString(version):
		r.fail(n, example+", without a version for the newest", "%q is not a version", version)
	}
	return s
}

func (r *reader) suite(n *node) string {
	s, ok := r.filled(n)
	if ok && !suiteName.MatchString(s) {
		r.fail(n, `write it as in sources.list: "bookworm-backports", "non-free-firmware"`, "%q is not a name of an archive's part", s)
	}
	return s
}

// repository is the address of a git repository.
func (r *reader) repository(n *node) string {
	s, ok := r.filled(n)
	if !ok {
		return ""
	}
	if gitShort.MatchString(s) {
		return s // user@host:path
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "":
		r.fail(n, "write it in full: https://example.org/tree.git", "is not the address of a repository")
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh" && u.Scheme != "git" && u.Scheme != "file":
		r.fail(n, "use https, ssh, git, http or file", "scheme %q is not known", u.Scheme)
	case hasPassword(u): // and never repeat it
		r.fail(n, "recipes hold no secrets: git's credential helpers do", "has a user or a password in it")
	}
	return s
}

// hasPassword is about secrets: a user alone is none with ssh.
func hasPassword(u *url.URL) bool {
	_, password := u.User.Password()
	return password || u.User != nil && u.Scheme != "ssh"
}

func (r *reader) revision(n *node) string {
	s, ok := r.filled(n)
	if ok && (!gitRevision.MatchString(s) || strings.Contains(s, "..")) {
		r.fail(n, `write a tag, a branch or a commit: "2026.02.1"`, "%q is not a revision", s)
	}
	return s
}

// image is the name of an image: what it means is for the store to say.
func (r *reader) image(n *node) string {
	s, ok := r.filled(n)
	if ok && !imageName.MatchString(s) {
		r.fail(n, `write a digest or an environment: "sha256:…", "prod", "prod@41"`, "%q names no image", s)
	}
	return s
}
