package serve

import (
	"fmt"
	"io"
	"net/netip"

	"piimg/pipeline/format/boardtext"
	"piimg/store"
)

// View is an image as a front end sees it, for those who want to know beforehand.
type View struct {
	img *image
	cfg Config
}

// NewView is img, whose small files open opens, as boards get it from a front end that is made
// of cfg. Of that, nothing has to be set.
func NewView(img *store.Image, cfg Config, open func(store.File) (io.ReadCloser, error)) (View, error) {
	i, err := newImage(img, open)
	return View{i, cfg}, err
}

// Stage is the milestone that a board has reached with the file at name.
func (v View) Stage(name string) Milestone { return v.img.milestone(Event{Name: name, Result: OK}) }

// Visit is the boot of a board that might be.
type Visit struct {
	Board string // its id
	Decision
	Addr    netip.Addr
	Secrets bool // it may have secret files even where no network says so
}

// foresee is what the files of img would be made with in b, under p.
func (c *Config) foresee(p *Policy, img *image, b Visit) *renderer {
	s := c.opening(p, b.Decision, b.Addr)
	s.Image, s.Token = img.Digest, anyToken
	return newRenderer(p, img, s, b.Board, b.Secrets || p.Secrets(b.Addr))
}

func (v View) renderer(b Visit) *renderer { return v.cfg.foresee(&v.cfg.Policy, v.img, b) }

// Check says which files the board could not have, since a template in them cannot be filled
// in or a file of this host cannot be read: an error for each.
func (v View) Check(b Visit) []error { return v.renderer(b).check() }

// Made says what is made of the file at name for the board, and is "" where the board gets
// the file as it is.
func (v View) Made(name string, b Visit) string {
	switch {
	case v.img.cmdlines[name]:
		return "variables filled in, piimg.image, piimg.url, piimg.token and the like added"
	case name == "config.txt":
		return "variables filled in, if it names any"
	case !v.img.tails[name]:
		return ""
	}
	r := v.renderer(b)
	made := filesText(len(r.own)) + " of the board's own added"
	switch {
	case len(r.own)+len(r.withheld) == 0:
		return ""
	case len(r.withheld) == 0:
		return made
	case r.session.Secrets != "":
		return fmt.Sprintf("%s, %d secret to be handed over", made, len(r.withheld))
	}
	return fmt.Sprintf("%s, %d secret withheld", made, len(r.withheld))
}

func filesText(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// Templates are the files that are filled in for each board, by front ends alone.
func (v View) Templates() []string {
	var all []string
	for _, name := range sortedKeys(v.img.texts) {
		if boardtext.Has(v.img.texts[name]) {
			all = append(all, name)
		}
	}
	return all
}

// Text is what the file at name says, a command line or config.txt, once it is made for the
// board, whose token is shown as token; "" where nothing is made of it, or cannot be.
func (v View) Text(name string, b Visit, token string) string {
	if _, ok := v.img.texts[name]; !ok {
		return ""
	}
	r := v.renderer(b)
	r.session.Token = token
	made, err := r.text(name)
	if err != nil {
		return ""
	}
	return string(made)
}
