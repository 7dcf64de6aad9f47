package serve

import (
	"fmt"

	"piimg/store"
)

// View is an image as a front end sees it, for those who want to know beforehand.
type View struct{ img *image }

// NewView is img with the text of its config.txt, "" where it has none.
func NewView(img *store.Image, config string) View { return View{newImage(img, config)} }

// Stage is the milestone that a board has reached with the file at name.
func (v View) Stage(name string) Milestone { return v.img.milestone(Event{Name: name, Result: OK}) }

// Made says what is made of the file at name for a board with these labels, and is "" where
// the board gets the file as it is.
func (v View) Made(name string, labels map[string]string, secrets bool, files []OwnFile) string {
	switch {
	case v.img.cmdlines[name]:
		return "variables filled in, piimg.image, piimg.url and piimg.token added"
	case name == "config.txt":
		return "variables filled in, if it names any"
	case !v.img.tails[name]:
		return ""
	}
	own, withheld := 0, 0
	for _, o := range files {
		if !hasAll(labels, o.Labels) {
			continue
		}
		if o.Secret && !secrets {
			withheld++
		} else {
			own++
		}
	}
	switch {
	case withheld > 0:
		return fmt.Sprintf("%d files of the board's own added, %d secret ones withheld", own, withheld)
	case own > 0:
		return fmt.Sprintf("%d files of the board's own added", own)
	}
	return ""
}
