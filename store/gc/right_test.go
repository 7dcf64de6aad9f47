package gc_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"piimg/store"
	"piimg/store/fsck"
	"piimg/store/gc"
)

// TestNothingRightIsLost: whatever happens to content that is kept, collections and repairs remove
// no right bytes of it where the store has no others, in its place or in quarantine.
func TestNothingRightIsLost(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			kind := "mem"
			if seed%5 == 0 {
				kind = "disk"
			}
			c := &chaos{newWorld(t, kind), rand.New(rand.NewPCG(seed, 0))}
			c.promote("dev", c.publish("a"))
			c.promote("prod", c.publish("b"))
			for range 40 {
				had := c.right()
				did, ours := c.step()
				have := c.right()
				for text := range had {
					if ours && !have[text] {
						t.Fatalf("%s: %q is nowhere any more; in quarantine %q", did, text, c.keys("quarantine/"))
					}
				}
			}
		})
	}
}

// chaos is a world in which things happen by chance.
type chaos struct {
	*world
	rand *rand.Rand
}

// kept is the content that environments keep.
var kept = []string{"kernel a", "kernel b", "{}"}

// right are those of kept that the store has somewhere.
func (c *chaos) right() map[string]bool {
	have := map[string]bool{}
	for _, text := range kept {
		key := store.BlobKey(store.Sum([]byte(text)))
		for _, at := range append(c.keys(store.AsidePrefix(key)), key) {
			if b, err := c.read(at); err == nil && b == text {
				have[text] = true
			}
		}
	}
	return have
}

func (c *chaos) read(key string) (string, error) {
	r, err := c.store.Bucket().Get(c.t.Context(), key, 0, -1)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func (c *chaos) erase(key string) {
	if err := c.store.Bucket().Delete(c.t.Context(), key); err != nil {
		c.t.Fatal(err)
	}
}

// step does something, and says what, and whether it must lose nothing.
func (c *chaos) step() (did string, ours bool) {
	text := kept[c.rand.IntN(len(kept))]
	key := store.BlobKey(store.Sum([]byte(text)))
	switch c.rand.IntN(9) {
	case 0:
		c.write(key, []byte(strings.ToUpper(text)+"!"[:c.rand.IntN(2)]))
		return "damage", false
	case 1:
		c.put(text)
		return "build", false
	case 2: // a collection that was wrong, or a machine with bad memory
		at := []string{store.CollectedKey(key), store.DamagedKey(key, store.Sum([]byte("other")))}[c.rand.IntN(2)]
		if b, err := c.read(key); err == nil {
			c.write(at, []byte(b))
			c.erase(key)
		}
		return "set aside", false
	case 3, 4:
		r, err := fsck.Check(c.t.Context(), c.store, fsck.Options{Read: fsck.All()})
		if err == nil {
			err = fsck.Repair(c.t.Context(), c.store, r, fsck.RepairOptions{})
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return "fsck", true
	case 5, 6:
		if _, err := gc.Run(c.t.Context(), c.store, c.options()); err != nil {
			c.t.Fatal(err)
		}
		return "gc", true
	}
	c.pass([]time.Duration{day, 3 * day, 8 * day}[c.rand.IntN(3)])
	return "time passes", false
}
