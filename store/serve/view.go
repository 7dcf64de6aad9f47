package serve

import (
	"fmt"
	"net/netip"
	"strings"

	"piimg/store"
)

// View is an image as a front end sees it, for those who want to know beforehand.
type View struct {
	img   *image
	files []OwnFile
}

// NewView is img, whose small files read reads, as boards get it that have these files.
func NewView(img *store.Image, files []OwnFile, read func(store.File) (string, error)) (View, error) {
	i, err := newImage(img, read)
	return View{i, files}, err
}

// Stage is the milestone that a board has reached with the file at name.
func (v View) Stage(name string) Milestone { return v.img.milestone(Event{Name: name, Result: OK}) }

// Visit is the boot of a board that might be.
type Visit struct {
	Board   string // its id
	Told    Assignment
	Addr    netip.Addr
	Env     string // that the image is of, "" for none
	URL     string // where the board finds the front end, "" for nowhere
	Secrets bool   // the board may have secret files
}

func (v View) renderer(b Visit) *renderer {
	s := &session{Image: v.img.Digest, Env: b.Env, Addr: b.Addr, URL: b.URL, Token: strings.Repeat("A", tokenLen)}
	return &renderer{v.files, v.img, s, b.Told.vars(s, b.Board, b.Addr), b.Told.Labels, b.Secrets}
}

// Check says which files the board could not have, since a template in them cannot be filled
// in or a file of this host cannot be read: the errors of all, joined.
func (v View) Check(b Visit) error { return v.renderer(b).check() }

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
	own, withheld := 0, 0
	for _, o := range v.files {
		if !hasAll(b.Told.Labels, o.Labels) {
			continue
		}
		if o.Secret && !b.Secrets {
			withheld++
		} else {
			own++
		}
	}
	switch {
	case withheld > 0:
		return fmt.Sprintf("%s of the board's own added, %d secret withheld", filesText(own), withheld)
	case own > 0:
		return filesText(own) + " of the board's own added"
	}
	return ""
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
		if strings.Contains(v.img.texts[name], "{{") {
			all = append(all, name)
		}
	}
	return all
}

// Text is what the file at name says, a command line or config.txt, once it is made for the
// board, whose token is shown as token; "" where nothing is made of it, or cannot be.
func (v View) Text(name string, b Visit, token string) string {
	was, ok := v.img.texts[name]
	if !ok {
		return ""
	}
	r := v.renderer(b)
	r.session.Token = token
	made, err := r.text(name, was)
	if err != nil {
		return ""
	}
	return string(made)
}
