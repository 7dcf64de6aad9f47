package store_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"piimg/store"
)

func TestPins(t *testing.T) {
	s := newStore(t)
	var images []store.Digest
	for _, kernel := range []string{"a", "b"} {
		d, err := s.PutImage(t.Context(), smallImage(t, s, kernel), store.Record{})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, d)
	}
	pin := store.Pin{Name: "golden", Image: images[0], Actor: "alice", Reason: "museum", Time: time.Unix(0, 0).UTC()}
	for range 2 { // the second time nothing changes
		if err := s.Pin(t.Context(), pin); err != nil {
			t.Fatal(err)
		}
		pin.Actor = "bob"
	}
	pin.Image = images[1]
	if err := s.Pin(t.Context(), pin); !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "it pins "+images[0].Short()) {
		t.Errorf("another image under the name = %v; want ErrConflict that names the first", err)
	}
	pin.Name, pin.Image = "gone", store.Sum([]byte("gone"))
	if err := s.Pin(t.Context(), pin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an image that is not there = %v; want fs.ErrNotExist", err)
	}
	for _, bad := range []store.Pin{{Name: "../x"}, {Name: "a/b"}, {}, {Name: "x", Reason: "two\nlines"}} {
		if err := s.Pin(t.Context(), bad); err == nil {
			t.Errorf("Pin(%+v) succeeded", bad)
		}
	}
	putObject(t, s.Bucket(), "pins/broken.json", "{")
	names := ""
	for p, err := range s.Pins(t.Context()) {
		names += p.Name + " "
		if errors.Is(err, store.ErrCorrupt) != (p.Name == "broken") || p.Name == "golden" && (p.Actor != "alice" || p.Image != images[0]) {
			t.Errorf("pin %+v, %v", p, err)
		}
	}
	if names != "broken golden " {
		t.Errorf("pins: %s", names)
	}
	for _, name := range []string{"golden", "broken"} {
		if _, err := s.Unpin(t.Context(), name); err != nil {
			t.Errorf("Unpin(%s) = %v", name, err)
		}
		if _, err := s.Unpin(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Unpin(%s) again = %v; want fs.ErrNotExist", name, err)
		}
	}
	if got := leases(t, s.Bucket()); len(got) != 0 {
		t.Errorf("leases left: %q", got)
	}
}

func TestInUse(t *testing.T) {
	s := newStore(t)
	image := store.Sum([]byte("image"))
	if err := s.ReportInUse(t.Context(), store.InUse{Front: "rack1", Images: []store.Digest{image}}); err != nil {
		t.Fatal(err)
	}
	if err := s.ReportInUse(t.Context(), store.InUse{Front: "Rack 1"}); err == nil {
		t.Error("a name that is no part of a key was taken")
	}
	putObject(t, s.Bucket(), "inuse/rack2.json", `{"front":"rack1","images":[]}`)
	seen := 0
	for u, err := range s.InUse(t.Context()) {
		seen++
		switch {
		case u.Front == "rack1" && err == nil && len(u.Images) == 1 && u.Images[0] == image && time.Since(u.Seen) < time.Minute:
		case u.Front == "rack2" && errors.Is(err, store.ErrCorrupt):
		default:
			t.Errorf("in use: %+v, %v", u, err)
		}
	}
	if seen != 2 {
		t.Errorf("%d reports; want 2", seen)
	}
}
